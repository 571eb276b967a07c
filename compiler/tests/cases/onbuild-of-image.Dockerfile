#: arg VERSION=7
#: arg UNTAKEN=1
FROM app-base
RUN after
