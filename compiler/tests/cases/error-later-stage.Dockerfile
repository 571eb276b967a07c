FROM bare AS first
COPY --from=second / /
COPY --from=2 / /
FROM bare AS second
FROM scratch AS third
FROM first
