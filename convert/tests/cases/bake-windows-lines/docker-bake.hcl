variable "A" {
  default = "1"
}
target "app" {
  args = {
    A = A
  }
  dockerfile-inline = <<EOT
FROM x
RUN y
EOT
}
