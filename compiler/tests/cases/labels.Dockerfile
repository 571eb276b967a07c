#: label a=given
#: label z=given
FROM base:1
LABEL a=file "c d"="e f" m="line\
continued"
LABEL legacy some words
