FROM alpine
RUN --mount=target=. ls
RUN --mount=type=bind,from=other,source=/a,target=/b,rw --network=none make
RUN --mount=type=cache,id=x,dst=/root/.cache,sharing=LOCKED,mode=0750,uid=1,gid=2,ro --security=insecure make
RUN --mount=type=cache,target=/c --network=host --security=sandbox make
RUN --mount=type=tmpfs,target=/t,size=64m --mount=type=tmpfs,destination=/u make
RUN --mount=type=secret,id=a/b --mount=type=secret,target=/etc/key,required=true,mode=0444 make
RUN --mount=type=secret,src=s,env=TOKEN --mount=type=secret,id=e,env= make
RUN --mount=type=ssh --mount=type=ssh,id=k,required,target=/s,mode=0666 make
RUN --mount='type=bind,"source=a,b","target=/c ""d"""' make
RUN --mount=type=cache,target=\
/split make
