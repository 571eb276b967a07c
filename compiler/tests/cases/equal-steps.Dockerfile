# The two stages share what they have in common; the second COPY of each differs.
FROM base:1 AS a
WORKDIR /w
COPY src .
RUN make
COPY a .
FROM base:1 AS b
LABEL b=b
WORKDIR /w
COPY src .
RUN make
COPY b .
FROM scratch
COPY --from=a /w /a
COPY --from=b /w /b
