variable "V" { default = "a${"$"}{b}" }
target "a.b" {}
target "app" {
  args = {
    DOLLAR = "$${NOT}"
    PERCENT = "%%{x}"
    BEFORE = "$$${V}"
    QUOTE = "it's \"x\""
    TAB = "a\tb"
    UNICODE = "\u00e9\n"
    DEF = V == "\"" ? "q" : "n"
  }
}
