variable "TAG" { default = "hcl" }
target "app" {
  args = { B = "2" }
  cache-from = ["one"]
  platforms = ["linux/amd64"]
}
group "default" { targets = ["app"] }
target "_base" { labels = { x = "1" } }
