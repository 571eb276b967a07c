FROM base:1
RUN make
CMD ["serve"]
