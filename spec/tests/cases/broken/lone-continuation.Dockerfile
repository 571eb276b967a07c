FROM scratch
RUN x
\
