variable "TAG" { default = "Latest" }
variable "ENV" { default = "dev" }
variable "PUSH" { default = false }
variable "EXTRA" { default = ["a", "b"] }
function "tag" {
  params = [name, version]
  result = "registry.example.com/${name}:${version}"
}
function "tags" {
  params = [name]
  variadic_params = versions
  result = [for v in versions : tag(name, v)]
}
target "app" {
  tags = [
    tag("app", TAG),
    equal(ENV, "prod") ? tag("app", "stable") : "",
    TAG != "" ? "short/app:${TAG}" : "",
    "lower/app:${lower(TAG)}",
    "upper/app:${upper("v${TAG}")}",
    "x/app:${replace(TAG, ".", "-")}",
    "s/app:${sanitize("${TAG}.${ENV}")}",
    format("f/%s:%s", ENV, TAG),
    "j/app:${join("-", [TAG, ENV])}",
    "sub/app:${substr(TAG, 0, 7)}",
  ]
  args = {
    A = PUSH ? "yes" : "no"
    B = !PUSH && ENV == "dev"
    C = or(PUSH, equal(TAG, "x"))
    D = contains(["dev", "test"], ENV)
    E = coalesce("", ENV)
    F = try(nothing(), TAG)
    G = join(",", EXTRA)
    H = ENV == "dev" ? null : "x"
    I = strlen(TAG)
    J = regex_replace(TAG, "a", "b")
    K = timestamp()
    L = "${upper("constant")}-${1 + 2 * 3}"
  }
  platforms = concat(EXTRA, ["linux/amd64"])
}
target "many" {
  tags = tags("many", "1", TAG)
}
