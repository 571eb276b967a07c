//! Builds real images with the `kairn` command and looks at everything that comes out.
//!
//! Needs root and the packages that `make deps-test` installs; where those are missing the tests say so and pass, or
//! fail if `KAIRN_TEST_REQUIRE` is set.

#![expect(clippy::print_stderr, reason = "a test that cannot run says so")]
#![expect(clippy::format_push_string, reason = "short texts, not a hot path")]

#[path = "../support/mod.rs"]
mod support;

mod affected;
mod bad_input;
mod cache;
mod cases;
mod configs;
mod copies;
mod debian;
mod doctor;
mod environments;
mod explain;
mod ground;
mod layers;
mod lock;
mod one_id;
mod registries;
mod reproducible;
mod run;
mod run_many;
mod shared_cache;
mod sources;
mod stages;
mod stock;
mod store;
mod workspace;
