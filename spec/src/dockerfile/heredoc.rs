//! Heredocs: where BuildKit finds them, and what is in them.

use super::Word;
use super::json;
use super::keyword::Keyword;
use super::lines::Lines;
use crate::text::{Slice, Text};
use crate::word::{Expansion, quoted_words, raw_words, unquoted_words};
use crate::{Diagnostic, Span};

/// A heredoc of RUN, COPY or ADD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The name behind `<<`, quotes removed; for COPY and ADD the file's name.
    pub name: String,
    /// The `<<NAME` word.
    pub span: Span,
    /// The lines between, as written: each with its newline, tabs not yet stripped.
    pub content: Word,
    /// Whether variables are expanded in COPY and ADD: the name was not quoted.
    pub expands: bool,
    /// Whether leading tabs go (`<<-`).
    pub strips_tabs: bool,
}

impl Heredoc {
    /// Returns the content, for `<<-` without the tabs that begin its lines.
    pub fn chomped(&self) -> Word {
        if !self.strips_tabs {
            return self.content.clone();
        }
        let mut text = Text::new(self.content.span.start);
        let mut at = 0;
        for line in self.content.raw.split_inclusive('\n') {
            let stripped = line.trim_start_matches('\t');
            let start = at + line.len() - stripped.len();
            text.push_str(stripped, self.content.span_of(start..start).start);
            at += line.len();
        }
        text.all().word()
    }

    /// Returns what COPY and ADD write: the chomped content, its variables replaced unless the name is quoted.
    ///
    /// Quotes stay as they are; `\` escapes, whatever the file's escape character.
    ///
    /// # Errors
    /// As [`Word::expand`].
    pub fn expand(&self, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Expansion, Diagnostic> {
        let content = self.chomped();
        if self.expands {
            return content.expand_text(lookup);
        }
        Ok(Expansion { value: content.raw, undefined: Vec::new() })
    }
}

/// What a word `<<NAME` says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Redirection {
    name: String,
    expands: bool,
    strips_tabs: bool,
}

impl Redirection {
    /// Reads a word: digits, `<<`, perhaps `-`, and a name without `<`, quoted or not.
    pub(super) fn parse(word: &str) -> Option<Self> {
        let rest = word.trim_start_matches(|ch: char| ch.is_ascii_digit()).strip_prefix("<<")?;
        let (name, strips_tabs) = match rest.strip_prefix('-') {
            Some(name) => (name, true),
            None => (rest, false),
        };
        if name.contains('<') {
            return None;
        }
        let (unquoted, quoted) = (unquoted_words(name)?, quoted_words(name)?);
        let ([unquoted], [quoted]) = (&unquoted[..], &quoted[..]) else { return None };
        let quotes = |text: &str| text.matches(['\'', '"']).count();
        let expands = quotes(&unquoted.text) == quotes(&quoted.text);
        Some(Self { name: unquoted.text.clone(), expands, strips_tabs })
    }

    fn with(self, span: Span, content: Word) -> Heredoc {
        let Self { name, expands, strips_tabs } = self;
        Heredoc { name, span, content, expands, strips_tabs }
    }
}

/// Whether an instruction with these arguments can have heredocs; ONBUILD can if its trigger can.
pub(super) fn may_follow(keyword: Keyword, arguments: Slice<'_>) -> bool {
    if keyword == Keyword::Onbuild {
        let (name, rest) = arguments.split_first_blank();
        let inner = Keyword::find(name.as_str()).zip(rest.map(|rest| super::flags::take(rest).1));
        return inner.is_some_and(|(inner, rest)| inner != Keyword::Onbuild && may_follow(inner, rest));
    }
    matches!(keyword, Keyword::Add | Keyword::Copy | Keyword::Run)
        && !matches!(json::array(arguments), Some(Ok(_)))
}

/// Finds the heredocs of a line and reads their bodies from the lines behind it.
pub(super) fn read(
    line: Slice<'_>,
    lines: &mut Lines<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Heredoc> {
    let mut heredocs = Vec::new();
    for (redirection, span) in find(line) {
        let Some((body, at)) = lines.heredoc_body(&redirection.name, redirection.strips_tabs, diagnostics)
        else {
            diagnostics.push(
                Diagnostic::error("unterminated-heredoc", span, "heredoc is never ended")
                    .with_help(format!("end it with a line that is `{}`", redirection.name)),
            );
            break;
        };
        heredocs.push(redirection.with(span, Word::new(body, at)));
    }
    heredocs
}

fn find(line: Slice<'_>) -> Vec<(Redirection, Span)> {
    if !line.as_str().contains("<<") {
        return Vec::new();
    }
    let words = raw_words(line.as_str()).unwrap_or_default();
    let found = words
        .into_iter()
        .filter_map(|word| Some((Redirection::parse(&word.text)?, line.part(word.at).span())));
    found.collect()
}

/// Makes the heredoc that a source word of COPY or ADD stands for; `None` for a path.
///
/// Of several bodies with one name the last counts; in the JSON form, which has no bodies, the file is empty.
pub(super) fn source(word: &Word, heredocs: &[Heredoc]) -> Option<Heredoc> {
    let redirection = Redirection::parse(&word.raw)?;
    let body = heredocs.iter().rev().find(|heredoc| heredoc.name == redirection.name);
    let content = body.map_or_else(
        || Word::new("", Span::new(word.span.end, word.span.end)),
        |heredoc| heredoc.content.clone(),
    );
    Some(redirection.with(word.span, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_whole_words_only() {
        for (line, expected) in [
            ("RUN <<EOF", vec![("EOF", true, false, "<<EOF")]),
            ("RUN cat <<-'E F' 3<<B", vec![("E F", false, true, "<<-'E F'"), ("B", true, false, "3<<B")]),
            ("COPY <<\"A\" <<B /x", vec![("A", false, false, "<<\"A\""), ("B", true, false, "<<B")]),
            ("RUN <<E\"\"OF", vec![("EOF", false, false, "<<E\"\"OF")]),
            ("RUN <<\\EOF", vec![("EOF", true, false, "<<\\EOF")]),
            ("RUN <<\"E'F\"", vec![("E'F", false, false, "<<\"E'F\"")]),
            ("RUN <<EOF cat", vec![("EOF", true, false, "<<EOF")]),
            ("RUN <<$x", vec![("$x", true, false, "<<$x")]),
            ("RUN echo '<<EOF'", vec![]),
            ("RUN echo \"<<EOF\" \\<<EOF", vec![]),
            ("RUN cat<<EOF", vec![]),
            ("RUN cat << EOF", vec![]),
            ("RUN cat <<<EOF", vec![]),
            ("RUN cat <<-", vec![]),
            ("RUN echo $((1<<2))", vec![]),
            ("RUN echo 'open <<EOF", vec![]),
        ] {
            let mut text = Text::new(0);
            text.push_str(line, 0);
            let found = find(text.all());
            let found: Vec<_> = found
                .iter()
                .map(|(found, span)| {
                    (&*found.name, found.expands, found.strips_tabs, &line[span.start..span.end])
                })
                .collect();
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn tabs_go_and_places_stay() {
        let source = "\t\ta\n \tb\n\t\n\t$c";
        let redirection = Redirection::parse("<<-E").expect("a heredoc");
        let heredoc = redirection.with(Span::default(), Word::new(source, Span::new(0, source.len())));
        let chomped = heredoc.chomped();
        assert_eq!(chomped.raw, "a\n \tb\n\n$c");
        let at = chomped.raw.find("$c").expect("a variable");
        let place = chomped.span_of(at..at + 2);
        assert_eq!(&source[place.start..place.end], "$c");
    }

    #[test]
    fn bodies_are_expanded_with_quotes_left() {
        for (word, body, expected) in [
            ("<<E", "'$x' \"${x}\" \\$x \\\\ \\n `$x`\n", "'1' \"1\" $x \\ n `1`\n"),
            ("<<E", "it's ${y:-\"z\"}", "it's \"z\""),
            ("<<'E'", "'$x' \\$x", "'$x' \\$x"),
            ("<<-\"E\"", "\t$x", "$x"),
        ] {
            let heredoc = Redirection::parse(word)
                .expect("a heredoc")
                .with(Span::default(), Word::new(body, Span::new(0, body.len())));
            let lookup = |name: &str| (name == "x").then(|| "1".to_owned());
            assert_eq!(heredoc.expand(&lookup).expect("a body").value, expected, "{word} {body:?}");
        }
    }
}
