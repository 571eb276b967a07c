target "app" {
  tags = ["a", "b:${MISSING}"]
}
