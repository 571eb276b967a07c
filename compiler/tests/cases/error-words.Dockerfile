FROM bare
ARG NEEDED=${NOPE:?say-which} WEB=http://example.com GIT=git@example.com:a/b.git
ARG WEB=http://example.com GIT=git@example.com:a/b.git EMPTY
ENV A="${B:?b is needed}" C="${D"
LABEL A=${B:#x}
COPY --chmod=u+x a b
COPY --chmod=8 a b
COPY --chmod=10000 a b
COPY --chmod=777777777777 a b
COPY --chmod=$EMPTY --chown=$EMPTY a b
COPY $WEB/x /
ADD $WEB/x /
ADD a $GIT /
EXPOSE 80/what 99999 x 9-8
STOPSIGNAL FOO
VOLUME $EMPTY
