# syntax=example.com/other/front:1
FROM alpine
RUN --device=vendor/x --device=vendor/y true
ADD https://example.com/a.git?depth=1 /c
COPY https://example.com/a /c
COPY git@example.com:a /c
COPY --checksum=sha256:00 --unpack a b
ADD --from=x --parents a b
ONBUILD RUN --device=vendor/x true
ONBUILD ADD https://example.com/a /c
