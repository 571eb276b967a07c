//! The compiler from outside: Dockerfiles in, graph text, diagnostics and keys out.

#![allow(clippy::unwrap_used, clippy::format_collect, reason = "a test that fails says where")]

mod cases;
mod images;
mod keys;
mod large;
mod native;
mod renderers;
mod sources;
mod workspace;
