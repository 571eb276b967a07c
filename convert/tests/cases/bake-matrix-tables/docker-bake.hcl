target "app" {
  name = "app-${item.tgt}-${sanitize(item.version)}"
  matrix = {
    item = [
      { tgt = "foo", version = "1.0", debug = true },
      { tgt = "bar", version = "2.0", debug = false },
    ]
  }
  target = item.tgt
  args = {
    VERSION = item.version
    DEBUG = item.debug ? "1" : "0"
    NONE = try(item.none, "fallback")
  }
}
