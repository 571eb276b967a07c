# escape=`
FROM scratch
COPY a\b `
     c:\d\
RUN echo \
RUN one `
 two
ENV A=b` c D=e\ F=g
ENV Q="a`"b"
LABEL x=y`
 z=1
