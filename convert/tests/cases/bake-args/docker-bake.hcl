variable "GO_VERSION" {
  default = "1.22"
}
target "app" {
  args = {
    GO_VERSION = GO_VERSION
    DEBUG = false
    LEVEL = 3
    NAME = null
    MIXED = "go-${GO_VERSION}-x"
    "QUOTED.KEY" = "a \"b\" \\ c"
  }
  labels = {
    "org.opencontainers.image.source" = "https://example.com/app"
    count = 2
    gone = null
  }
}
target "small" {
  args = { A = "1" }
}
