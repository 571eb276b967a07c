//! Hostile files: they are refused with a place, in bounded time and stack, or do no harm.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::converted;

/// Converts a file, and returns what is said of it; at once.
fn outcome(name: &str, text: &str) -> Result<String, String> {
    let start = Instant::now();
    let result = converted(&[(name, text)]);
    assert!(start.elapsed() < Duration::from_secs(20), "{name}: {:?}", start.elapsed());
    match result {
        Ok(converted) => {
            assert!(converted.toml.parse::<toml::Table>().is_ok());
            Ok(converted.toml)
        }
        Err(error) => {
            assert!(error.line > 0 && error.column > 0, "{error}");
            Err(error.what)
        }
    }
}

fn refused(name: &str, text: &str, part: &str) {
    let what = outcome(name, text).expect_err(part);
    assert!(what.contains(part), "`{what}` has no `{part}`");
}

#[test]
fn deep_nesting_is_refused() {
    let deep = 50_000;
    for (open, close) in [("[", "]"), ("(", ")"), ("{ a = ", " }"), ("\"${", "}\""), ("upper(", ")")] {
        let text = format!("target \"a\" {{\n tags = {}1{}\n}}\n", open.repeat(deep), close.repeat(deep));
        refused("a.hcl", &text, "nest");
    }
    refused("a.hcl", &format!("target \"a\" {{\n tags = {}true\n}}\n", "!".repeat(deep)), "expected");
    let _ = outcome("a.hcl", &format!("target \"a\" {{\n tags = {}1\n}}\n", "true ? 1 : ".repeat(deep)));
    let _ = outcome("a.hcl", &format!("target \"a\" {{\n tags = 1{}\n}}\n", " + 1".repeat(deep)));
    let _ = outcome("a.hcl", &format!("target \"a\" {{\n tags = a{}\n}}\n", ".a".repeat(deep)));
    let _ = outcome("a.hcl", &format!("target \"a\" {{\n tags = a{}\n}}\n", "[*]".repeat(deep)));
    let _ = outcome("a.hcl", &format!("target \"a\" {{\n tags = a{}\n}}\n", "[0]".repeat(deep)));
    refused("a.json", &"[".repeat(deep), "levels");
    refused("a.json", &"{\"a\":".repeat(deep), "levels");
    refused("a.yaml", &"[".repeat(deep), "recursion");
    refused("a.yaml", &"[".repeat(200), "levels");
    refused("a.yaml", &"- ".repeat(deep), "levels");
    refused("a.yaml", &"{a: ".repeat(200), "levels");
    let text = format!("services:\n a:\n  build: \"{}\"\n", "${A:-".repeat(10_000));
    refused("a.yaml", &text, "deeply");
}

#[test]
fn aliases_do_not_multiply() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(bomb, "a{level}: &a{level} [{aliases}]").expect("a string can be written");
    }
    refused("a.yaml", &bomb, "too large");
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 5_000].join(", "));
    refused("a.yaml", &long, "too large");
    let mut chain = String::from("a0: &a0 [x]\n");
    for level in 1..1000 {
        writeln!(chain, "a{level}: &a{level} [*a{}]", level - 1).expect("a string can be written");
    }
    refused("a.yaml", &chain, "levels");
    refused("a.yaml", "a: &a [*a]\n", "alias");
}

#[test]
fn circles_are_found() {
    let variables = "variable \"A\" { default = B }\nvariable \"B\" { default = \"${A}\" }\n";
    refused("a.hcl", variables, "defined by itself");
    refused("a.hcl", "variable \"A\" { default = A }\n", "defined by itself");
    let functions = "function \"f\" {\n params = [x]\n result = g(x)\n}\nfunction \"g\" {\n params = [x]\n result = f(x)\n}\n\
                     target \"a\" {\n tags = [f(1)]\n}\n";
    refused("a.hcl", functions, "calls itself");
    let references = "target \"a\" {\n tags = target.b.tags\n}\ntarget \"b\" {\n tags = target.a.tags\n}\n";
    refused("a.hcl", references, "defined by itself");
    let inherits = "target \"a\" { inherits = [\"b\"] }\ntarget \"b\" { inherits = [\"c\"] }\ntarget \"c\" { inherits = [\"a\"] }\n";
    assert!(outcome("a.hcl", inherits).is_ok());
    let extends = "services:\n a: { extends: b, build: . }\n b: { extends: a }\n";
    refused("a.yaml", extends, "extends itself");
    refused("a.yaml", "services:\n a: { extends: a, build: . }\n", "extends itself");
}

#[test]
fn growth_is_bounded() {
    let mut doubling = String::from("V0 = \"0123456789\"\n");
    for level in 1..60 {
        let before = level - 1;
        writeln!(doubling, "V{level} = \"${{V{before}}}${{V{before}}}\"").expect("a string can be written");
    }
    refused("a.hcl", &doubling, "too long");
    let symbols =
        format!("variable \"A\" {{ default = \"x\" }}\n{}", doubling.replace("\"0123456789\"", "A"));
    let _ = outcome("a.hcl", &symbols);
    let mut lists = String::from("V0 = [\"a\", \"b\"]\n");
    for level in 1..40 {
        let before = level - 1;
        writeln!(lists, "V{level} = [V{before}, V{before}]").expect("a string can be written");
    }
    let _ = outcome("a.hcl", &lists);
    let mut loops = String::from("\"x\"");
    for level in 0..10 {
        loops = format!("[for v{level} in range(0, 1000) : {loops}]");
    }
    refused("a.hcl", &format!("target \"a\" {{\n tags = {loops}\n}}\n"), "too much computing");
    let matrix = format!(
        "target \"a\" {{\n name = \"a-${{strlen(a)}}\"\n matrix = {{\n{}\n}}\n}}\n",
        "abcdefghij"
            .chars()
            .map(|name| format!(" {name} = [\"1\", \"2\", \"3\", \"4\"]"))
            .collect::<Vec<_>>()
            .join("\n")
    );
    refused("a.hcl", &matrix, "too many combinations");
    refused("a.hcl", &"#".repeat((2 << 20) + 1), "more than");
}

#[test]
fn broken_syntax_has_a_place() {
    for (name, text) in [
        ("a.hcl", "target \"a\" {\n tags = [\"x\n}\n"),
        ("a.hcl", "target \"a\" {"),
        ("a.hcl", "target {\n}\n"),
        ("a.hcl", "target \"a\" {\n x = <<EOT\nnever ends"),
        ("a.hcl", "variable \"A\" {}\ntarget \"a\" {\n tags = [NOPE]\n}\n"),
        ("a.hcl", "target \"a\" {\n tags = \"x\"\n}\n"),
        ("a.hcl", "target \"a\" {\n args = [1]\n}\n"),
        ("a.hcl", "target \"a\" {\n name = \"x\"\n}\n"),
        ("a.hcl", "target \"a\" {\n matrix = 1\n}\n"),
        ("a.hcl", "group \"a\" {\n targets = \"x\"\n}\n"),
        ("a.hcl", "function \"f\" {\n params = [a]\n}\n"),
        ("a.json", "{\"target\": {\"a\": {\"tags\": [\"x}"),
        ("a.json", "{\"target\": 1}"),
        ("a.json", "[]"),
        ("a.json", "{} x"),
        ("a.json", "{\"target\": {\"a\": {\"tags\": [\"${\"]}}}"),
        ("a.json", "\"\\ud800\""),
        ("a.json", ""),
        ("a.yaml", "services: [a"),
        ("a.yaml", "services:\n a: \"x\n"),
        ("a.yaml", "services:\n\ta: 1\n"),
        ("a.yaml", "services:\n a: {}\n a: {}\n"),
        ("a.yaml", "services: 1\n"),
        ("a.yaml", "services:\n a: 1\n"),
        ("a.yaml", "services:\n a: { build: [] }\n"),
        ("a.yaml", "services:\n a: { build: ., image: \"${A\" }\n"),
        ("a.yaml", "services:\n a: { build: ., extends: nope }\n"),
        ("a.yaml", "? [a]\n: b\n"),
        ("a.yaml", "just text\n"),
    ] {
        let found = outcome(name, text);
        assert!(found.is_err(), "{name}: {text}: {found:?}");
    }
}
