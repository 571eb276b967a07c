# check=error=maybe
# check=skip=Nonesuch,stagenamecasings
arg early
# no name at all
ARG G H
# base is a name
# of something else
FROM a AS Base
# h

ARG NAME
# NAME and nothing else
ARG NAME
# not described
#
ARG NAME
# check=skip=all
# NAME is described
# check=nothing
ARG NAME
from b as base
From c As context
maintainer me
ENV A b
LABEL a  b c
ONBUILD ENV a b
RUN a \

  b
FROM d as scratch
