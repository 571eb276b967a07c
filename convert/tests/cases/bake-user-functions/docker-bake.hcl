variable "REGISTRY" { default = "hub" }
variable "VERSION" { default = "1.2.3" }
function "repo" {
  params = [name]
  result = "${REGISTRY}/${name}"
}
function "ref" {
  params = [name, tag]
  result = "${repo(name)}:${tag}"
}
function "major" {
  params = [version]
  result = split(".", version)[0]
}
function "all" {
  params = [first]
  variadic_params = rest
  result = join(",", concat([first], rest))
}
function "pick" {
  params = [flag]
  result = flag ? "yes" : "no"
}
target "app" {
  tags = [ref("app", VERSION), ref("app", major(VERSION))]
  args = {
    ALL = all("a", "b", VERSION)
    ONE = all("a")
    SPREAD = all(["x", "y"]...)
    PICK = pick(VERSION == "dev")
    UNKNOWN = nosuch(VERSION)
  }
}
