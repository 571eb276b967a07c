//! Syntax to graph: names resolved, bases pinned, variables expanded, only what the target reaches.
//!
//! In: a parsed Dockerfile, the options of the build, an [`ImageSource`] to ask for the configs of bases. Out: a
//! [`Graph`] of steps, the configs of the images to make, and a table from each step to the user's line. Absent:
//! effects other than asking the source; names, spans and labels in any digest.
//!
//! Reading order: [`graph`] (the closed set of ops), [`key`], [`mod@compile`], [`render`].

pub mod compile;
pub mod graph;
pub mod key;
pub mod render;

pub use compile::{
    CompileError, CompileOptions, Compiled, ImageSource, PlatformChoice, ResolvedImage, compile,
};
pub use graph::{Graph, Op, Step, StepId};
pub use key::{KeyParts, StepKey};
