FROM base:1
VOLUME /data /other
VOLUME ["/json"]
STOPSIGNAL 9
STOPSIGNAL rtmin+3
USER app:group
MAINTAINER Some One <one@example.com>
