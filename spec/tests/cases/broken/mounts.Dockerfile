FROM alpine
RUN --mount= a
RUN --mount a
RUN --mount=typ=bind a
RUN --mount=type=cach,target=/x a
RUN --mount=type=cache,target=/x,sharing=loked a
RUN --mount=type=cache,target a
RUN --mount=type=cache,target=/x/..,mode=9 --mount=uid=1,target=/x a
RUN --mount=required,type=secret,id=x a
RUN --mount=type=bind,size=1 a
RUN --mount=type=tmpfs,size=big,target=/t a
RUN --mount=type=tmpfs,ro,target=/t a
RUN --mount=type=tmpfs,target=/ a
RUN --mount=type=secret a
RUN --mount=type=secret,id=a,src=b a
RUN --mount=type=secret,id=a,from=b,sharing=shared a
RUN --mount=type=ssh,src=/a a
RUN --mount=type=bind,ro=maybe,target=/x a
RUN --mount=type=bind,id=x,env=y,target=/x a
RUN --mount=type=cache,uid=-1,target=/x a
RUN --mount='type=bind,"target=/x' a
RUN --mount=type=cache,target="$X",mode=9 a
RUN --mount=type=cache,target=/\
x,\
mode=x a
RUN --network= a
RUN --network=hots --security=none a
