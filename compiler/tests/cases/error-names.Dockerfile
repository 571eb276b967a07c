FROM bare AS build
COPY --from=$STAGE a b
COPY --from=7 a b
COPY --from=-1 a b
COPY --from=Bad..Name a b
FROM Buidl
FROM ${EMPTY} AS empty
FROM --platform=$NONE bare
FROM --platform=a/b/c/d bare
