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
    let mut rendered = String::new();
    for diagnostic in diagnostics {
        if !rendered.is_empty() {
            rendered.push('\n');
        }
        rendered.push_str(&renderer.render(&[group(diagnostic, source_name, text)]));
        rendered.push('\n');
    }
    rendered
}

fn group<'a>(diagnostic: &'a Diagnostic, source_name: &'a str, text: &'a str) -> Group<'a> {
    let level = match diagnostic.severity {
        Severity::Warning => Level::WARNING,
        Severity::Error => Level::ERROR,
    };
    let primary = AnnotationKind::Primary.span(range(diagnostic.span, text));
    let related = diagnostic
        .related
        .iter()
        .map(|(span, what)| AnnotationKind::Context.span(range(*span, text)).label(what));
    let snippet = Snippet::source(text).path(source_name).annotation(primary).annotations(related);
    let mut group = level.primary_title(&diagnostic.message).id(diagnostic.code).element(snippet);
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help));
    }
    group
}

fn range(span: Span, text: &str) -> std::ops::Range<usize> {
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let end = text.ceil_char_boundary(span.end.min(text.len()));
    start..end.max(start)
}
