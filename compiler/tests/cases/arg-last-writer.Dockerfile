FROM bare
ENV G=env
ARG G=arg
RUN one
ENV G=again
RUN two
