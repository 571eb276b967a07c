variable "EMPTY" {}
variable "NUMBER" { default = 3 }
variable "FLAG" {
  type = bool
  default = "true"
}
variable "LIST" {
  type = list(string)
  default = ["a", "b"]
}
variable "MODE" {
  type = string
  default = "dev"
  description = "how to \"build\""
  validation {
    condition = contains(["dev", "prod"], MODE)
    error_message = "unknown"
  }
}
variable "LEVEL" {
  default = "low"
  validation {
    condition = LEVEL == "low" || LEVEL == "high"
    error_message = "unknown"
  }
}
variable "LONG" {
  default = "abc"
  validation {
    condition = strlen(LONG) > 2
    error_message = "too short"
  }
}
variable "NONE" { default = null }
variable "TYPED" { type = string }
variable "MAP" { default = { a = "1", b = "2" } }
variable "image" { default = "busybox" }
variable "with-dash" { default = "d" }
target "app" {
  args = {
    EMPTY = EMPTY
    NUMBER = NUMBER
    TEXT = "n${NUMBER}"
    FLAG = FLAG
    NONE = NONE
    OR = coalesce(NONE, "other")
    IS = NONE == null
    IS_NOT = TYPED != null ? "set" : "unset"
    A = MAP.a
    B = MAP["b"]
    C = lookup(MAP, "c", "none")
    IMAGE = image
    DASH = "${with-dash}"
    SUM = NUMBER + 1
    BIG = NUMBER > 2 ? "big" : "small"
  }
  tags = LIST
}
