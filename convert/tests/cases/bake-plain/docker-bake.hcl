variable "TAG" {
  default = "latest"
  description = "what the images are tagged with"
}

group "default" {
  description = "all that is shipped"
  targets = ["webapp", "worker"]
}

target "webapp" {
  description = "the web server"
  context = "./src/www"
  dockerfile = "webapp.Dockerfile"
  target = "release"
  tags = ["docker.io/username/webapp:${TAG}", "docker.io/username/webapp:v1"]
  platforms = ["linux/amd64", "linux/arm64"]
  pull = true
  no-cache = false
}

target "worker" {
  context = "https://github.com/username/worker.git#main"
  no-cache-filter = ["deps", "deps"]
  network = "host"
  entitlements = ["network.host", "security.insecure", "device"]
}
