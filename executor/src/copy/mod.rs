//! COPY and ADD: which files, where to, with which attributes; straight to a layer, with no root file system.
//!
//! Differs from BuildKit in nothing that it does to files; the rules are in [`select`] (what the sources name) and
//! [`plan`] (what becomes of them at the destination).

pub mod plan;
pub mod select;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::tree::StackedTree;

/// Files to copy from: names, and where their contents are.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The names.
    pub tree: StackedTree,
    /// A handle to the directory that holds the contents of each layer of `tree`.
    pub roots: Vec<Arc<OwnedFd>>,
}
