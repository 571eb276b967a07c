FROM bare
HEALTHCHECK --interval=1m30s --timeout=500ms --start-period=2h --start-interval=1s --retries=3 CMD curl -f http://localhost/
HEALTHCHECK CMD ["check", "it"]
HEALTHCHECK NONE
