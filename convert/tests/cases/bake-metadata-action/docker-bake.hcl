variable "DEST_DIR" { default = "./bin" }
variable "GO_VERSION" { default = null }

// Filled in by an action, from a file of its own.
target "docker-metadata-action" {
  tags = ["app:local"]
}

target "_common" {
  args = {
    GO_VERSION = GO_VERSION
    BUILDKIT_CONTEXT_KEEP_GIT_DIR = 1
  }
}

group "default" {
  targets = ["binaries"]
}

group "validate" {
  targets = ["lint", "vendor"]
}

target "binaries" {
  inherits = ["_common"]
  target = "binaries"
  output = ["${DEST_DIR}/build"]
  platforms = ["local"]
}

target "binaries-cross" {
  inherits = ["binaries"]
  platforms = [
    "darwin/amd64", "darwin/arm64", "linux/386", "linux/amd64", "linux/arm/v6", "linux/arm/v7", "linux/arm64",
  ]
}

target "lint" {
  inherits = ["_common"]
  dockerfile = "./hack/dockerfiles/lint.Dockerfile"
  output = ["type=cacheonly"]
}

target "vendor" {
  inherits = ["_common"]
  output = [{ type = "local", dest = "${DEST_DIR}/vendor" }]
}

target "image" {
  inherits = ["docker-metadata-action", "binaries"]
  output = ["type=image"]
  cache-from = [for scope in ["main", "pr"] : "type=gha,scope=${scope}"]
}
