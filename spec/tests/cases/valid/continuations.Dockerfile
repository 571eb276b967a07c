FROM \
  alpine \
  # which one
  AS \
  base
RUN one \
	two \   
# dropped \
three\
four
RUN ["x", \
     "y\
z"]
ENV LONG=a\
b \
    OTHER="c\
 d"
COPY --from=\
base --chown=us\
er a\
b c \
 /d
LABEL a=b \
      c=$un\
defined
EXPOSE 80 \
  81
RUN last \
