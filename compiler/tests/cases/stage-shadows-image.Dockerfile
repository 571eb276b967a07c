# A stage's name is an image's name on the lines before it.
FROM tools AS bare
RUN x
FROM bare
RUN y
