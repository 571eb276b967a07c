FROM bare
COPY --chown=root a /a
COPY --chmod=0755 --chown=1:2 a /b
ADD --chmod=1777 a.tar /c/
ADD --chown=:5 b /d
COPY --from=scratch / /e
COPY --from=tools:latest --chown=x / /f
