//! The JSON form of arguments: an array of strings.

use serde::de::IgnoredAny;

use crate::Diagnostic;
use crate::text::{Slice, Text};

/// A string of the array: what it says, and the piece of source with its quotes.
pub(super) struct Element<'a> {
    pub(super) value: Text,
    pub(super) source: Slice<'a>,
}

/// Reads arguments as a JSON array; `None` if they are anything else, which is then the shell form.
///
/// # Errors
/// A valid array with an element that is not a string.
pub(super) fn array(arguments: Slice<'_>) -> Option<Result<Vec<Element<'_>>, Box<Diagnostic>>> {
    let mut reader = Reader { slice: arguments, at: 0 };
    reader.expect('[')?;
    let mut elements = Vec::new();
    let mut not_string = None;
    reader.skip_blanks();
    if reader.peek() != Some(']') {
        loop {
            reader.skip_blanks();
            let start = reader.at;
            if reader.peek() == Some('"') {
                let value = reader.string()?;
                elements.push(Element { value, source: arguments.part(start..reader.at) });
            } else {
                reader.other()?;
                not_string.get_or_insert(arguments.part(start..reader.at));
            }
            reader.skip_blanks();
            if reader.peek() == Some(']') {
                break;
            }
            reader.expect(',')?;
        }
    }
    reader.expect(']')?;
    reader.skip_blanks();
    if reader.at != arguments.as_str().len() {
        return None;
    }
    let Some(element) = not_string else { return Some(Ok(elements)) };
    Some(Err(Box::new(
        Diagnostic::error("json-not-string", element.span(), "array element is not a string")
            .with_help("put double quotes around it"),
    )))
}

struct Reader<'a> {
    slice: Slice<'a>,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.slice.as_str()[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn expect(&mut self, ch: char) -> Option<()> {
        self.skip_blanks();
        self.rest().strip_prefix(ch)?;
        self.at += ch.len_utf8();
        Some(())
    }

    fn skip_blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    /// Skips a value of any other type.
    fn other(&mut self) -> Option<()> {
        let mut values = serde_json::Deserializer::from_str(self.rest()).into_iter::<IgnoredAny>();
        values.next()?.ok()?;
        self.at += values.byte_offset();
        Some(())
    }

    fn string(&mut self) -> Option<Text> {
        self.at += 1;
        let mut value = Text::new(self.slice.from(self.at).span().start);
        loop {
            let source = self.slice.from(self.at).span().start;
            let ch = self.peek()?;
            self.at += ch.len_utf8();
            match ch {
                '"' => return Some(value),
                '\\' => value.push(self.escaped()?, source),
                '\0'..='\u{1f}' => return None,
                ch => value.push(ch, source),
            }
        }
    }

    fn escaped(&mut self) -> Option<char> {
        let ch = self.peek()?;
        self.at += ch.len_utf8();
        Some(match ch {
            '"' | '\\' | '/' => ch,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => self.unicode()?,
            _ => return None,
        })
    }

    /// Reads what follows `\u`; halves of pairs that stand alone become U+FFFD.
    fn unicode(&mut self) -> Option<char> {
        let first = self.hex()?;
        if let Some(ch) = char::from_u32(first) {
            return Some(ch);
        }
        let before = self.at;
        if (0xd800..0xdc00).contains(&first) && self.rest().starts_with("\\u") {
            self.at += 2;
            let second = self.hex()?;
            if (0xdc00..0xe000).contains(&second) {
                return char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00));
            }
            self.at = before;
        }
        Some(char::REPLACEMENT_CHARACTER)
    }

    fn hex(&mut self) -> Option<u32> {
        let digits =
            self.rest().get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str) -> Option<Result<Vec<String>, &'static str>> {
        let mut text = Text::new(0);
        text.push_str(source, 0);
        let elements = array(text.all())?;
        Some(match elements {
            Ok(elements) => {
                Ok(elements.iter().map(|element| element.value.all().as_str().to_owned()).collect())
            }
            Err(diagnostic) => Err(diagnostic.code),
        })
    }

    #[test]
    fn reads_arrays_of_strings() {
        let strings = |strings: &[&str]| Some(Ok(strings.iter().map(ToString::to_string).collect()));
        for (source, expected) in [
            ("[]", strings(&[])),
            (" [ ] ", strings(&[])),
            (r#"["a", "b c"]"#, strings(&["a", "b c"])),
            (r#"["\u00e9\n\/\ud83d\ude00"]"#, strings(&["\u{e9}\n/\u{1f600}"])),
            (r#"["\ud83dx\udead"]"#, strings(&["\u{fffd}x\u{fffd}"])),
            (r#"["a"] && b"#, None),
            (r"['a']", None),
            (r#"["a",]"#, None),
            (r#"["a""#, None),
            (r#"["a" "b"]"#, None),
            (r#"["\x"]"#, None),
            ("[[ -f /x ]]", None),
            ("[ -f x ]", None),
            (r#"["a", 1]"#, Some(Err("json-not-string"))),
            (r#"[["a"], "b"]"#, Some(Err("json-not-string"))),
            ("[null]", Some(Err("json-not-string"))),
            (r#"{"a": "b"}"#, None),
            ("", None),
        ] {
            assert_eq!(read(source), expected, "{source}");
        }
    }
}
