FROM base:1
CMD ["kept"]
ENTRYPOINT ["new"]
