//! ARG, ENV and LABEL.

use super::instruction::Reader;
use super::keyword::Keyword;
use super::{ArgDeclaration, KeyValue};
use crate::Diagnostic;
use crate::text::Slice;

/// Reads the declarations of ARG.
pub(super) fn arg(reader: &mut Reader<'_>, arguments: Slice<'_>) -> Option<Vec<ArgDeclaration>> {
    reader.required(Keyword::Arg, arguments)?;
    let mut declarations = Vec::new();
    for word in split(arguments, reader.escape) {
        let (name, default) = match word.as_str().find('=') {
            Some(at) => (word.part(0..at), Some(word.from(at + 1).word())),
            None => (word, None),
        };
        if name.is_empty() {
            blank_name(reader, Keyword::Arg, word);
        } else {
            declarations.push(ArgDeclaration { name: name.word(), default });
        }
    }
    Some(declarations)
}

/// Reads the pairs of ENV or LABEL: `key=value ...`, or the old `key rest of the line`.
pub(super) fn pairs(
    reader: &mut Reader<'_>,
    keyword: Keyword,
    arguments: Slice<'_>,
) -> Option<Vec<KeyValue>> {
    reader.required(keyword, arguments)?;
    let words = split(arguments, reader.escape);
    if words.first().is_some_and(|first| !first.as_str().contains('=')) {
        let (key, value) = arguments.split_first_blank();
        let Some(value) = value else {
            reader.error(
                Diagnostic::error(
                    "missing-value",
                    arguments.span(),
                    format!("`{keyword}` needs a key and a value"),
                )
                .with_help(format!("write `{keyword} <key>=<value>`")),
            );
            return None;
        };
        reader.lint(
            Diagnostic::warning(
                "LegacyKeyValueFormat",
                arguments.span(),
                format!("`{keyword}` has the old form with a blank between key and value"),
            )
            .with_help(format!("write `{keyword} {}=<value>`", key.as_str())),
        );
        return Some(vec![KeyValue { key: key.word(), value: value.word() }]);
    }
    let mut pairs = Vec::new();
    for word in words {
        match word.as_str().find('=') {
            Some(0) => blank_name(reader, keyword, word),
            Some(at) => {
                pairs.push(KeyValue { key: word.part(0..at).word(), value: word.from(at + 1).word() });
            }
            None => reader.error(
                Diagnostic::error(
                    "missing-equals",
                    word.span(),
                    format!("`{}` has no `=`: not of the form `key=value`", word.as_str()),
                )
                .with_help("put quotes around a value that has blanks in it"),
            ),
        }
    }
    Some(pairs)
}

fn blank_name(reader: &mut Reader<'_>, keyword: Keyword, word: Slice<'_>) {
    reader.error(Diagnostic::error("blank-name", word.span(), format!("name in `{keyword}` is empty")));
}

/// Splits at blanks that are neither quoted nor escaped; quotes and escapes stay, but for an escape at the very end.
fn split(arguments: Slice<'_>, escape: char) -> Vec<Slice<'_>> {
    let string = arguments.as_str();
    let mut words = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut end = string.len();
    let mut chars = string.char_indices();
    while let Some((at, ch)) = chars.next() {
        if quote.is_none() && ch.is_whitespace() {
            if let Some(start) = start.take() {
                words.push(arguments.part(start..at));
            }
            continue;
        }
        start.get_or_insert(at);
        if ch == escape && quote != Some('\'') {
            if chars.next().is_none() {
                end = at;
            }
        } else if quote == Some(ch) {
            quote = None;
        } else if quote.is_none() && (ch == '\'' || ch == '"') {
            quote = Some(ch);
        }
    }
    if let Some(start) = start.filter(|&start| start < end) {
        words.push(arguments.part(start..end));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Text;

    #[test]
    fn splits_at_bare_blanks() {
        for (source, expected) in [
            ("a=b c=d", vec!["a=b", "c=d"]),
            (r#"a="b c" d='e f'"#, vec![r#"a="b c""#, "d='e f'"]),
            (r"a=b\ c d=e", vec![r"a=b\ c", "d=e"]),
            (r#"a="b\" c" d"#, vec![r#"a="b\" c""#, "d"]),
            (r"a='b\' c", vec![r"a='b\'", "c"]),
            (r"a=b\", vec!["a=b"]),
            (r"a=b \", vec!["a=b"]),
            (r#"a="b c"#, vec![r#"a="b c"#]),
            ("a\u{a0}b", vec!["a", "b"]),
            (r#"a=b""c"#, vec![r#"a=b""c"#]),
        ] {
            let mut text = Text::new(0);
            text.push_str(source, 0);
            let words: Vec<_> = split(text.all(), '\\').into_iter().map(Slice::as_str).collect();
            assert_eq!(words, expected, "{source}");
        }
    }
}
