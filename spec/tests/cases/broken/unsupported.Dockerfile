# syntax=example.com/other/front:1
FROM alpine
RUN --mount=type=cache,target=/root/.cache --mount=type=secret,id=x make
RUN --network=none true
RUN --network=host true
RUN --security=insecure true
RUN --device=vendor/x true
COPY --link a b
COPY --link=true --parents --exclude=*.md --exclude=*.txt a b
ADD --checksum=sha256:00 --keep-git-dir --unpack=true a b
ADD --exclude=x --unpack=false a b
ADD https://example.com/a.tar.gz https://example.com/b /c
ADD "http://example.com/$V" /c
ADD https://example.com/a.git#v1 git@example.com:a/b.git /c
ADD ["https://example.com/a b", "/c"]
COPY https://example.com/a /c
COPY --from=x \
  --link \
  a b
ONBUILD RUN --mount=type=cache,target=/x true
ONBUILD ADD https://example.com/a /c
