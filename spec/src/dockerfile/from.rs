//! FROM.

use super::Word;
use super::flags::Flags;
use super::instruction::Reader;
use crate::text::Slice;
use crate::{Diagnostic, Span, Spanned};

/// A FROM instruction.
#[derive(Debug)]
pub(super) struct From {
    pub(super) span: Span,
    pub(super) platform: Option<Word>,
    pub(super) base: Word,
    pub(super) name: Option<Spanned<String>>,
}

/// Reads the arguments of FROM.
pub(super) fn read(
    reader: &mut Reader<'_>,
    mut flags: Flags,
    arguments: Slice<'_>,
    span: Span,
) -> Option<From> {
    let words = arguments.split_blanks();
    let (base, name) = match words[..] {
        [base] => (base, None),
        [base, keyword, name] if keyword.as_str().eq_ignore_ascii_case("as") => (base, Some(name)),
        [] => {
            reader.error(
                Diagnostic::error("missing-argument", reader.span, "`FROM` needs an image or a stage")
                    .with_help("write `FROM scratch` to begin with an empty file system"),
            );
            return None;
        }
        [_, ..] => {
            let extra = words[1].span().to(words[words.len() - 1].span());
            reader.error(
                Diagnostic::error("invalid-from", extra, "`FROM` takes one argument, or three with `AS`")
                    .with_help("write `FROM <image> AS <name>`"),
            );
            return None;
        }
    };
    let name = match name {
        Some(name) => Some(stage_name(reader, name)?),
        None => None,
    };
    if name.is_some() {
        as_casing(reader, words[1]);
    }
    Some(From { span, platform: flags.word("platform"), base: base.word(), name })
}

/// Warns of an AS in another letter case than FROM; one in mixed case is another rule's.
fn as_casing(reader: &mut Reader<'_>, written: Slice<'_>) {
    let (from, given) = (reader.written, written.as_str());
    let expected = if from == from.to_lowercase() {
        "as"
    } else if from == from.to_uppercase() {
        "AS"
    } else {
        return;
    };
    if given != expected {
        reader.lint(
            Diagnostic::warning(
                "FromAsCasing",
                written.span(),
                format!("`{given}` has another letter case than `{from}`"),
            )
            .with_help(format!("write `{expected}`")),
        );
    }
}

/// Checks a stage's name and puts it into lower case.
fn stage_name(reader: &mut Reader<'_>, written: Slice<'_>) -> Option<Spanned<String>> {
    let name = written.as_str().to_lowercase();
    if let Some(error) = wrong_stage_name(written.as_str(), written.span()) {
        reader.error(error);
        return None;
    }
    if name != written.as_str() {
        reader.lint(
            Diagnostic::warning(
                "StageNameCasing",
                written.span(),
                format!("stage name `{}` is not in lower case", written.as_str()),
            )
            .with_help(format!("write `{name}`")),
        );
    }
    Some(Spanned::new(name, written.span()))
}

/// Says what is wrong with a stage's name.
pub(crate) fn wrong_stage_name(written: &str, span: Span) -> Option<Diagnostic> {
    let lower = written.to_lowercase();
    let mut chars = lower.chars();
    let is_valid = chars.next().is_some_and(|first| first.is_ascii_lowercase())
        && chars.all(|ch| ch.is_ascii_lowercase() || ch.is_ascii_digit() || matches!(ch, '-' | '_' | '.'));
    (!is_valid).then(|| {
        Diagnostic::error("invalid-stage-name", span, format!("invalid stage name `{written}`"))
            .with_help("a name begins with a letter; letters, digits, `-`, `_` and `.` follow")
    })
}
