//! One record of comma-separated values, as in `--mount`.
//!
//! Spec: RFC 4180, without line breaks.

use crate::text::{Slice, Text};

/// Splits a record into its fields; `None` if a quote stands where none may.
pub(super) fn fields(record: Slice<'_>) -> Option<Vec<Text>> {
    let mut fields = Vec::new();
    let mut rest = record;
    loop {
        let (field, end) = match rest.as_str().strip_prefix('"') {
            Some(_) => quoted(rest)?,
            None => bare(rest)?,
        };
        fields.push(field);
        match rest.as_str().as_bytes().get(end) {
            None => return Some(fields),
            Some(b',') => rest = rest.from(end + 1),
            Some(_) => return None,
        }
    }
}

fn bare(rest: Slice<'_>) -> Option<(Text, usize)> {
    let end = rest.as_str().find(',').unwrap_or(rest.as_str().len());
    let field = rest.part(0..end);
    (!field.as_str().contains('"')).then(|| (field.to_text(), end))
}

/// Reads a quoted field, in which a doubled quote stands for one.
fn quoted(rest: Slice<'_>) -> Option<(Text, usize)> {
    let string = rest.as_str();
    let mut field = Text::new(rest.from(1).span().start);
    let mut chars = string.char_indices().skip(1).peekable();
    while let Some((at, ch)) = chars.next() {
        if ch == '"' && chars.next_if(|&(_, next)| next == '"').is_none() {
            return Some((field, at + 1));
        }
        field.push(ch, rest.part(at..at + ch.len_utf8()).span().start);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_as_the_standard_says() {
        for (record, expected) in [
            ("a,b=c", Some(vec!["a", "b=c"])),
            ("", Some(vec![""])),
            (",a,", Some(vec!["", "a", ""])),
            ("\"a,b\",c", Some(vec!["a,b", "c"])),
            ("\"a\"\"b\"", Some(vec!["a\"b"])),
            ("\"\u{e9}\",\"\"", Some(vec!["\u{e9}", ""])),
            ("a\"b", None),
            ("\"a", None),
            ("\"a\"b", None),
            (" \"a\"", None),
        ] {
            let mut text = Text::new(0);
            text.push_str(record, 0);
            let fields = fields(text.all());
            let found: Option<Vec<_>> =
                fields.as_ref().map(|fields| fields.iter().map(|field| field.all().as_str()).collect());
            assert_eq!(found, expected, "{record}");
        }
    }
}
