variable "TAG" { default = "latest" }
target "a" {
  tags = ["a:${TAG}", "a:stable"]
  args = { V = "1" }
}
target "b" {
  tags = [for t in target.a.tags : replace(t, "a:", "b:")]
  args = merge(target.a.args, { W = target.a.args.V })
  platforms = target.a.platforms
}
group "default" { targets = concat(group.rest.targets, ["a"]) }
group "rest" { targets = ["b"] }
