FROM bare AS builder
FROM bare
COPY --from=bulder /a /b
