#: target finl
FROM bare AS build
FROM bare
FROM build AS final
