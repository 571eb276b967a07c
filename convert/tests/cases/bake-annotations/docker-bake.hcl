variable "V" { default = "1" }
target "app" {
  annotations = [
    "org.opencontainers.image.version=${V}",
    "index:org.opencontainers.image.title=Title=x",
    "manifest,index:a=b",
    "manifest[linux/amd64]:c=d",
    "manifest-descriptor:e=f",
    "novalue",
    "",
    "${V}=x",
  ]
}
