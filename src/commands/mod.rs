//! One file for each command.

pub mod affected;
pub mod build;
pub mod cache;
pub mod check;
pub mod convert;
pub mod doctor;
pub mod explain;
pub mod graph;
pub mod lock;
pub mod schema;
