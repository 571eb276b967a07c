ARG V=1
FROM alpine AS Base
# check=skip=UndefinedVar
COPY --from=$STAGE --link --parents=TRUE --exclude=*.md --exclude=*.txt --exclude= a ./b/./c d
COPY --link=false --parents=false --from=base a b
ADD --checksum=sha256:00 --keep-git-dir=false --unpack https://example.com/a.tar.gz https://example.com/$V.git?ref=x /c
ADD --exclude=x --unpack=false --link git@example.com:a/b.git /c
COPY ./git@example.com:a $P://x /c
# check=skip=all
FROM base
ARG A$V=b "$V"
