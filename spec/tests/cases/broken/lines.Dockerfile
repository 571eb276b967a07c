# escape=x
# escape=`
FROM scratch
RUN a \

  b \

  c
 \
  BANANA split \
  # with comment
  more
COPY --from=a\
b --from=\
c x \
 y
ENV A=1 \
  naïve \
  B=2
