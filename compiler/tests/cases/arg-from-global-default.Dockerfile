# Defaults of a stage win over those before the first FROM.
ARG A=global
ARG WITHOUT
FROM bare
ARG A=stage
ARG WITHOUT
RUN x
