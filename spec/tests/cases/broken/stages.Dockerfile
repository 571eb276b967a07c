RUN early
ARG OK
ENV A=b
FROM
FROM a b
FROM a IS b
FROM a AS b c
FROM a AS 1b
FROM a AS b/c
FROM a AS SCRATCH
FROM a AS context
FROM a AS
COPY still reported
RUN --mount=type=cache,target=/x make
