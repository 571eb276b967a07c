//! JSON with the place of every value.

use crate::hcl::SyntaxError;
use crate::place::{Lines, Place};

/// The deepest that lists and objects may lie in each other.
const MAX_DEPTH: usize = 64;

/// A value.
pub(super) struct Json {
    /// Where it starts.
    pub(super) place: Place,
    /// What it is.
    pub(super) kind: JsonKind,
}

/// What a value is.
pub(super) enum JsonKind {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// `[..]`
    List(Vec<Json>),
    /// `{..}`: name, place of the name, value.
    Object(Vec<(String, Place, Json)>),
}

/// Reads a whole text.
///
/// # Errors
/// The first mistake.
pub(super) fn parse(file: usize, text: &str) -> Result<Json, SyntaxError> {
    let mut reader = Reader { lines: Lines::new(file, text), text, at: 0, depth: 0 };
    let value = reader.value()?;
    reader.space();
    if reader.at < text.len() { Err(reader.wrong("more text behind the value")) } else { Ok(value) }
}

struct Reader<'a> {
    lines: Lines<'a>,
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn wrong(&self, what: &str) -> SyntaxError {
        SyntaxError { place: self.lines.place(self.at), what: what.to_owned() }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes a character behind white space, if it is there.
    fn take(&mut self, wanted: u8) -> bool {
        self.space();
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self) -> Result<Json, SyntaxError> {
        self.space();
        let place = self.lines.place(self.at);
        let kind = match self.peek() {
            Some(b'{') => self.nested(Self::object)?,
            Some(b'[') => self.nested(Self::list)?,
            Some(b'"') => JsonKind::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(_) => self.word()?,
            None => return Err(self.wrong("the text ends where a value is expected")),
        };
        Ok(Json { place, kind })
    }

    fn nested(
        &mut self,
        read: fn(&mut Self) -> Result<JsonKind, SyntaxError>,
    ) -> Result<JsonKind, SyntaxError> {
        if self.depth >= MAX_DEPTH {
            return Err(self.wrong(&format!("more than {MAX_DEPTH} levels of lists and objects")));
        }
        self.depth += 1;
        self.at += 1;
        let kind = read(self)?;
        self.depth -= 1;
        Ok(kind)
    }

    fn object(&mut self) -> Result<JsonKind, SyntaxError> {
        let mut members = Vec::new();
        if self.take(b'}') {
            return Ok(JsonKind::Object(members));
        }
        loop {
            self.space();
            let place = self.lines.place(self.at);
            if self.peek() != Some(b'"') {
                return Err(self.wrong("a name in double quotes is expected"));
            }
            let name = self.string()?;
            if !self.take(b':') {
                return Err(self.wrong("`:` is expected"));
            }
            let value = self.value()?;
            members.push((name, place, value));
            if self.take(b'}') {
                return Ok(JsonKind::Object(members));
            }
            if !self.take(b',') {
                return Err(self.wrong("`,` or `}` is expected"));
            }
        }
    }

    fn list(&mut self) -> Result<JsonKind, SyntaxError> {
        let mut items = Vec::new();
        if self.take(b']') {
            return Ok(JsonKind::List(items));
        }
        loop {
            items.push(self.value()?);
            if self.take(b']') {
                return Ok(JsonKind::List(items));
            }
            if !self.take(b',') {
                return Err(self.wrong("`,` or `]` is expected"));
            }
        }
    }

    fn number(&mut self) -> Result<JsonKind, SyntaxError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        let value: Option<f64> = self.text[start..self.at].parse().ok();
        value.filter(|value| value.is_finite()).map(JsonKind::Number).ok_or_else(|| SyntaxError {
            place: self.lines.place(start),
            what: "this is not a number".to_owned(),
        })
    }

    fn word(&mut self) -> Result<JsonKind, SyntaxError> {
        let rest = &self.text[self.at..];
        for (word, kind) in
            [("null", JsonKind::Null), ("true", JsonKind::Bool(true)), ("false", JsonKind::Bool(false))]
        {
            if rest.starts_with(word) {
                self.at += word.len();
                return Ok(kind);
            }
        }
        Err(self.wrong("a value is expected"))
    }

    fn string(&mut self) -> Result<String, SyntaxError> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let Some(ch) = self.text[self.at..].chars().next() else {
                return Err(self.wrong("the text ends inside a string"));
            };
            match ch {
                '"' => {
                    self.at += 1;
                    return Ok(text);
                }
                '\\' => text.push(self.escape()?),
                ch if ch < ' ' => return Err(self.wrong("a control character inside a string")),
                ch => {
                    text.push(ch);
                    self.at += ch.len_utf8();
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, SyntaxError> {
        let ch = match self.text.as_bytes().get(self.at + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.wrong("an unknown escape sequence")),
        };
        self.at += 2;
        Ok(ch)
    }

    /// Reads `\uXXXX`, or two of them that make one character.
    fn unicode(&mut self) -> Result<char, SyntaxError> {
        let unit = |at: usize| {
            let digits = self.text.get(at..at + 6)?.strip_prefix("\\u")?;
            digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(())?;
            u16::from_str_radix(digits, 16).ok()
        };
        let units: Vec<u16> = [unit(self.at), unit(self.at + 6)].into_iter().map_while(|unit| unit).collect();
        match char::decode_utf16(units).next() {
            Some(Ok(ch)) => {
                self.at += 6 * ch.len_utf16();
                Ok(ch)
            }
            _ => Err(self.wrong("an escape sequence that is no character")),
        }
    }
}
