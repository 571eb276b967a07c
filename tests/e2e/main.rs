//! Builds real images with the `kairn` command and looks at everything that comes out.
//!
//! Needs root and the packages that `make deps-test` installs; where those are missing the tests say so and pass, or
//! fail if `KAIRN_TEST_REQUIRE` is set.

#[path = "../support/mod.rs"]
mod support;

mod ground;
