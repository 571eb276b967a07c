//! Parser directives: `# key=value` in the first lines.

use super::lines::Line;
use crate::{Diagnostic, Span};

/// Reads directives until the first line that is none.
#[derive(Debug)]
pub(super) struct Directives {
    /// The escape character in force.
    pub(super) escape: char,
    state: State,
    seen: Vec<(&'static str, Span)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    First,
    Open,
    /// After a `#!` line, which ends the block for all but `syntax`.
    SyntaxOnly,
    Closed,
}

const KEYS: [&str; 3] = ["syntax", "escape", "check"];

impl Directives {
    pub(super) fn new() -> Self {
        Self { escape: '\\', state: State::First, seen: Vec::new() }
    }

    /// Looks at the next line of the file.
    pub(super) fn line(&mut self, line: Line<'_>, diagnostics: &mut Vec<Diagnostic>) {
        if self.state == State::Closed {
            return;
        }
        if self.state == State::First && line.text.starts_with("#!") {
            self.state = State::SyntaxOnly;
            return;
        }
        let Some((key, value)) = split(line) else {
            self.state = State::Closed;
            return;
        };
        if self.state == State::First {
            self.state = State::Open;
        }
        if let Some(&(_, first)) = self.seen.iter().find(|(seen, _)| *seen == key) {
            diagnostics.push(
                Diagnostic::error(
                    "repeated-directive",
                    line.span(),
                    format!("parser directive `{key}` is given twice"),
                )
                .with_related(first, "first given here"),
            );
            return;
        }
        self.seen.push((key, line.span()));
        match key {
            "syntax" => check_syntax(line.text, value, diagnostics),
            "escape" if self.state == State::Open => self.set_escape(line.text, value, diagnostics),
            _ => {}
        }
    }

    fn set_escape(&mut self, line: &str, value: Span, diagnostics: &mut Vec<Diagnostic>) {
        match text_of(line, value) {
            "\\" => self.escape = '\\',
            "`" => self.escape = '`',
            other => diagnostics.push(
                Diagnostic::error(
                    "invalid-escape",
                    value,
                    format!("escape character `{other}` is not allowed"),
                )
                .with_help("the escape character is a backslash or a backtick"),
            ),
        }
    }
}

/// Cuts a value's text from the end of its line.
fn text_of(line: &str, value: Span) -> &str {
    let line = line.trim_end();
    &line[line.len() - (value.end - value.start)..]
}

/// Returns a directive's key and where its value stands.
fn split(line: Line<'_>) -> Option<(&'static str, Span)> {
    let body = line.text.trim_start().strip_prefix('#')?;
    let (key, value) = body.split_once('=')?;
    let key = KEYS.into_iter().find(|name| key.trim().eq_ignore_ascii_case(name))?;
    let value = value.trim();
    if value.is_empty() {
        return None;
    }
    let end = line.start + line.text.trim_end().len();
    Some((key, Span::new(end - value.len(), end)))
}

/// Refuses front ends other than Docker's own, whose language this module reads.
fn check_syntax(line: &str, value: Span, diagnostics: &mut Vec<Diagnostic>) {
    let text = text_of(line, value);
    let reference = text.split(' ').next().unwrap_or(text);
    let name = reference.strip_prefix("docker.io/").unwrap_or(reference);
    if name.starts_with("docker/dockerfile") || reference == "dockerfile.v0" {
        return;
    }
    diagnostics.push(
        Diagnostic::error(
            "unsupported",
            Span::new(value.start, value.start + reference.len()),
            format!("front end `{reference}` is not supported"),
        )
        .with_help("remove the directive, or name `docker/dockerfile:1`: its language is built in"),
    );
}

#[cfg(test)]
mod tests {
    use super::super::lines::Lines;
    use super::*;

    fn read(source: &str) -> (char, Vec<(&'static str, &str)>) {
        let (mut lines, mut diagnostics) = (Lines::new(source), Vec::new());
        let mut directives = Directives::new();
        while let Some(line) = lines.physical(&mut diagnostics) {
            directives.line(line, &mut diagnostics);
        }
        let found = diagnostics.iter().map(|found| (found.code, &source[found.span.start..found.span.end]));
        (directives.escape, found.collect())
    }

    #[test]
    fn reads_the_first_lines_only() {
        for (source, escape, errors) in [
            ("# escape=`", '`', vec![]),
            ("#ESCAPE = `  ", '`', vec![]),
            ("\u{feff}# escape=`", '`', vec![]),
            ("# syntax=docker/dockerfile:1\r\n# escape=`\r\n", '`', vec![]),
            ("# check=skip=all\n# escape=`", '`', vec![]),
            ("# comment\n# escape=`", '\\', vec![]),
            ("# other=1\n# escape=`", '\\', vec![]),
            ("\n# escape=`", '\\', vec![]),
            ("#!/bin/x\n# escape=`", '\\', vec![]),
            ("# escape=x", '\\', vec![("invalid-escape", "x")]),
            ("# escape=``", '\\', vec![("invalid-escape", "``")]),
            ("# escape=`\n# escape=\\", '`', vec![("repeated-directive", "# escape=\\")]),
            ("# syntax=docker.io/docker/dockerfile-upstream:master x=y", '\\', vec![]),
            ("# syntax = evil/front:1 a", '\\', vec![("unsupported", "evil/front:1")]),
            ("#!/bin/x\n# syntax=evil/front:1", '\\', vec![("unsupported", "evil/front:1")]),
        ] {
            assert_eq!(read(source), (escape, errors), "{source:?}");
        }
    }
}
