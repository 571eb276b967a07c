FROM bare AS one
RUN one
FROM tools
RUN two
FROM scratch
COPY --from=0 /a /a
COPY --from=1 /b /b
COPY --from=ONE /c /c
