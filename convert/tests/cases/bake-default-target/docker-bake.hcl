target "default" {
  dockerfile = "Dockerfile.default"
}
