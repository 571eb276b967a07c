FROM bare
CMD serve --port 80
FROM bare
CMD ["a", "quote\"d", "tab	bed"]
ENTRYPOINT ["x"]
FROM base:1
CMD []
