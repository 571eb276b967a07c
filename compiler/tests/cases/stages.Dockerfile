FROM base:1 AS build
WORKDIR /src
COPY . .
RUN make && make install
FROM scratch AS assets
COPY --chown=1000:1000 static/ /static/
FROM bare AS Final
COPY --from=build /usr/local/bin/app /bin/
COPY --from=assets / /assets
COPY --from=1 /static/x /x
COPY --from=tools /bin/tool /bin/tool
ENTRYPOINT app --serve
