# syntax=docker/dockerfile:1
# check=skip=all

ARG GO=1.25 DEBIAN="12 slim"

# The compiler's stage.
FROM --platform=$BUILDPLATFORM golang:${GO} AS Build.Stage-1
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETARCH
run CGO_ENABLED=0 GOARCH=$TARGETARCH \
    go build \
      # the binary
      -o /out/app ./cmd/app

From debian:${DEBIAN:-12}
COPY --from=build.stage-1 --chown=app:app --chmod=0755 /out/app /usr/local/bin/
ADD rootfs.tar.gz /
ENV PATH=/opt/bin:$PATH MODE="a b" QUOTED='$x'
LABEL org.example.title="An app" "org.example.k"=v
EXPOSE 80 443/tcp $EXTRA
VOLUME /data /log
USER app
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=1m30s --timeout=5s --start-period=500ms --start-interval=0s --retries=3 CMD curl -f http://localhost/
SHELL ["/bin/bash", "-c"]
ENTRYPOINT ["/usr/local/bin/app"]
CMD ["--listen", ":80"]
