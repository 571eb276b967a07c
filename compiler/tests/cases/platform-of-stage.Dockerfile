# --platform of a FROM that continues a stage says nothing.
#: platform linux/arm64
#: build-platform linux/amd64
FROM --platform=$BUILDPLATFORM bare AS build
ARG TARGETARCH
ARG TARGETPLATFORM
ARG TARGETVARIANT
RUN cross $TARGETARCH
FROM --platform=linux/s390x build AS again
RUN more
FROM bare
COPY --from=again /out /
COPY --from=tools /t /
RUN native
