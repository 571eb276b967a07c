//! Functions that spell values in another way.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256, Sha512};

use super::{Outcome, text};
use crate::term::{Term, number};

pub(super) fn concrete(name: &str, terms: &[Term]) -> Option<Outcome> {
    Some(match name {
        "base64encode" => text(terms, 0).map(|text| Term::Text(STANDARD.encode(text))),
        "base64decode" => base64decode(terms),
        "sha256" => text(terms, 0).map(|text| Term::Text(hex(&Sha256::digest(text)))),
        "sha512" => text(terms, 0).map(|text| Term::Text(hex(&Sha512::digest(text)))),
        "urlencode" => text(terms, 0).map(|text| Term::Text(urlencode(&text))),
        "jsonencode" => terms
            .first()
            .ok_or_else(|| "an argument is missing".to_owned())
            .map(|term| Term::Text(jsonencode(term))),
        _ => return None,
    })
}

fn base64decode(terms: &[Term]) -> Outcome {
    let bytes = STANDARD.decode(text(terms, 0)?).map_err(|_| "the text is not Base64".to_owned())?;
    String::from_utf8(bytes).map(Term::Text).map_err(|_| "the result is not UTF-8".to_owned())
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn urlencode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            b' ' => encoded.push('+'),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

fn jsonencode(term: &Term) -> String {
    match term {
        Term::Null | Term::Symbol(_) => "null".to_owned(),
        Term::Bool(value) => value.to_string(),
        Term::Number(value) => number(*value),
        Term::Text(text) => quoted(text),
        Term::List(items) => {
            format!("[{}]", items.iter().map(jsonencode).collect::<Vec<_>>().join(","))
        }
        Term::Map(pairs) => {
            let mut pairs: Vec<&(String, Term)> = pairs.iter().collect();
            pairs.sort_by(|left, right| left.0.cmp(&right.0));
            let pairs = pairs.iter().map(|(name, value)| format!("{}:{}", quoted(name), jsonencode(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
        }
    }
}

/// Writes a text as JSON does.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for ch in text.chars() {
        match ch {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            ch if ch < ' ' => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(ch));
            }
            ch => quoted.push(ch),
        }
    }
    quoted.push('"');
    quoted
}
