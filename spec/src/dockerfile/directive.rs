//! Parser directives: `# key=value` in the first lines.

use super::CheckDirective;
use super::lines::Line;
use crate::{Diagnostic, Span, Spanned};

/// Reads directives until the first line that is none.
#[derive(Debug)]
pub(super) struct Directives {
    /// The escape character in force.
    pub(super) escape: char,
    /// The front end that is named, if it is ours.
    pub(super) syntax: Option<Spanned<String>>,
    /// What is checked.
    pub(super) check: Option<CheckDirective>,
    state: State,
    seen: Vec<(&'static str, Span)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    First,
    Open,
    /// After a `#!` line, which ends the block for `escape`; the others are still looked for.
    AfterShebang,
    Closed,
}

const KEYS: [&str; 3] = ["syntax", "escape", "check"];

impl Directives {
    pub(super) fn new() -> Self {
        Self { escape: '\\', syntax: None, check: None, state: State::First, seen: Vec::new() }
    }

    /// Looks at the next line of the file; true if it is a directive.
    pub(super) fn line(&mut self, line: Line<'_>, diagnostics: &mut Vec<Diagnostic>) -> bool {
        if self.state == State::Closed {
            return false;
        }
        if self.state == State::First && line.text.starts_with("#!") {
            self.state = State::AfterShebang;
            return false;
        }
        let Some((key, value)) = split(line) else {
            self.state = State::Closed;
            return false;
        };
        if self.state == State::First {
            self.state = State::Open;
        }
        let is_open = self.state == State::Open;
        if let Some(&(_, first)) = self.seen.iter().find(|(seen, _)| *seen == key) {
            if is_open {
                diagnostics.push(
                    Diagnostic::error(
                        "repeated-directive",
                        line.span(),
                        format!("parser directive `{key}` is given twice"),
                    )
                    .with_related(first, "first given here"),
                );
            }
            return is_open;
        }
        self.seen.push((key, line.span()));
        let text = text_of(line.text, value);
        // An indented line is a directive, but only `escape` is looked for there.
        let is_indented = !line.text.starts_with('#');
        match key {
            "escape" if is_open => self.set_escape(text, value, diagnostics),
            "syntax" if !is_indented => self.set_syntax(text, value, diagnostics),
            "check" if !is_indented => self.set_check(text, value, diagnostics),
            _ => {}
        }
        is_open
    }

    fn set_check(&mut self, text: &str, value: Span, diagnostics: &mut Vec<Diagnostic>) {
        let text = text.split(' ').next().unwrap_or(text);
        let span = Span::new(value.start, value.start + text.len());
        match CheckDirective::parse(text, span) {
            Ok(check) => {
                diagnostics.extend(check.unknown_names());
                self.check = Some(check);
            }
            Err(message) => diagnostics.push(
                Diagnostic::error("invalid-check", span, message)
                    .with_help("write `# check=skip=<rule>,<rule>;error=true`"),
            ),
        }
    }

    /// Refuses front ends other than Docker's own, whose language this module reads.
    fn set_syntax(&mut self, text: &str, value: Span, diagnostics: &mut Vec<Diagnostic>) {
        let reference = text.split(' ').next().unwrap_or(text);
        let span = Span::new(value.start, value.start + reference.len());
        if is_built_in(reference) {
            self.syntax = Some(Spanned::new(reference.to_owned(), span));
            return;
        }
        diagnostics.push(
            Diagnostic::error("unsupported", span, format!("front end `{reference}` is not supported"))
                .with_help("remove the directive, or name `docker/dockerfile:1`: its language is built in"),
        );
    }

    fn set_escape(&mut self, text: &str, value: Span, diagnostics: &mut Vec<Diagnostic>) {
        match text {
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

/// Whether a front end's image reads the language of this module.
fn is_built_in(reference: &str) -> bool {
    if reference == "dockerfile.v0" {
        return true;
    }
    let name = reference.split_once('@').map_or(reference, |(name, _)| name);
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    let repository = name.split_once(':').map_or(name, |(repository, _)| repository);
    matches!(repository, "docker/dockerfile" | "docker/dockerfile-upstream")
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
            ("#!/bin/x\n# check=skip=all\n# check=skip=all", '\\', vec![]),
            ("  # syntax=evil/front:1\n  # escape=`", '`', vec![]),
            ("# syntax=docker/dockerfile@sha256:0", '\\', vec![]),
            ("# syntax=dockerfile.v0", '\\', vec![]),
            ("# syntax=docker/dockerfile-x:1", '\\', vec![("unsupported", "docker/dockerfile-x:1")]),
            ("# check=skp=all // why", '\\', vec![("invalid-check", "skp=all")]),
            (
                "# check=skip=stagenamecasing,NoSuch",
                '\\',
                vec![("unknown-check", "skip=stagenamecasing,NoSuch")],
            ),
        ] {
            assert_eq!(read(source), (escape, errors), "{source:?}");
        }
    }
}
