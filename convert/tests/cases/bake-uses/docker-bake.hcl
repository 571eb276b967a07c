variable "V0" { default = "a.b" }
variable "V1" { default = "a.b" }
variable "V2" { default = "a.b" }
variable "V3" { default = "a.b" }
variable "V4" { default = "a.b" }
variable "V5" { default = "a.b" }
variable "V6" { default = "a.b" }
variable "V7" { default = "a.b" }
variable "V8" { default = "a.b" }
variable "V9" { default = "a.b" }
variable "V10" { default = "a.b" }
variable "V11" { default = "a.b" }
variable "V12" { default = "a.b" }
variable "V13" { default = "a.b" }
variable "V14" { default = "a.b" }
variable "V15" { default = "a.b" }
variable "V16" { default = "a.b" }
variable "V17" { default = "a.b" }
variable "V18" { default = "a.b" }
variable "V19" { default = "a.b" }
variable "V20" { default = "a.b" }
variable "V21" { default = "a.b" }
variable "V22" { default = "a.b" }
variable "V23" { default = "a.b" }
variable "V24" { default = "a.b" }
variable "V25" { default = "a.b" }
variable "V26" { default = "a.b" }
variable "V27" { default = "a.b" }
variable "V28" { default = "a.b" }
variable "V29" { default = "a.b" }
variable "V30" { default = "a.b" }
variable "V31" { default = "a.b" }
variable "V32" { default = "a.b" }
variable "V33" { default = "a.b" }
variable "V34" { default = "a.b" }
variable "V35" { default = "a.b" }
variable "V36" { default = "a.b" }
variable "V37" { default = "a.b" }
variable "V38" { default = "a.b" }
variable "V39" { default = "a.b" }
variable "V40" { default = "a.b" }
variable "V41" { default = "a.b" }
variable "V42" { default = "a.b" }
variable "V43" { default = "a.b" }
variable "V44" { default = "a.b" }
variable "V45" { default = "a.b" }
variable "V46" { default = "a.b" }
variable "V47" { default = "a.b" }
variable "V48" { default = "a.b" }
variable "V49" { default = "a.b" }
variable "V50" { default = "a.b" }
variable "V51" { default = "a.b" }
variable "V52" { default = "a.b" }
variable "V53" { default = "a.b" }
variable "V54" { default = "a.b" }
variable "V55" { default = "a.b" }
variable "V56" { default = "a.b" }
variable "V57" { default = "a.b" }
variable "V58" { default = "a.b" }
variable "V59" { default = "a.b" }
variable "V60" { default = "a.b" }
variable "V61" { default = "a.b" }
variable "V62" { default = "a.b" }
variable "V63" { default = "a.b" }
variable "V64" { default = "a.b" }
variable "V65" { default = "a.b" }
variable "V66" { default = "a.b" }
variable "V67" { default = "a.b" }
variable "V68" { default = "a.b" }
variable "V69" { default = "a.b" }
variable "V70" { default = "a.b" }
variable "V71" { default = "a.b" }
variable "V72" { default = "a.b" }
variable "V73" { default = "a.b" }
variable "V74" { default = "a.b" }
variable "V75" { default = "a.b" }
variable "V76" { default = "a.b" }
variable "V77" { default = "a.b" }
variable "V78" { default = "a.b" }
variable "V79" { default = "a.b" }
variable "V80" { default = "a.b" }
variable "V81" { default = "a.b" }
variable "V82" { default = "a.b" }
variable "V83" { default = "a.b" }
variable "V84" { default = "a.b" }
variable "V85" { default = "a.b" }
variable "V86" { default = "a.b" }
variable "V87" { default = "a.b" }
variable "V88" { default = "a.b" }
variable "V89" { default = "a.b" }
variable "V90" { default = "a.b" }
variable "V91" { default = "a.b" }
variable "V92" { default = "a.b" }
variable "V93" { default = "a.b" }
variable "V94" { default = "a.b" }
variable "V95" { default = "a.b" }
variable "V96" { default = "a.b" }
variable "V97" { default = "a.b" }
variable "V98" { default = "a.b" }
variable "V99" { default = "a.b" }
variable "V100" { default = "a.b" }
variable "V101" { default = "a.b" }
variable "V102" { default = "a.b" }
target "default" {
  args = {
    A0 = upper(V0)
    A1 = "${V1}-${lower(V1)}"
    A2 = V2 == "a.b" ? "y" : "n"
    A3 = V3 != "a.b" ? "y" : "n"
    A4 = !equal(V4, "a.b")
    A5 = notequal(V5, "a.b") && V5 != ""
    A6 = length(V6) > 3 ? "long" : "short"
    A7 = substr(V7, 1, 2)
    A8 = reverse(V8)
    A9 = replace(V9, ".", "-")
    A10 = regex_replace(V10, "[.]", "-")
    A11 = split(".", V11)[1]
    A12 = element(split(".", V12), 0)
    A13 = join(",", split(".", V13))
    A14 = join(",", reverse(split(".", V14)))
    A15 = format("%s!", V15)
    A16 = title(V16)
    A17 = trimspace(" ${V17} ")
    A18 = trimprefix(V18, "a")
    A19 = trimsuffix(V19, "b")
    A20 = trim(V20, "ab")
    A21 = coalesce(V21, "x")
    A22 = try(V22, "x")
    A23 = can(V23) ? V23 : "no"
    A24 = contains(["a.b", "c"], V24) ? "in" : "out"
    A25 = lookup({ "a.b" = "1", "c" = "2" }, V25, "d")
    A26 = { "a.b" = "1" }[V26]
    A27 = keys({ (V27) = "1" })[0]
    A28 = base64encode(V28)
    A29 = sha256(V29)
    A30 = urlencode(V30)
    A31 = jsonencode({ v = V31 })
    A32 = jsonencode([V32])
    A33 = merge({ a = V33 }, { b = "x" }).a
    A34 = concat([V34], ["x"])[0]
    A35 = [for p in split(".", V35) : upper(p)][0]
    A36 = join(",", [for p in ["x", "y"] : "${p}${V36}"])
    A37 = join(",", [for p in ["a.b", "y"] : p if p == V37])
    A38 = "%{ if V38 == "a.b" }yes%{ else }no%{ endif }"
    A39 = "%{ for p in split(".", V39) }<${p}>%{ endfor }"
    A40 = strlen(V40)
    A41 = chomp(V41)
    A42 = sanitize(V42)
    A43 = "${V43 == "" ? "empty" : V43}"
    A44 = indent(2, V44)
    A45 = min(strlen(V45), 100)
    A46 = compact([V46, ""])[0]
    A47 = distinct([V47, V47])[0]
    A48 = index(["a.b", "c"], V48)
    A49 = flatten([[V49], ["x"]])[0]
    A50 = setunion([V50], ["x"])
    A51 = slice(split(".", V51), 0, 1)[0]
    A52 = range(strlen(V52))[1]
    A53 = zipmap(["k"], [V53]).k
    A54 = values({ k = V54 })[0]
    A56 = formatlist("%s-x", [V56])[0]
    A57 = semvercmp(V57, "1.0.0")
    A58 = and(V58 == "a.b", true)
    A59 = or(V59 == "zz", false)
    A60 = V60 == "a.b" || false
    A61 = "a" == V61
    A62 = null == V62
    A63 = join("", [V63])
    A64 = join(V64, ["a", "b"])
    A65 = split(V65, "xa.by")[0]
    A66 = replace("xa.by", V66, "-")
    A67 = "${"${V67}"}x"
    A68 = greaterthan(strlen(V68), 3)
    A69 = strlen(V69) + 1
    A70 = -strlen(V70)
    A71 = (V71)
    A72 = V72[0]
    A73 = [V73][0]
    A74 = { a = V74 }.a
    A75 = split(".", V75)[*]
    A76 = [{ n = V76 }][*].n
    A77 = length(split(".", V77))
    A78 = hasindex(split(".", V78), 1)
    A79 = hasprefix(V79, "a")
    A80 = startswith(V80, "a")
    A81 = strrev(V81)
    A82 = csvdecode("h\n${V82}")[0].h
    A83 = basename(V83)
    A84 = dirname(V84)
    A85 = md5(V85)
    A86 = uuidv5("dns", V86)
    A87 = bcrypt(V87)
    A88 = timestamp()
    A89 = absolute(strlen(V89))
    A90 = int(strlen(V90))
    A91 = parseint("${strlen(V91)}", 10)
    A92 = cidrnetmask("10.0.0.0/8")
    A93 = upper(lower(V93))
    A94 = concat(split(".", V94), ["x"])
    A95 = chunklist(split(".", V95), 1)[0][0]
    A96 = coalescelist(split(".", V96), ["x"])[0]
    A97 = substr(V97, -1, 1)
    A98 = substr(V98, 0, 1)
    A99 = regex("[a-z]", V99)
    A100 = regexall("[a-z]", V100)[0]
    A101 = sha1(V101)
    A102 = sort([V102, "b"])[0]
  }
}
