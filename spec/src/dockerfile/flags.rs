//! Flags: `--name=value` between an instruction's keyword and its arguments.

use super::keyword::{Keyword, nearest};
use super::{Word, rules};
use crate::text::{Slice, Text};
use crate::{Diagnostic, Span, Spanned};

/// A flag as written.
#[derive(Debug)]
pub(super) struct RawFlag {
    /// `--name=value`, quotes and escapes removed.
    text: Text,
    span: Span,
}

/// Takes the leading flags off an instruction's arguments, which are returned trimmed.
///
/// Quotes and `\` (whatever the file's escape character) are resolved within flags; a bare `--` ends them.
/// Differs: bytes above 127 keep their meaning.
pub(super) fn take(arguments: Slice<'_>) -> (Vec<RawFlag>, Slice<'_>) {
    let mut flags = Vec::new();
    let mut rest = arguments.trim();
    while rest.as_str().starts_with("--") {
        let (flag, length) = take_one(rest);
        rest = rest.from(length).trim();
        if flag.text.all().as_str() == "--" {
            break;
        }
        flags.push(flag);
    }
    (flags, rest)
}

fn take_one(rest: Slice<'_>) -> (RawFlag, usize) {
    let string = rest.as_str();
    let mut text = Text::new(rest.span().start);
    let mut quote = None;
    let mut chars = string.char_indices();
    let mut end = string.len();
    while let Some((at, ch)) = chars.next() {
        if quote == Some(ch) {
            quote = None;
        } else if ch == '\\' {
            if let Some((at, escaped)) = chars.next() {
                text.push(escaped, rest.from(at).span().start);
            }
        } else if quote.is_some() {
            text.push(ch, rest.from(at).span().start);
        } else if ch == '\'' || ch == '"' {
            quote = Some(ch);
        } else if ch.is_whitespace() {
            end = at;
            break;
        } else {
            text.push(ch, rest.from(at).span().start);
        }
    }
    (RawFlag { text, span: rest.part(0..end).span() }, end)
}

/// What may be given to a flag.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// Any text, once.
    Text,
    /// Any text, any number of times.
    List,
    /// True or false; alone it is true.
    Bool,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// Nothing: the flag exists but is not supported.
    Unsupported { help: &'static str },
}

/// The accepted flags of one instruction.
#[derive(Debug, Default)]
pub(super) struct Flags {
    given: Vec<(&'static str, Text, Span)>,
}

impl Flags {
    fn take_all(&mut self, name: &str) -> impl Iterator<Item = (Text, Span)> {
        let taken = self.given.extract_if(.., |(given, _, _)| *given == name);
        taken.map(|(_, value, span)| (value, span)).collect::<Vec<_>>().into_iter()
    }

    fn take(&mut self, name: &str) -> Option<Text> {
        self.take_all(name).next().map(|(value, _)| value).filter(|value| !value.all().is_empty())
    }

    /// Returns a flag's value as a word; an empty value counts as not given.
    pub(super) fn word(&mut self, name: &str) -> Option<Word> {
        self.take(name).map(|value| value.all().word())
    }

    /// Returns a flag's value as it stands; an empty value counts as not given.
    pub(super) fn spanned(&mut self, name: &str) -> Option<Spanned<String>> {
        self.take(name).map(|value| value.all().spanned())
    }

    /// Returns all values of a flag that may be repeated, each with the flag's bytes.
    pub(super) fn list(&mut self, name: &str) -> impl Iterator<Item = (Text, Span)> {
        self.take_all(name)
    }

    /// Returns the value of a flag that is true or false.
    pub(super) fn truth(&mut self, name: &str) -> Option<bool> {
        let (value, _) = self.take_all(name).next()?;
        Some(!value.all().as_str().eq_ignore_ascii_case("false"))
    }

    /// Returns a flag's value with the flag's bytes.
    pub(super) fn choice(&mut self, name: &str) -> Option<Spanned<String>> {
        let (value, span) = self.take_all(name).next()?;
        Some(Spanned::new(value.all().as_str().to_owned(), span))
    }

    /// Returns the bytes of all flags, if there are any.
    pub(super) fn span(&self) -> Option<Span> {
        self.given.iter().map(|&(_, _, span)| span).reduce(Span::to)
    }
}

/// Checks the flags of an instruction against its rules; `None` if one is wrong.
pub(super) fn check(keyword: Keyword, raw: &[RawFlag], diagnostics: &mut Vec<Diagnostic>) -> Option<Flags> {
    let before = diagnostics.len();
    let mut flags = Flags::default();
    let mut seen: Vec<(&str, Span)> = Vec::new();
    for flag in raw {
        let all = flag.text.all();
        let (name, value) = match all.as_str().find('=') {
            Some(at) => (&all.as_str()[2..at], Some(all.from(at + 1))),
            None => (&all.as_str()[2..], None),
        };
        let Some(&(name, rule)) = rules::of(keyword).iter().find(|(known, _)| *known == name) else {
            diagnostics.push(unknown(keyword, name, all.as_str(), flag.span));
            continue;
        };
        let once = !matches!(rule, Rule::List | Rule::Unsupported { .. });
        if let Some(&(_, first)) = seen.iter().find(|(given, _)| once && *given == name) {
            diagnostics.push(
                Diagnostic::error("repeated-flag", flag.span, format!("flag `--{name}` is given twice"))
                    .with_related(first, "first given here"),
            );
            continue;
        }
        seen.push((name, flag.span));
        match check_value(name, rule, value, flag.span) {
            Ok(()) => {
                // The value has its own text, so that words made from it know their place.
                let value = value.map(Slice::to_text).unwrap_or_default();
                flags.given.push((name, value, flag.span));
            }
            Err(diagnostic) => diagnostics.push(*diagnostic),
        }
    }
    (diagnostics.len() == before).then_some(flags)
}

fn check_value(name: &str, rule: Rule, value: Option<Slice<'_>>, span: Span) -> Result<(), Box<Diagnostic>> {
    let missing =
        || Box::new(Diagnostic::error("missing-flag-value", span, format!("flag `--{name}` needs a value")));
    match rule {
        Rule::Text | Rule::List => value.map(|_| ()).ok_or_else(missing),
        Rule::Unsupported { help } => Err(Box::new(
            Diagnostic::error("unsupported", span, format!("flag `--{name}` is not supported"))
                .with_help(help),
        )),
        Rule::OneOf(allowed) => {
            let given = value.ok_or_else(missing)?.as_str();
            if allowed.contains(&given) {
                return Ok(());
            }
            let names: Vec<_> = allowed.iter().map(|name| format!("`{name}`")).collect();
            let help = match nearest(given, allowed.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the values are {}", names.join(", ")),
            };
            Err(Box::new(
                Diagnostic::error("invalid-flag-value", span, format!("flag `--{name}` cannot be `{given}`"))
                    .with_help(help),
            ))
        }
        Rule::Bool => match value.map(|value| value.as_str().to_ascii_lowercase()).as_deref() {
            None | Some("true" | "false") => Ok(()),
            Some("") => Err(missing()),
            Some(given) => Err(Box::new(Diagnostic::error(
                "invalid-flag-value",
                span,
                format!("flag `--{name}` must be `true` or `false`, not `{given}`"),
            ))),
        },
    }
}

fn unknown(keyword: Keyword, name: &str, flag: &str, span: Span) -> Diagnostic {
    let known = rules::of(keyword);
    let diagnostic = Diagnostic::error("unknown-flag", span, format!("`{keyword}` has no flag `--{name}`"));
    if let Some(near) = nearest(name, known.iter().map(|&(known, _)| known)) {
        return diagnostic.with_help(format!("did you mean `--{near}`?"));
    }
    if known.is_empty() {
        return diagnostic.with_help(format!(
            "`{keyword}` has no flags; if this is its first argument, write `{keyword} -- {flag}`"
        ));
    }
    let supported = known.iter().filter(|(_, rule)| !matches!(rule, Rule::Unsupported { .. }));
    let names: Vec<_> = supported.map(|(name, _)| format!("`--{name}`")).collect();
    diagnostic.with_help(format!("the supported flags of `{keyword}`: {}", names.join(", ")))
}
