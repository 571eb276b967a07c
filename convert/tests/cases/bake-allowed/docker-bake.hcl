target "_base" {
  network = "host"
}
target "_root" {
  inherits = ["_base"]
  entitlements = ["security.insecure"]
}
target "plain" { inherits = ["_root"] }
target "own" {
  inherits = ["_root"]
  entitlements = ["network.host"]
}
