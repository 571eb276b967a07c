variable "TAG" { default = "t" }
target "app" {
  name = "app-${split(".", item.version)[0]}"
  matrix = {
    item = [
      { version = "1.0", extra = ["x"] },
      { version = "2.0" },
    ]
  }
  args = { VERSION = item.version, N = strlen(item.version) }
  platforms = try(item.extra, ["linux/amd64"])
  tags = ["app:${item.version}-${TAG}"]
}
target "lib" {
  name = "lib-${v}"
  matrix = { v = ["a", "b"] }
}
target "user" {
  inherits = ["lib-a"]
}
