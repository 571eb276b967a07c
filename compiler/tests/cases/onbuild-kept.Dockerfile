FROM bare
ONBUILD RUN   echo  "$X"
ONBUILD COPY . /app
RUN now
