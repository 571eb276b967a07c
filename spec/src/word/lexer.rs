//! The one pass that removes quotes, resolves escapes and substitutes variables.

use std::ops::Range;

use super::pattern::{self, Reach};

/// Deepest nesting of `${...}` within `${...}`.
const MAX_DEPTH: usize = 100;

/// What comes out of the pass.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Text with quotes and escapes removed; unset variables are empty.
    Expand,
    /// As `Expand`, but an unset variable stays as it is written.
    KeepUnset,
    /// Text as it is written; the pass only finds where words end.
    Raw,
}

/// A word found by the pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawWord {
    /// What it says.
    pub(crate) text: String,
    /// The bytes it was made from.
    pub(crate) at: Range<usize>,
}

/// Why a text cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) help: Option<String>,
    pub(super) at: Range<usize>,
}

impl Failure {
    fn new(code: &'static str, at: Range<usize>, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: None, at }
    }

    fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// Splits a text at unquoted blanks and leaves the words as they are written; `None` if quotes or `${...}` are
/// malformed.
pub(crate) fn raw_words(text: &str) -> Option<Vec<RawWord>> {
    Lexer::new(text, '\\', &|_| None, Mode::Raw).run().ok().map(|(_, words)| words)
}

/// Splits as [`raw_words`] does, but removes quotes and escapes.
pub(crate) fn unquoted_words(text: &str) -> Option<Vec<RawWord>> {
    Lexer::new(text, '\\', &|_| None, Mode::KeepUnset).run().ok().map(|(_, words)| words)
}

/// Splits as [`unquoted_words`] does, but keeps quotes.
pub(crate) fn quoted_words(text: &str) -> Option<Vec<RawWord>> {
    let mut lexer = Lexer::new(text, '\\', &|_| None, Mode::Raw);
    lexer.raw_escapes = false;
    lexer.run().ok().map(|(_, words)| words)
}

/// The state of the pass.
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    escape: char,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    mode: Mode,
    raw_escapes: bool,
    /// Whether quotes are characters like any other.
    pub(super) plain_quotes: bool,
    depth: usize,
    /// Unset variables met on the way.
    pub(super) undefined: Vec<(String, Range<usize>)>,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(
        text: &'a str,
        escape: char,
        lookup: &'a dyn Fn(&str) -> Option<String>,
        mode: Mode,
    ) -> Self {
        let raw_escapes = mode == Mode::Raw;
        Self {
            text,
            at: 0,
            escape,
            lookup,
            mode,
            raw_escapes,
            plain_quotes: false,
            depth: 0,
            undefined: Vec::new(),
        }
    }

    /// Returns the whole text expanded, and the words it falls into.
    pub(super) fn run(&mut self) -> Result<(String, Vec<RawWord>), Failure> {
        self.run_until(None)
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let ch = self.peek()?;
        self.at += ch.len_utf8();
        Some(ch)
    }

    /// Expands up to the stop character, which is consumed.
    fn run_until(&mut self, stop: Option<char>) -> Result<(String, Vec<RawWord>), Failure> {
        let mut result = String::new();
        let mut words = Splitter::default();
        while let Some(ch) = self.peek() {
            let start = self.at;
            if Some(ch) == stop {
                self.next();
                return Ok((result, words.finish(start)));
            }
            match ch {
                '$' => {
                    let value = self.dollar()?;
                    value.chars().for_each(|ch| words.add(ch, start));
                    result.push_str(&value);
                }
                '\'' | '"' if !self.plain_quotes => {
                    let value = if ch == '"' { self.double_quote()? } else { self.single_quote()? };
                    words.add_raw(&value, start);
                    result.push_str(&value);
                }
                _ if ch == self.escape => {
                    self.next();
                    let mut escaped = String::new();
                    if self.raw_escapes {
                        escaped.push(ch);
                    }
                    escaped.extend(self.next());
                    if !escaped.is_empty() {
                        words.add_raw(&escaped, start);
                    }
                    result.push_str(&escaped);
                }
                _ => {
                    self.next();
                    words.add(ch, start);
                    result.push(ch);
                }
            }
        }
        match stop {
            None => Ok((result, words.finish(self.at))),
            Some(stop) => Err(Failure::new(
                "bad-substitution",
                self.at..self.at,
                format!("`${{` is never closed: missing `{stop}`"),
            )),
        }
    }

    fn single_quote(&mut self) -> Result<String, Failure> {
        let start = self.at;
        let body = &self.text[start + 1..];
        let Some(end) = body.find('\'') else {
            return Err(Failure::new(
                "unterminated-quote",
                start..self.text.len(),
                "single quote is never closed",
            ));
        };
        self.at = start + 1 + end + 1;
        Ok(if self.mode == Mode::Raw { &self.text[start..self.at] } else { &body[..end] }.to_owned())
    }

    fn double_quote(&mut self) -> Result<String, Failure> {
        let start = self.at;
        let mut result = String::new();
        if self.mode == Mode::Raw {
            result.push('"');
        }
        self.next();
        loop {
            match self.peek() {
                None => {
                    return Err(Failure::new(
                        "unterminated-quote",
                        start..self.at,
                        "double quote is never closed",
                    ));
                }
                Some('"') => {
                    self.next();
                    if self.mode == Mode::Raw {
                        result.push('"');
                    }
                    return Ok(result);
                }
                Some('$') => result.push_str(&self.dollar()?),
                Some(ch) if ch == self.escape => {
                    self.next();
                    // Only these three can be escaped here; before others the escape stays.
                    let escapes =
                        self.peek().filter(|&next| next == '"' || next == '$' || next == self.escape);
                    if self.raw_escapes || escapes.is_none() {
                        result.push(ch);
                    }
                    if let Some(escaped) = escapes {
                        self.next();
                        result.push(escaped);
                    }
                }
                Some(ch) => {
                    self.next();
                    result.push(ch);
                }
            }
        }
    }

    /// Expands from a `$` on.
    fn dollar(&mut self) -> Result<String, Failure> {
        let start = self.at;
        self.next();
        if self.peek() == Some('{') {
            self.next();
            if self.depth == MAX_DEPTH {
                return Err(Failure::new(
                    "bad-substitution",
                    start..self.at,
                    format!("variables are nested more than {MAX_DEPTH} deep"),
                ));
            }
            self.depth += 1;
            let value = self.braces(start);
            self.depth -= 1;
            return value.map_err(|failure| self.widen(failure, start));
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        Ok(self.plain(name, start))
    }

    /// Lets a failure at the end of the text begin at the `${` that was left open.
    fn widen(&self, failure: Failure, start: usize) -> Failure {
        let open = failure.at.is_empty() && failure.at.end == self.text.len();
        if open { Failure { at: start..self.text.len(), ..failure } } else { failure }
    }

    fn plain(&mut self, name: &str, start: usize) -> String {
        match (self.lookup)(name) {
            Some(value) => value,
            None if self.mode == Mode::Expand => {
                self.undefined.push((name.to_owned(), start..self.at));
                String::new()
            }
            None => self.text[start..self.at].to_owned(),
        }
    }

    /// Expands what follows `${`.
    fn braces(&mut self, start: usize) -> Result<String, Failure> {
        if let Some('{' | '}' | ':') = self.peek() {
            self.next();
            return Err(Failure::new("bad-substitution", start..self.at, "`${` is not followed by a name"));
        }
        let name = self.name();
        let operator = self.at;
        let open = Failure::new("bad-substitution", start..self.at, "`${` is never closed: missing `}`");
        match self.next().ok_or(open)? {
            '}' => Ok(self.plain(name, start)),
            ':' => match self.next() {
                Some(ch @ ('-' | '+' | '?')) => self.substitute(name, ch, Unset::OrEmpty, start),
                _ => Err(self.unsupported(operator)),
            },
            ch @ ('-' | '+' | '?') => self.substitute(name, ch, Unset::Only, start),
            ch @ ('#' | '%') => self.trim(name, ch, start),
            '/' => self.replace(name, start),
            _ => Err(self.unsupported(operator)),
        }
    }

    fn unsupported(&self, operator: usize) -> Failure {
        let modifier = &self.text[operator..self.at];
        Failure::new(
            "unsupported-modifier",
            operator..self.at,
            format!("unsupported modifier `{modifier}` in a variable"),
        )
        .with_help("the modifiers are `:-` `-` `:+` `+` `:?` `?` `#` `##` `%` `%%` `/` and `//`")
    }

    /// Runs up to the stop character with escapes kept, as patterns need them.
    fn raw_until(&mut self, stop: char) -> Result<String, Failure> {
        let before = std::mem::replace(&mut self.raw_escapes, true);
        let result = self.run_until(Some(stop));
        self.raw_escapes = before;
        result.map(|(text, _)| text)
    }

    /// `${x-w}`, `${x+w}`, `${x?m}`.
    fn substitute(&mut self, name: &str, ch: char, unset: Unset, start: usize) -> Result<String, Failure> {
        let before = std::mem::replace(&mut self.raw_escapes, false);
        let word = self.run_until(Some('}'));
        self.raw_escapes = before;
        let (word, _) = word?;
        let value = (self.lookup)(name);
        if value.is_none() && self.mode != Mode::Expand {
            return Ok(self.text[start..self.at].to_owned());
        }
        let is_set = value.is_some();
        let value = value.filter(|value| unset == Unset::Only || !value.is_empty());
        match (ch, value) {
            ('-' | '?', Some(value)) => Ok(value),
            ('-', None) | ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, _) => {
                let state = if is_set { "empty" } else { "unset" };
                let reason = if word.is_empty() { format!("is not allowed to be {state}") } else { word };
                Err(Failure::new("required-variable", start..self.at, format!("`{name}`: {reason}")))
            }
        }
    }

    /// `${x#p}`, `${x%p}` and their greedy forms.
    fn trim(&mut self, name: &str, ch: char, start: usize) -> Result<String, Failure> {
        let word = self.raw_until('}')?;
        let Some(value) = self.value_for_pattern(name, start) else {
            return Ok(self.unset_pattern(start));
        };
        let (pattern, reach) = match word.strip_prefix(ch) {
            Some(pattern) => (pattern, Reach::Longest),
            None => (&*word, Reach::Shortest),
        };
        let trimmed = match ch {
            '#' => pattern::trim_prefix(pattern, &value, reach),
            _ => pattern::trim_suffix(pattern, &value, reach),
        };
        trimmed.map_err(|reason| Failure::new("invalid-pattern", start..self.at, reason))
    }

    /// `${x/p/r}` and `${x//p/r}`.
    fn replace(&mut self, name: &str, start: usize) -> Result<String, Failure> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let pattern = self.raw_until('/')?;
        let replacement = self.raw_until('}')?;
        let Some(value) = self.value_for_pattern(name, start) else {
            return Ok(self.unset_pattern(start));
        };
        let replaced = if all {
            pattern::replace_all(&pattern, &value, &replacement)
        } else {
            pattern::replace_first(&pattern, &value, &replacement)
        };
        replaced.map_err(|reason| Failure::new("invalid-pattern", start..self.at, reason))
    }

    /// Returns the value a pattern works on; `None` if the text is to be kept as written.
    fn value_for_pattern(&mut self, name: &str, start: usize) -> Option<String> {
        let value = (self.lookup)(name);
        if value.is_none() && self.mode == Mode::Expand {
            self.undefined.push((name.to_owned(), start..self.at));
            return Some(String::new());
        }
        value
    }

    fn unset_pattern(&self, start: usize) -> String {
        self.text[start..self.at].to_owned()
    }

    /// Reads a variable's name: digits, one special parameter, or letters, digits and underscores.
    fn name(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let first = rest.chars().next();
        let length = match first {
            Some(ch) if ch.is_ascii_digit() => {
                rest.find(|ch: char| !ch.is_ascii_digit()).unwrap_or(rest.len())
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
            _ => rest.find(|ch: char| !ch.is_alphanumeric() && ch != '_').unwrap_or(rest.len()),
        };
        self.at += length;
        &rest[..length]
    }
}

/// What `${x-w}` and its kin take for unset.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unset {
    Only,
    OrEmpty,
}

/// Cuts the result into words.
#[derive(Default)]
struct Splitter {
    word: String,
    start: usize,
    words: Vec<RawWord>,
}

impl Splitter {
    fn add(&mut self, ch: char, at: usize) {
        if ch.is_whitespace() {
            self.end_word(at);
        } else {
            self.add_raw(ch.encode_utf8(&mut [0; 4]), at);
        }
    }

    fn add_raw(&mut self, text: &str, at: usize) {
        if self.word.is_empty() {
            self.start = at;
        }
        self.word.push_str(text);
    }

    fn end_word(&mut self, at: usize) {
        if !self.word.is_empty() {
            let text = std::mem::take(&mut self.word);
            self.words.push(RawWord { text, at: self.start..at.max(self.start) });
        }
    }

    fn finish(mut self, at: usize) -> Vec<RawWord> {
        self.end_word(at);
        self.words
    }
}
