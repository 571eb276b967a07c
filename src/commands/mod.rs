//! One file for each command.

pub mod build;
pub mod check;
pub mod doctor;
pub mod graph;
