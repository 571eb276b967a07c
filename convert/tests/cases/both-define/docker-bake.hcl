variable "TAG" { default = "other" }
target "app" {
  args = { TAG = TAG }
}
