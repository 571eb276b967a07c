//! Keys and strings of TOML.
//!
//! Spec: TOML 1.0, "Keys" and "String".

use std::fmt::Write as _;

/// Writes a key, quoted if it has to be.
pub(super) fn key(name: &str) -> String {
    let is_bare =
        !name.is_empty() && name.chars().all(|ch| ch.is_ascii_alphanumeric() || ch == '_' || ch == '-');
    if is_bare { name.to_owned() } else { basic(name) }
}

/// Writes a string in the form that needs the fewest escapes.
pub(super) fn string(text: &str) -> String {
    let is_literal = |ch: char| ch == '\t' || !ch.is_control();
    let has_lines = text.contains('\n');
    if has_lines && text.chars().all(|ch| ch == '\n' || is_literal(ch)) {
        if !text.contains('\\') && !text.contains("\"\"\"") && !text.ends_with('"') {
            return format!("\"\"\"\n{text}\"\"\"");
        }
        if !text.contains("'''") && !text.ends_with('\'') {
            return format!("'''\n{text}'''");
        }
    }
    if !has_lines && text.contains(['"', '\\']) && !text.contains('\'') && text.chars().all(is_literal) {
        return format!("'{text}'");
    }
    basic(text)
}

fn basic(text: &str) -> String {
    let mut quoted = String::from("\"");
    for ch in text.chars() {
        match ch {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            ch if ch.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(ch));
            }
            ch => quoted.push(ch),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_what_they_were() {
        for (text, expected) in [
            ("", "\"\""),
            ("a", "\"a\""),
            ("a\"b", "'a\"b'"),
            ("a\"b'c", "\"a\\\"b'c\""),
            ("C:\\x", "'C:\\x'"),
            ("a\nb\n", "\"\"\"\na\nb\n\"\"\""),
            ("a\\\n\"", "'''\na\\\n\"'''"),
            ("a\\\n'", "\"a\\\\\\n'\""),
            ("\u{0}\u{7f}\r", "\"\\u0000\\u007F\\r\""),
        ] {
            assert_eq!(string(text), expected);
            let table: toml::Table = format!("k = {expected}").parse().expect("it is TOML");
            assert_eq!(table["k"].as_str(), Some(text));
        }
    }

    #[test]
    fn keys_are_quoted_if_they_must_be() {
        for (name, expected) in
            [("api", "api"), ("a.b", "\"a.b\""), ("", "\"\""), ("a b", "\"a b\""), ("\u{e9}", "\"\u{e9}\"")]
        {
            assert_eq!(key(name), expected);
        }
    }
}
