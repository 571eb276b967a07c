# All values of one line see the environment before the line.
FROM base:1
ENV A=1
ENV A=9 D=$A E="two words" F='$A' G="q\"$A\""
ENV LANG=de PATH=/opt/bin:$PATH
ENV K$A=v
ENV legacy rest of the $A line
RUN x
