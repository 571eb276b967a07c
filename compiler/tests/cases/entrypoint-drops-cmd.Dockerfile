# The base's CMD was made for its own entry point.
FROM base:1
ENTRYPOINT ["new"]
