//! Diagnostics: what is wrong in the user's file, where, and what to do about it.

mod render;

pub use render::{Color, render};

use crate::{FileId, Span};

/// How bad a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The build goes on.
    Warning,
    /// Nothing is built.
    Error,
}

/// One thing that is wrong in a source file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable name of the kind of mistake, in kebab case (`unknown-instruction`).
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Lowercase fragment, names in backticks, no final stop.
    pub message: String,
    /// The file that is wrong.
    pub file: FileId,
    /// The bytes that are wrong.
    pub span: Span,
    /// Other places of the file that matter, each with what it is.
    pub related: Vec<(Span, String)>,
    /// What to do, where something can be done.
    pub help: Option<String>,
}

impl Diagnostic {
    /// Makes an error without related places or help.
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            file: FileId::default(),
            span,
            related: Vec::new(),
            help: None,
        }
    }

    /// Makes a warning without related places or help.
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    /// Says which file it is about.
    #[must_use]
    pub fn in_file(mut self, file: FileId) -> Self {
        self.file = file;
        self
    }

    /// Adds the help line.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds a related place.
    #[must_use]
    pub fn with_related(mut self, span: Span, what: impl Into<String>) -> Self {
        self.related.push((span, what.into()));
        self
    }
}
