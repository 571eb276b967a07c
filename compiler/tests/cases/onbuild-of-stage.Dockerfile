FROM bare AS parent
ONBUILD ENV T=trigger
ONBUILD RUN $T
ONBUILD COPY --from=tools /t /t
ENV BEFORE=1
FROM parent AS child
RUN child
FROM child
RUN grandchild
