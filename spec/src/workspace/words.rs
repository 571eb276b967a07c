//! Strings of TOML as words of a Dockerfile.

use super::de::At;
use crate::Span;
use crate::dockerfile::Word;

/// The escape character of stages in TOML.
pub(super) const ESCAPE: char = '\\';

/// The bytes of a string without its quotes, where it stands in the file as it is.
pub(super) fn inner(value: &At<String>) -> Span {
    let Span { start, end } = value.place.span;
    if end - start == value.value.len() + 2 { Span::new(start + 1, end - 1) } else { value.place.span }
}

/// Makes a word in which only variables count; `\$` is a dollar.
pub(super) fn word(value: &At<String>) -> Word {
    let text = &value.value;
    let is_plain = !text.is_empty() && !text.contains(['"', '\'', '\\', ' ', '\t', '\n', '\r']);
    if is_plain {
        return Word::new(text.as_str(), inner(value));
    }
    let mut raw = String::from("\"");
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => raw.push_str("\\\""),
            '\\' if letters.peek() == Some(&'$') => {
                raw.push_str("\\$");
                letters.next();
            }
            '\\' => raw.push_str("\\\\"),
            other => raw.push(other),
        }
    }
    raw.push('"');
    Word::new(raw, value.place.span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Place;

    #[test]
    fn only_variables_count_in_words() {
        let lookup = |name: &str| (name == "x").then(|| "X".to_owned());
        for (text, expected) in [
            ("a$x", "aX"),
            ("a ${x} b", "a X b"),
            ("a\\$x", "a$x"),
            ("say \"$x\"", "say \"X\""),
            ("it's $x", "it's X"),
            ("c:\\dir\\n", "c:\\dir\\n"),
            ("*.[ch] \\*", "*.[ch] \\*"),
            ("", ""),
            ("a\nb\t\u{e4}", "a\nb\t\u{e4}"),
        ] {
            let word = word(&At::new(text.to_owned(), Place::default()));
            let expanded =
                word.expand(ESCAPE, &lookup).unwrap_or_else(|error| panic!("{text}: {}", error.message));
            assert_eq!(expanded.value, expected, "{text}");
        }
    }
}
