//! The comments right above an instruction.

use super::CheckDirective;
use super::lines::Line;
use crate::{Diagnostic, Span};

/// A comment line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Comment {
    /// What is behind the `#`, without blanks around it.
    pub(super) text: String,
    pub(super) span: Span,
}

/// What stands above the next instruction; a blank line or an empty comment parts them.
#[derive(Debug, Default)]
pub(super) struct Comments {
    /// The last comment that is not a `check=`.
    pub(super) last: Option<Comment>,
    /// The first `check=`.
    pub(super) check: Option<CheckDirective>,
}

impl Comments {
    /// Looks at a line that is blank or a comment, and no directive.
    pub(super) fn line(&mut self, line: Line<'_>, diagnostics: &mut Vec<Diagnostic>) {
        // BuildKit drops the line's first character, which is the `#` unless the comment is indented.
        let mut chars = line.text.chars();
        chars.next();
        let text = chars.as_str().trim();
        if text.is_empty() {
            *self = Self::default();
            return;
        }
        let end = line.start + line.text.trim_end().len();
        let span = Span::new(end - text.len(), end);
        let Some((value, at)) = check_value(text) else {
            self.last = Some(Comment { text: text.to_owned(), span });
            return;
        };
        let span = Span::new(span.start + at, span.start + at + value.len());
        match CheckDirective::parse(value, span) {
            Ok(check) => {
                diagnostics.extend(check.unknown_names());
                self.check.get_or_insert(check);
            }
            Err(message) => diagnostics.push(
                Diagnostic::warning("invalid-check", span, message)
                    .with_help("write `# check=skip=<rule>,<rule>` or `# check=skip=all`"),
            ),
        }
    }
}

/// Returns the value of a comment `check=<value> ...` and where in the comment it stands.
fn check_value(text: &str) -> Option<(&str, usize)> {
    let (key, value) = text.split_once('=')?;
    if !key.trim_end().eq_ignore_ascii_case("check") {
        return None;
    }
    let value = value.trim();
    let at = text.len() - value.len();
    let value = value.split(' ').next().filter(|value| !value.is_empty())?;
    Some((value, at))
}
