#: platform linux/arm64
FROM --platform=linux/arm64 scratch AS same
FROM --platform=linux/amd64 scratch
COPY --from=same / /
RUN x
