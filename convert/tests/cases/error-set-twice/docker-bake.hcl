target "app" {
  target = "a"
  target = "b"
}
