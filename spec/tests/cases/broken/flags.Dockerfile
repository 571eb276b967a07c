FROM --platfrom=linux/amd64 busybox
FROM --platform busybox
COPY --form=x --chwon=1 a b
COPY --from=a --from=b a b
COPY --from a b
ADD --from=x a b
ENV --a=b c=d
CMD --version
RUN --network=nonne true
COPY --link=maybe a b
COPY --link= a b
RUN --mount true
HEALTHCHECK --interval=5 --timeout=1us --retries=-1 CMD true
HEALTHCHECK --retries=x CMD
HEALTHCHECK --interval=5s
HEALTHCHECK --interval=5s NONE
HEALTHCHECK NONE of it
HEALTHCHECK curl x
HEALTHCHECK CMD []
