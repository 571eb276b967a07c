#: target wanted
FROM nowhere:1 AS unused
RUN $UNDEFINED
COPY --from=later / /
COPY --chmod=bad a b
FROM bare AS wanted
RUN x
FROM nowhere:2 AS later
