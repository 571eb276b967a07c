variable "PYTHONS" { default = ["3.11", "3.12"] }
target "app" {
  name = "app-${sanitize(py)}-${mixed}"
  target = mixed
  matrix = { py = PYTHONS, mixed = [1, "two", true] }
  args = { PY = py, MIXED = mixed }
}
target "same" {
  name = "one"
  matrix = { v = ["a", "b"] }
  args = { V = v }
}
target "nameless" {
  matrix = { v = ["a"] }
}
