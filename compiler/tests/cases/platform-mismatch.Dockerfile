FROM arm
COPY --from=arm /a /b
