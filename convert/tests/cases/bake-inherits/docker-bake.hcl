target "_common" {
  args = { A = "1" }
  platforms = ["linux/amd64"]
}
target "_linked" {
  target = "linked"
}
target "_grouped" {}
target "base" {
  inherits = ["_common"]
  contexts = { x = "target:_linked" }
}
target "app" {
  inherits = ["base", "_common", "missing"]
}
target "loop-a" { inherits = ["loop-b"] }
target "loop-b" { inherits = ["loop-a", "base"] }
target "self" { inherits = ["self"] }
group "all" { targets = ["app", "_grouped", "nowhere"] }
