# ENV and ARG of a stage are seen by the stages on it; its ENV hides its ARG there again.
FROM base:1 AS parent
ARG ONLY_ARG=arg
ENV BOTH=env
ARG BOTH=arg
ENV ONLY_ENV=$ONLY_ARG
RUN parent $BOTH
USER app
WORKDIR sub
LABEL parent=yes
FROM parent
RUN child
LABEL only=$ONLY_ARG both=$BOTH
FROM parent
RUN target
LABEL only=$ONLY_ARG both=$BOTH env=$ONLY_ENV
