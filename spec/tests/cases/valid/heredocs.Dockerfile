# syntax=docker/dockerfile:1-labs
# check=skip=all;experimental=CopyIgnoredFile // why
FROM alpine
RUN <<EOF
CPOY this is no instruction \
# nor is this a comment

EOF
RUN python3 <<-"E F" 3<<B
	x
	E F
y
B
COPY <<a.txt b <<'c.txt' dir/ d /e/
$HOME "1"
a.txt
$HOME
c.txt
ADD --chmod=644 <<-x /y
	z
	  z
	x
ONBUILD RUN <<EOF
BANANA
EOF
onbuild copy <<A <<"B"  /x
a
A
B
RUN ["cat", "<<EOF"]
RUN cat << EOF
RUN cat \
  <<EOF \
  more
kept
EOF
COPY --link <<EMPTY /x
EMPTY
COPY ["<<nothing", "/x"]
COPY <<same <<same /x
first
same
second
same
