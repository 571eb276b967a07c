FROM alpine
COPY a <<dest
dest
ADD <<a <<b
1
a
2
b
COPY <<only
only
COPY ["a", "<<dest"]
ONBUILD COPY <<NEVER
RUN a
