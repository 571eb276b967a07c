FROM faulty
FROM bare AS later
FROM scratch
COPY --from=0 / /
