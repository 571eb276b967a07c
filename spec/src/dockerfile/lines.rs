//! Physical lines to logical lines: continuations joined, comments and blank lines dropped.

use crate::text::Text;
use crate::{Diagnostic, Span};

/// Longest physical line, in bytes without its newline.
const MAX_LINE_BYTES: usize = 65_535;

/// A physical line without its newline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub(super) text: &'a str,
    pub(super) start: usize,
}

impl Line<'_> {
    pub(super) fn span(self) -> Span {
        Span::new(self.start, self.start + self.text.len())
    }
}

/// Reads lines of the source, one after the other.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    source: &'a str,
    next: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        // A byte-order mark is no part of the text.
        let next = if source.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Self { source, next }
    }

    /// Returns the next physical line, or `None` at the end.
    pub(super) fn physical(&mut self, diagnostics: &mut Vec<Diagnostic>) -> Option<Line<'a>> {
        let rest = &self.source[self.next..];
        if rest.is_empty() {
            return None;
        }
        let start = self.next;
        let length = rest.find('\n').unwrap_or(rest.len());
        self.next = (start + length + 1).min(self.source.len());
        if length > MAX_LINE_BYTES {
            let first = rest.chars().next().map_or(0, char::len_utf8);
            diagnostics.push(
                Diagnostic::error(
                    "line-too-long",
                    Span::new(start, start + first),
                    format!("line of {length} bytes is longer than the limit of {MAX_LINE_BYTES}"),
                )
                .with_help("break the line with continuations"),
            );
        }
        Some(Line { text: rest[..length].trim_end_matches('\r'), start })
    }

    /// Joins the logical line that begins with a physical line; `None` if that is blank or a comment.
    pub(super) fn logical(
        &mut self,
        first: Line<'a>,
        escape: char,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<Text> {
        // Leading blanks go on the first line only.
        let stripped = first.text.trim_start();
        if stripped.is_empty() || stripped.starts_with('#') {
            return None;
        }
        let start = first.start + (first.text.len() - stripped.len());
        let mut text = Text::new(start);
        let (piece, mut continues) = cut_continuation(stripped, escape);
        text.push_str(piece, start);
        let (mut blank, mut last) = (None, first.span());
        while continues {
            let Some(line) = self.physical(diagnostics) else { break };
            let stripped = line.text.trim_start();
            last = line.span();
            if stripped.is_empty() {
                blank.get_or_insert(line.span());
            } else if !stripped.starts_with('#') {
                let piece;
                (piece, continues) = cut_continuation(line.text, escape);
                text.push_str(piece, line.start);
            }
        }
        if let Some(span) = blank {
            diagnostics.push(
                // BuildKit says it of the instruction's last line.
                Diagnostic::warning("NoEmptyContinuation", last, "blank line inside a continued instruction")
                    .with_related(text.all().trim().split_first_blank().0.span(), "of this instruction")
                    .with_related(span, "the blank line")
                    .with_help("remove the blank line, or make it a comment"),
            );
        }
        Some(text)
    }

    /// Reads a heredoc's body and its terminator; `None` if the file ends before the terminator.
    pub(super) fn heredoc_body(
        &mut self,
        terminator: &str,
        strips_tabs: bool,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<(&'a str, Span)> {
        let start = self.next;
        while let Some(line) = self.physical(diagnostics) {
            let text = if strips_tabs { line.text.trim_start_matches('\t') } else { line.text };
            if text == terminator {
                return Some((&self.source[start..line.start], Span::new(start, line.start)));
            }
        }
        None
    }
}

/// Takes the continuation off a line's end: an escape, blanks after it, and no other escape right before it.
fn cut_continuation(line: &str, escape: char) -> (&str, bool) {
    match line.trim_end_matches([' ', '\t']).strip_suffix(escape) {
        Some(rest) if !rest.ends_with(escape) => (rest, true),
        _ => (line, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(source: &str, escape: char) -> (Option<String>, usize, Vec<Diagnostic>) {
        let (mut lines, mut diagnostics) = (Lines::new(source), Vec::new());
        let first = lines.physical(&mut diagnostics).expect("a line");
        let text = lines.logical(first, escape, &mut diagnostics);
        (text.map(|text| text.all().as_str().to_owned()), lines.next, diagnostics)
    }

    #[test]
    fn joins_by_the_rules() {
        for (source, expected) in [
            ("  RUN a \\\n  b", "RUN a   b"),
            ("RUN a \\  \t\n b", "RUN a  b"),
            ("RUN a\\\r\n b\r\n", "RUN a b"),
            ("RUN a \\\n# no\n  # nor this \\\n b", "RUN a  b"),
            ("RUN a\\\\\nUSER x", "RUN a\\\\"),
            ("RUN a\\\\\\\nUSER x", "RUN a\\\\\\"),
            ("RUN a \\ \\\nb", "RUN a \\ b"),
            ("RUN a \\", "RUN a "),
            ("\\\nRUN a", "RUN a"),
            ("\\", ""),
        ] {
            assert_eq!(join(source, '\\').0.as_deref(), Some(expected), "{source:?}");
        }
        assert_eq!(join("RUN a `\nb", '`').0.as_deref(), Some("RUN a b"));
        assert_eq!(join("RUN a \\\nb", '`').0.as_deref(), Some("RUN a \\"));
    }

    #[test]
    fn warns_once_of_blank_lines() {
        let (text, _, diagnostics) = join("RUN a \\\n\n  \n b\nUSER x", '\\');
        assert_eq!(text.as_deref(), Some("RUN a  b"));
        let [warning] = &diagnostics[..] else { panic!("{diagnostics:?}") };
        assert_eq!((warning.code, warning.span), ("NoEmptyContinuation", Span::new(12, 14)));
    }

    #[test]
    fn limits_the_length() {
        for (length, code) in [(65_535, None), (65_536, Some("line-too-long"))] {
            let source = format!("RUN {}\n", "x".repeat(length - 4));
            assert_eq!(join(&source, '\\').2.first().map(|diagnostic| diagnostic.code), code);
        }
    }
}
