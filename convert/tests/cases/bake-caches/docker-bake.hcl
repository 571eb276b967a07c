variable "REPO" { default = "user/repo" }
target "app" {
  cache-from = [
    "user/repo:cache",
    "${REPO}:cache",
    "type=s3,region=eu-west-1,bucket=mybucket",
    { type = "registry", ref = "${REPO}:main" },
    "",
  ]
  cache-to = [
    { mode = "max", type = "gha", scope = "a,b" },
    "type=inline",
  ]
  output = [
    "type=docker",
    "type=local,dest=out",
    { type = "tar", dest = "./out.tar" },
    { type = "registry" },
    "./folder",
    "-",
    { type = "image", push = true, name = REPO },
  ]
  secret = [
    "type=env,id=KUBECONFIG",
    { type = "file", id = "aws", src = "./aws.txt" },
    { id = "token", env = "TOKEN" },
  ]
  ssh = [
    "default",
    { id = "key", paths = ["./a.pem", "./b.pem"] },
    { id = "agent" },
  ]
}
