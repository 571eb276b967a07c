#: target BUILD
FROM bare AS build
ARG TARGETSTAGE
RUN x
FROM base:1
