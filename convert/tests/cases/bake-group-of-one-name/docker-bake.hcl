group "app" { targets = ["app", "lib"] }
target "app" {}
target "lib" {}
