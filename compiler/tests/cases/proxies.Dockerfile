#: arg HTTP_PROXY=http://upper
#: arg http_proxy=http://lower
#: arg NO_PROXY=local
#: arg https_proxy=
FROM bare
RUN undeclared
ARG NO_PROXY
RUN declared
ENV http_proxy=env
RUN set
