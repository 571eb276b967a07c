variable "REGISTRY" { default = "r" }
target "app" {
  name = "app-${tgt}-${replace(version, ".", "-")}"
  matrix = {
    tgt = ["foo", "bar"]
    version = ["1.0", "2.0"]
  }
  target = tgt
  args = { VERSION = version }
  tags = ["${REGISTRY}/${tgt}:${version}", version == "2.0" ? "${REGISTRY}/${tgt}:latest" : ""]
}
group "default" { targets = ["app"] }
