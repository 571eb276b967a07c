variable "CI" { default = false }
target "app" {
  no-cache = CI
  pull = null
  context = null
  tags = null
  target = ""
}
