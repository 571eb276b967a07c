FROM bare AS a
COPY --from=c / /
FROM a AS b
RUN x
FROM scratch AS c
COPY --from=b / /
FROM scratch AS self
COPY --from=self / /
FROM scratch AS me
COPY --from=4 / /
