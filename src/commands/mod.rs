//! One file for each command.

pub mod build;
pub mod graph;
