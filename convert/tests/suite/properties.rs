//! Properties: whatever a file says, it is converted or refused, and what it gives is TOML.

use proptest::prelude::*;

use super::converted;

/// Pieces of the languages, that meet in ways nobody wrote.
const WORDS: &[&str] = &[
    "target",
    "group",
    "variable",
    "function",
    "\"a\"",
    "\"b\"",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "=",
    ":",
    ",",
    "\n",
    " ",
    "  ",
    "- ",
    "default",
    "tags",
    "args",
    "matrix",
    "name",
    "inherits",
    "contexts",
    "result",
    "params",
    "${",
    "%{",
    "}",
    "$",
    "\"",
    "'",
    "for",
    "in",
    "if",
    "?",
    "==",
    "&&",
    "!",
    "a",
    "b",
    "A",
    "null",
    "true",
    "1",
    "0.5",
    "services",
    "build",
    "image",
    "&x",
    "*x",
    "<<",
    "|",
    ">",
    "#",
    "\t",
    "\\",
    "EOT",
    "<<EOT\n",
    "...",
    "[*]",
    ".",
    "target.a.tags",
    "concat(",
    "merge(",
    "replace(",
    "split(",
    "\u{e9}",
    "\u{0}",
    ":-",
    "$$",
    "extends",
    "-1",
];

fn check(name: &str, text: &str) -> Result<(), TestCaseError> {
    if let Ok(converted) = converted(&[(name, text)]) {
        let parsed = converted.toml.parse::<toml::Table>();
        prop_assert!(parsed.is_ok(), "{parsed:?}\n{}", converted.toml);
    }
    Ok(())
}

fn words() -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(WORDS), 0..60).prop_map(|words| words.concat())
}

/// An expression that can be read.
fn expression() -> impl Strategy<Value = String> {
    let leaf = proptest::sample::select(vec![
        "A",
        "B",
        "L",
        "\"x\"",
        "\"\"",
        "1",
        "-2.5",
        "true",
        "null",
        "[]",
        "{}",
        "\"x-${A}\"",
        "[A, \"y\"]",
        "m",
        "i",
        "target.a.args",
        "i.f",
        "\"$${q}\"",
        "\"\\\"\"",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let functions = proptest::sample::select(vec![
            "upper",
            "concat",
            "join",
            "split",
            "replace",
            "merge",
            "flatten",
            "format",
            "contains",
            "coalesce",
            "try",
            "length",
            "equal",
            "and",
            "substr",
            "element",
            "f",
            "jsonencode",
            "range",
            "sort",
            "unknown",
        ]);
        prop_oneof![
            (functions, proptest::collection::vec(inner.clone(), 0..4))
                .prop_map(|(name, arguments)| format!("{name}({})", arguments.join(", "))),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a} == {b} ? {b} : {c})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("(({a}) && !({b}))")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[for x in {a} : {b}]")),
            inner.clone().prop_map(|a| format!("\"${{{a}}}-%{{ for x in {a} }}${{x}}%{{ endfor }}\"")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} + {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{{ k = {a}, \"l\" = {b} }}")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("({a})[{b}]")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_text_is_no_trouble(text in "\\PC{0,200}") {
        for name in ["a.hcl", "a.json", "a.yaml"] {
            check(name, &text)?;
        }
    }

    #[test]
    fn words_of_the_languages_are_no_trouble(text in words()) {
        for name in ["a.hcl", "a.json", "a.yaml"] {
            check(name, &text)?;
        }
    }

    #[test]
    fn any_expression_may_stand_anywhere(a in expression(), b in expression(), c in expression()) {
        check("a.hcl", &format!(
            "variable \"A\" {{ default = \"a\" }}\nvariable \"B\" {{ default = false }}\nvariable \"L\" {{ default = [\"l\"] }}\n\
             function \"f\" {{\n params = [p]\n result = {a}\n}}\n\
             target \"a\" {{\n name = \"a-${{m}}-${{i.f}}\"\n matrix = {{ m = [\"1\", \"2\"], i = [{{ f = 1 }}] }}\n\
             tags = {b}\n args = {{ X = {c} }}\n labels = {a}\n context = {c}\n no-cache = {b}\n output = [{c}]\n}}\n\
             variable \"D\" {{ default = {c} }}\n"))?;
        check("a.hcl", &format!("m = 1\ni = {{ f = 2 }}\ntarget \"a\" {{\n args = {{ X = {a} }}\n tags = [{b}]\n}}\n"))?;
    }

    #[test]
    fn texts_come_out_as_they_were(text in "[ -~\u{e9}\n\t]{0,40}") {
        let json = serde_like(&text);
        let file = format!("{{\"target\": {{\"a\": {{\"args\": {{\"X\": {json}}}}}}}}}");
        let converted = converted(&[("a.json", &file)]).expect("it is a bake file");
        let table: toml::Table = converted.toml.parse().expect("it is TOML");
        let found = table["image"]["a"]["args"]["X"].as_str().expect("a text").replace("$${", "${");
        prop_assert_eq!(found, text);
    }
}

/// Writes a text as a string of JSON in which no template is.
fn serde_like(text: &str) -> String {
    let text = text.replace("${", "$${").replace("%{", "%%{");
    let mut json = String::from("\"");
    for ch in text.chars() {
        match ch {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\t' => json.push_str("\\t"),
            ch => json.push(ch),
        }
    }
    json + "\""
}
