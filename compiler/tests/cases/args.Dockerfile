# Global ARGs, redeclared; build args win; defaults see the ARGs before them.
#: arg GIVEN=given
#: arg GIVEN_GLOBAL=given global
#: arg UNKNOWN=1
#: arg OTHER=2
ARG TAG=1
ARG GLOBAL=global
ARG GIVEN_GLOBAL=default
ARG COMBINED=${GLOBAL}-${TAG}
FROM base:${TAG}
ARG GLOBAL
ARG GIVEN_GLOBAL
ARG GIVEN=default
ARG COMBINED
ARG TAG=2
ARG NOTHING
ARG A=a B=${A}b C=${B}c
ARG UNSET_DEFAULT=${NOPE:-fallback}
RUN echo
ARG LATER=1
RUN echo again
