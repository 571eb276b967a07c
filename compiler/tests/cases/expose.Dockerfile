# Words in the order of their text before expansion, ranges expanded.
FROM base:1
ENV P="9001 9000/udp"
EXPOSE 90 80/UDP 8000-8002 $P 127.0.0.1:1:2
EXPOSE 80
