# A default that cannot be expanded is not, where a value is given.
#: arg A=given
FROM bare
ARG A="${B:?b is needed}"
RUN $A
