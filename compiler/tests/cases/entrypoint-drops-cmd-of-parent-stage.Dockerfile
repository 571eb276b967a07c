FROM bare AS parent
CMD ["lost"]
FROM parent
ENTRYPOINT run it
