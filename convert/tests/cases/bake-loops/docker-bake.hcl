variable "NAMES" { default = ["x", "y"] }
REPOS = { hub = "docker.io", gh = "ghcr.io" }
variable "TAG" { default = "t" }
variable "VERSION" { default = "1.2" }
target "app" {
  tags = [for name, host in REPOS : "${host}/app:${TAG}"]
  args = { for n in ["a", "b", "c"] : upper(n) => "v-${n}" if n != "b" }
  labels = {
    splat = join(",", [{ n = "p" }, { n = "q" }][*].n)
    directive = "%{ for n in ["a", "b"] }<${n}>%{ endfor }"
    cond = "%{ if TAG == "t" }is-t%{ else }is-${TAG}%{ endif }"
    strip = "a  ${~ TAG ~}  b"
    fixed = join("+", [for n in NAMES : "n-${n}"])
    item = "${NAMES[1]}-${TAG}"
    major = split(".", VERSION)[0]
  }
}
