FROM bare AS assets
RUN assets
FROM base:1 AS unused
FROM needy
