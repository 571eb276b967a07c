FROM alpine
RUN <<EOF
CPOY this is no instruction
EOF
RUN python3 <<-"E F" 3<<B
	x
	E F
y
B
COPY <<a.txt <<'b.txt' dir/ /c/
1
a.txt
2
b.txt
ADD <<x /y
z
x
ONBUILD RUN <<EOF
BANANA
EOF
RUN ["cat", "<<EOF"]
RUN cat << EOF
CPOY but this is read
RUN cat \
  <<EOF \
  more
SKIPPED
EOF
COPY a <<dest
dest
RUN <<NEVER
BANANA
