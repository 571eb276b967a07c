tax </dev/null
