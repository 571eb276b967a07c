# Declared twice: one place in the history, the last value.
FROM bare
ARG A=1
ARG B=2
ARG A=3
RUN x
