# Where variables are expanded, and where they are not.
FROM base:1 AS other
FROM base:1
ENV DIR=/opt/app U=user M=640 P=8080 SIG=INT L=label N="a b"
WORKDIR $DIR
COPY --chown=${U}:${U} --chmod=$M ${N} $DIR/x ./$U/
ADD $N.tar.gz ${DIR}/
EXPOSE $P/TCP
LABEL $L.x="$N" '$L'='$N'
STOPSIGNAL SIG$SIG
USER $U
VOLUME $DIR ["x"]
RUN echo $DIR
CMD echo $DIR
ENTRYPOINT ["$DIR"]
SHELL ["$DIR", "-c"]
HEALTHCHECK CMD $DIR
MAINTAINER $U
ONBUILD RUN $DIR
