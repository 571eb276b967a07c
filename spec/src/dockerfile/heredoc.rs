//! Heredocs: found where BuildKit finds them, refused, and their bodies skipped.

use super::keyword::Keyword;
use crate::text::Slice;
use crate::word::{raw_words, unquoted_words};
use crate::{Diagnostic, Span};

/// A heredoc's redirection, `<<NAME`.
#[derive(Debug)]
pub(super) struct Heredoc {
    /// The line that ends the body.
    pub(super) terminator: String,
    /// Whether leading tabs of the terminator's line do not count (`<<-`).
    pub(super) strips_tabs: bool,
    /// The redirection's bytes.
    pub(super) span: Span,
}

/// Finds the heredocs of an instruction that can have them.
///
/// A heredoc is a whole word: digits, `<<`, perhaps `-`, and a name without `<`, quoted or not.
pub(super) fn find(line: Slice<'_>) -> Vec<Heredoc> {
    if !line.as_str().contains("<<") {
        return Vec::new();
    }
    let words = raw_words(line.as_str()).unwrap_or_default();
    let found = words.into_iter().filter_map(|word| {
        let (terminator, strips_tabs) = redirection(&word.text)?;
        Some(Heredoc { terminator, strips_tabs, span: line.part(word.at).span() })
    });
    found.collect()
}

fn redirection(word: &str) -> Option<(String, bool)> {
    let rest = word.trim_start_matches(|ch: char| ch.is_ascii_digit()).strip_prefix("<<")?;
    let (name, strips_tabs) = match rest.strip_prefix('-') {
        Some(name) => (name, true),
        None => (rest, false),
    };
    if name.contains('<') {
        return None;
    }
    let mut words = unquoted_words(name)?.into_iter();
    match (words.next(), words.next()) {
        (Some(word), None) => Some((word.text, strips_tabs)),
        _ => None,
    }
}

/// Says that a heredoc is not supported, and what to write instead.
pub(super) fn unsupported(keyword: Keyword, heredoc: &Heredoc) -> Diagnostic {
    let help = if keyword == Keyword::Run {
        "join the commands with `&&` and continuations, or COPY a script and run it"
    } else {
        "put the content into a file of the build context and copy that"
    };
    Diagnostic::error("unsupported", heredoc.span, format!("heredoc of `{keyword}` is not supported"))
        .with_help(help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Text;

    #[test]
    fn finds_whole_words_only() {
        for (line, expected) in [
            ("RUN <<EOF", vec![("EOF", false, "<<EOF")]),
            ("RUN cat <<-'E F' 3<<B", vec![("E F", true, "<<-'E F'"), ("B", false, "3<<B")]),
            ("COPY <<\"A\" <<B /x", vec![("A", false, "<<\"A\""), ("B", false, "<<B")]),
            ("RUN <<EOF cat", vec![("EOF", false, "<<EOF")]),
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
                .map(|found| (&*found.terminator, found.strips_tabs, &line[found.span.start..found.span.end]))
                .collect();
            assert_eq!(found, expected, "{line}");
        }
    }
}
