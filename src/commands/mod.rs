//! One file for each command.

pub mod build;
pub mod check;
pub mod graph;
