# Nobody asked for a platform: the image says what its base says.
FROM --platform=linux/arm64 bare
RUN x
