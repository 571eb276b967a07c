#: platform linux/amd64
FROM --platform=linux/arm64 bare
RUN x
