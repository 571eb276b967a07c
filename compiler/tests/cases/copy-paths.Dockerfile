FROM base:1
COPY a b
COPY a b c/
COPY /rooted /x
COPY ../../up /x
COPY . .
COPY / /
COPY dir/ .
COPY dir/./sub/../x ./d/.
COPY *.txt a[bc]? /w/
COPY ["with space", "/dest dir/"]
COPY a ..
