FROM scratch
RUN []
RUN ["a", "b \"c\"\u0021"]
RUN ['not', 'json']
RUN ["trailing"] && text
RUN [[ -f /x ]] && true
CMD
CMD []
ENTRYPOINT []
ENTRYPOINT exec  top -b
COPY ["a b", "c", "/d e/"]
ADD ["x", "/y"]
COPY [ab]c /d
VOLUME ["/a b", " /c "]
VOLUME /a "/b"
HEALTHCHECK NONE
HEALTHCHECK cmd ["curl", "x"]
MAINTAINER  Some One <one@example.com>
WORKDIR  /a b/c
USER $U:$G
ONBUILD RUN echo  hi
ONBUILD copy --chown=1 . /app
ONBUILD ENTRYPOINT ["a"]
ENV KEY the rest  of "the line"
ENV A=1 B="2 3" C=4\ 5 'D'=6 E=
LABEL one two three
ARG A B=1 C= "D"=$X
EXPOSE 80-90/udp "81 82"
STOPSIGNAL ${SIG:-9}
