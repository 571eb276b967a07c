//! A logical line cut into keyword, flags and arguments.

use super::flags::{self, RawFlag};
use super::keyword::{Keyword, nearest};
use crate::text::Slice;
use crate::{Diagnostic, Span};

/// A logical line cut into its parts.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    /// All of it, blanks at its ends included.
    pub(super) whole: Slice<'a>,
    pub(super) name: Slice<'a>,
    pub(super) flags: Vec<RawFlag>,
    pub(super) arguments: Slice<'a>,
}

impl<'a> Parts<'a> {
    pub(super) fn new(whole: Slice<'a>) -> Self {
        let line = whole.trim();
        let (name, rest) = line.split_first_blank();
        let (flags, arguments) = flags::take(rest.unwrap_or_else(|| line.from(line.as_str().len())));
        Self { whole, name, flags, arguments }
    }

    /// Finds the keyword.
    pub(super) fn keyword(&self) -> Result<Keyword, Diagnostic> {
        Keyword::find(self.name.as_str()).ok_or_else(|| unknown(self.name))
    }

    /// Returns the keyword's bytes.
    pub(super) fn at(&self) -> Span {
        self.name.span()
    }
}

fn unknown(name: Slice<'_>) -> Diagnostic {
    if name.is_empty() {
        return Diagnostic::error("unknown-instruction", name.span(), "continuation of no instruction");
    }
    let diagnostic = Diagnostic::error(
        "unknown-instruction",
        name.span(),
        format!("unknown instruction `{}`", name.as_str()),
    );
    match nearest(name.as_str(), Keyword::NAMES.iter().copied()) {
        Some(near) => diagnostic.with_help(format!("did you mean `{near}`?")),
        None => diagnostic,
    }
}
