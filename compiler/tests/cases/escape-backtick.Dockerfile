# escape=`
FROM bare
ENV A=1
ENV B=a\b C=`$A D="`"q`""
COPY a\b `
  /c\
RUN dir `
  next
