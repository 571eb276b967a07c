target "app" {
  attest = ["type=provenance,mode=min", "type=sbom"]
  call = "check"
  extra-hosts = { host = "1.2.3.4" }
  shm-size = "128m"
  ulimits = ["nofile=1024:1024"]
  network = "mine"
  entitlements = ["security.insecure"]
  policy = [{ filename = "x.rego" }]
  resources = { memory = "4GB", cpu = 2, pids = 3 }
  unheard-of = true
}
target "plain" {
  call = "build"
}
