#: target 3
FROM bare AS build
FROM bare
