//! Source text to syntax: Dockerfiles, kairn.toml, `.dockerignore` and the diagnostics that point into them.
//!
//! In: the text of a file; for a kairn.toml also the values of its variables and a way to the files that it includes. Out: a syntax tree whose every node carries the byte span it was read from, and
//! every diagnostic of the file at once. Absent: images, graphs, the machine, the environment, any I/O.
//!
//! Reading order: [`span`], [`diagnostic`], [`dockerfile`] (the tree and [`dockerfile::parse`]), [`word`] (expansion of
//! variables and quotes in a [`dockerfile::Word`]), [`checks`] (the rules of style), [`remote`] (sources of ADD),
//! [`ignore`] (`.dockerignore`), [`glob`] (wildcards of COPY), [`workspace`] (kairn.toml).

pub mod checks;
pub mod diagnostic;
pub mod dockerfile;
pub mod glob;
pub mod ignore;
pub mod remote;
pub mod span;
pub mod suggest;
mod text;
pub mod word;
pub mod workspace;

pub use diagnostic::{Diagnostic, Severity};
pub use span::{FileId, Span, Spanned};
