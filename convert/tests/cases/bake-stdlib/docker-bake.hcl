target "app" {
  args = {
    A = base64encode("hello")
    B = base64decode("aGVsbG8=")
    C = sha256("hello")
    D = urlencode("a b/c")
    E = jsonencode({ b = [1, true, null], a = "x" })
    F = basename("/a/b/c.txt")
    G = dirname("/a/b/c.txt")
    H = join("-", sort(distinct(["b", "a", "b"])))
    I = join("-", reverselist(["a", "b"]))
    J = trimprefix("v1.2", "v")
    K = trimsuffix("a.git", ".git")
    L = trimspace("  x ")
    M = title("hello world")
    N = element(["a", "b"], 3)
    O = length(flatten([["a"], ["b", ["c"]]]))
    P = max(1, 5, 3)
    Q = 7 % 3
    R = parseint("ff", 16)
    S = format("%s-%d-%q", "a", 3, "b")
    T = substr("hello", 1, 3)
    U = join(",", keys({ b = 1, a = 2 }))
    V = slice(["a", "b", "c"], 1, 2)[0]
    W = can({}.x) ? "yes" : "no"
    X = zipmap(["k"], ["v"]).k
    Y = join(",", compact(["a", "", "b"]))
    Z = indexof(["a", "b"], "b")
    AA = uuidv4()
    BB = -3
    CC = 10 / 4
    DD = join(",", formatlist("%s", ["a"]))
  }
}
