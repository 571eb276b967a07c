variable "RELEASE" { default = false }
variable "TAG" { default = "t" }
variable "EXTRA" { default = ["x"] }
target "app" {
  tags = RELEASE ? ["app:release"] : ["app:dev", "app:test"]
  platforms = RELEASE ? ["linux/amd64", "linux/arm64"] : ["linux/amd64", ""]
  cache-from = RELEASE ? [] : ["type=gha"]
  output = RELEASE ? ["type=registry"] : ["type=docker"]
}
target "mixed" {
  tags = concat(EXTRA, ["app:${TAG}"], RELEASE ? ["app:latest"] : ["app:edge"])
  platforms = flatten([EXTRA, ["linux/amd64"], "linux/arm64"])
}
target "templates" {
  tags = RELEASE ? ["app:${TAG}"] : ["dev:${TAG}", "other"]
}
