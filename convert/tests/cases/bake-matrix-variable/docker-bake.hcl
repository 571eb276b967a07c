variable "PYTHONS" { default = ["3.11", "3.12"] }
target "app" {
  name = "app-${sanitize(py)}"
  matrix = { py = PYTHONS, mixed = [1, "two", true] }
  args = { PY = py, MIXED = mixed }
}
target "nameless" {
  matrix = { v = ["a"] }
}
