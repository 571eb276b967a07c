variable "BASE" { default = "base" }
variable "SRC" { default = "../src" }
target "base" {
  dockerfile-inline = <<EOT
FROM alpine
ARG NAME
RUN echo "$${NAME}" \
 && echo 'two'
EOT
}
target "app" {
  context = "cwd://app"
  dockerfile-inline = "FROM base\nRUN echo hello\n"
  contexts = {
    base = "target:base"
    other = "target:${BASE}"
    src = SRC
    alpine = "docker-image://alpine:3.20"
    layout = "oci-layout:///tmp/layout"
    git = "https://github.com/user/proj.git#main"
    none = ""
  }
}
