variable "REGISTRY" { default = "ghcr.io" }
variable "VERSION" { default = "1.2.3" }
variable "IMAGE" { default = "${REGISTRY}/app" }
variable "ALIAS" { default = VERSION }
variable "IS_RELEASE" { default = VERSION != "dev" }
COMMON = "x-${VERSION}"
target "app" {
  tags = ["${IMAGE}:${VERSION}", "${ALIAS}", COMMON]
  args = { RELEASE = IS_RELEASE }
}
