# The text reaches the shell as written, blanks of continuation lines included.
FROM scratch
RUN one   two \
    three \
  # a comment inside
    "four  five"
