variable "BASE" { default = "alpine" }
target "app" {
  dockerfile-inline = <<-EOT
    FROM ${BASE}
    RUN echo "'''"
      && echo two
  EOT
  args = {
    LINES = <<EOT
one
${BASE}
EOT
  }
}
