FROM base:1
RUN inherited shell
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN a | b
CMD run
RUN ["no", "shell"]
HEALTHCHECK CMD ignores the shell
