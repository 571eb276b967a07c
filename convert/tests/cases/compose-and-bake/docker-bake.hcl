variable "TAG" { default = "x" }
target "app" {
  args = { B = TAG }
  platforms = ["linux/arm64"]
}
