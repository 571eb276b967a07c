//! Source text to syntax: Dockerfiles, `.dockerignore` and the diagnostics that point into them.
//!
//! In: the text of a file. Out: a syntax tree whose every node carries the byte span it was read from, and
//! every diagnostic of the file at once. Absent: images, graphs, the machine, the environment, any I/O.
//!
//! Reading order: [`span`], [`diagnostic`], [`dockerfile`] (the tree and `parse`), [`word`] (words and variable
//! expansion), [`ignore`] (`.dockerignore`).

pub mod diagnostic;
pub mod dockerfile;
pub mod span;

pub use diagnostic::{Diagnostic, Severity};
pub use span::{Span, Spanned};
