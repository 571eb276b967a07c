FROM --platform="linux/amd64" busybox
RUN --network=default --security=sandbox true
RUN -- --not-a-flag
RUN --network=default -- ["a"]
CMD -- --version
COPY --chown="${U}":g --chmod='u=rwX,go=rX' a /b
COPY --chown=a\ b --link=false --parents=FALSE a /b
COPY --from=0 --chmod= /a /b
COPY   --from=x	--chown=1:2   a	b   /c
ADD --keep-git-dir=false --chown=1 a b/
HEALTHCHECK --retries=0 --interval=.5h CMD -x
