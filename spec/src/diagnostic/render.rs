//! Diagnostics as text, in the look of rustc.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::{Diagnostic, Severity};
use crate::Span;

/// Whether the text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// Text only.
    Plain,
    /// Text with ANSI escapes.
    Ansi,
}

/// Writes diagnostics out with the source lines they point at; a newline ends each, a blank line parts them.
///
/// Spans outside the text, or off its character boundaries, are moved to the nearest byte inside.
pub fn render(diagnostics: &[Diagnostic], source_name: &str, text: &str, color: Color) -> String {
    let renderer = match color {
        Color::Plain => Renderer::plain(),
        Color::Ansi => Renderer::styled(),
    };
    let source = Source::new(source_name, text);
    let mut rendered = String::new();
    for diagnostic in diagnostics {
        if !rendered.is_empty() {
            rendered.push('\n');
        }
        rendered.push_str(&renderer.render(&[source.group(diagnostic)]));
        rendered.push('\n');
    }
    rendered
}

struct Source<'a> {
    name: &'a str,
    text: &'a str,
    /// Offsets of the lines' first bytes, without the byte-order mark.
    lines: Vec<usize>,
}

impl<'a> Source<'a> {
    fn new(name: &'a str, text: &'a str) -> Self {
        let first = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let lines = std::iter::once(first).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { name, text, lines }
    }

    fn group(&self, diagnostic: &'a Diagnostic) -> Group<'a> {
        let level = match diagnostic.severity {
            Severity::Warning => Level::WARNING,
            Severity::Error => Level::ERROR,
        };
        // Only the lines concerned are handed over: a file may have thousands, and as many mistakes.
        let span = diagnostic.related.iter().fold(diagnostic.span, |all, (span, _)| all.to(*span));
        let line = self.lines.partition_point(|&start| start <= span.start).saturating_sub(1);
        let after = self.lines.partition_point(|&start| start <= span.end);
        let start = self.lines[line];
        let end = self.lines.get(after).copied().unwrap_or(self.text.len());
        let lines = &self.text[start..end];
        let range = |span: Span| {
            let from = lines.floor_char_boundary(span.start.saturating_sub(start));
            let to = lines.ceil_char_boundary(span.end.saturating_sub(start).min(lines.len()));
            from..to.max(from)
        };
        let primary = AnnotationKind::Primary.span(range(diagnostic.span));
        let related = diagnostic
            .related
            .iter()
            .map(|(span, what)| AnnotationKind::Context.span(range(*span)).label(what));
        let snippet = Snippet::source(lines)
            .line_start(line + 1)
            .path(self.name)
            .annotation(primary)
            .annotations(related);
        let group = level.primary_title(&diagnostic.message).id(diagnostic.code).element(snippet);
        match &diagnostic.help {
            Some(help) => group.element(Level::HELP.message(help)),
            None => group,
        }
    }
}
