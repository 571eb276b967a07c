//! ONBUILD.

use super::instruction::{self, Place, Reader};
use super::keyword::Keyword;
use super::parts::Parts;
use crate::text::Slice;
use crate::{Diagnostic, Severity, Spanned};

/// Whether an instruction can stand behind ONBUILD.
pub(super) fn may_be_trigger(keyword: Keyword) -> bool {
    !matches!(keyword, Keyword::From | Keyword::Maintainer | Keyword::Onbuild)
}

/// Reads the trigger and returns its text with the bodies of its heredocs.
///
/// BuildKit stores a trigger without reading it whole. What it would find only when the trigger is run is a warning.
pub(super) fn read(reader: &mut Reader<'_>, arguments: Slice<'_>) -> Option<Spanned<String>> {
    reader.required(Keyword::Onbuild, arguments)?;
    let parts = Parts::new(arguments);
    let mut found = Vec::new();
    match parts.keyword() {
        Ok(keyword) => {
            instruction::interpret(
                &parts,
                keyword,
                reader.escape,
                Place::Trigger,
                reader.heredocs,
                &mut found,
            );
        }
        Err(diagnostic) => found.push(diagnostic),
    }
    let before = reader.diagnostics.len();
    reader.diagnostics.extend(found.into_iter().map(soften));
    let failed = reader.diagnostics[before..].iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    if failed {
        return None;
    }
    // BuildKit stores the line as it stands behind the keyword, blanks at its end included.
    let line = reader.line.trim_start();
    let start = line.as_str().len() - line.from(Keyword::Onbuild.name().len()).trim_start().as_str().len();
    let mut text = line.from(start).as_str().to_owned();
    for heredoc in reader.heredocs {
        text.extend(["\n", &heredoc.content.raw, &heredoc.name]);
    }
    Some(Spanned::new(text, arguments.span()))
}

/// Makes a warning of what does not keep BuildKit from storing the trigger.
pub(crate) fn soften(diagnostic: Diagnostic) -> Diagnostic {
    let stays =
        matches!(diagnostic.code, "invalid-trigger" | "json-not-string" | "missing-equals" | "missing-value");
    if stays || diagnostic.severity == Severity::Warning {
        return diagnostic;
    }
    let message = format!("this trigger will fail: {}", diagnostic.message);
    Diagnostic { severity: Severity::Warning, message, ..diagnostic }
}
