//! Syntax to graph: names resolved, bases pinned, variables expanded, only what the target reaches.
//!
//! In: a parsed Dockerfile, the options of the build, an [`ImageSource`] to ask for the configs of bases. Out: a
//! [`Graph`] of steps, the configs of the images to make, and a table from each step to the user's line. Absent:
//! effects other than asking the source; names, spans and labels in any digest.
//!
//! Reading order: [`graph`] (the closed set of ops), [`mod@mode`], [`key`], [`mod@compile`], [`render`].

mod check;
pub mod compile;
mod environment;
pub mod graph;
pub mod key;
pub mod mode;
pub mod render;

/// Patterns of `--exclude` and of wildcards, for those who carry out a [`graph::CopyOp`].
pub use kairn_spec::{glob, ignore};

pub use compile::{
    CompileError, CompileOptions, Compiled, ImageSource, PlatformChoice, ResolvedImage, compile,
};
pub use environment::Environment;
pub use graph::{Graph, Op, Step, StepId};
pub use key::{KeyParts, StepKey};
