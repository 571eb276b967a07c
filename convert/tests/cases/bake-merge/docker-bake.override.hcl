target "app" {
  inherits = ["_base"]
  cache-from = ["two"]
  platforms = ["linux/arm64"]
  output = ["type=docker"]
}
group "default" { targets = ["app", "extra"] }
target "extra" {}
