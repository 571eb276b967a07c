# The last stage of a name before the line, and of the file for COPY --from.
FROM bare AS x
RUN first
FROM x AS x
RUN second
FROM x
COPY --from=x / /
