COPY a b
RUN c
CMD d
