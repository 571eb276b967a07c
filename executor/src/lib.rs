//! Runs the graph: every step as soon as its inputs are there, or not at all where the store already has its result.
//!
//! In: a [`kairn_compiler::Graph`], settings, a place to send events. Out: images in the store, in files, in
//! registries. Absent: source text, printing, the environment. `unsafe` and process control are in [`sandbox`] alone.
//!
//! A step gives a *state*: a stack of layers and a digest of what they hold. Layers are descriptors until somebody
//! needs files: a COPY needs only the names ([`tree`]), a RUN needs the layers unpacked ([`snapshot`]).
//!
//! Reading order: [`build`], `attempt`, [`schedule`], [`state`], [`run`], [`cache`], [`explain`], [`copy`], [`tree`],
//! [`snapshot`], [`store`], [`owner`], [`materialize`], [`pull`], [`fetch`], [`assemble`], [`publish`], [`artifact`],
//! [`built`], [`grants`], [`sandbox`].

pub mod artifact;
pub mod assemble;
mod attempt;
pub mod build;
pub mod built;
pub mod cache;
pub mod context;
pub mod copy;
pub mod error;
pub mod events;
pub mod explain;
pub mod fetch;
pub mod grants;
pub mod materialize;
pub mod owner;
mod parallel;
pub mod publish;
pub mod pull;
pub mod roots;
pub mod run;
pub mod sandbox;
pub mod schedule;
pub mod snapshot;
pub mod state;
pub mod store;
pub mod tree;
pub mod users;

pub use build::{Settings, build};
pub use built::Built;
pub use error::Error;

use kairn_image::layer::Timestamp;

/// The time of everything that the build itself made: 1980-01-02T00:00:00Z.
///
/// A time that only says when the build ran would give every build another digest. It is not 1970, because zip
/// archives (Python wheels among them) cannot hold times before 1980, in any time zone.
pub const BUILD_TIME: Timestamp = Timestamp { seconds: 315_619_200, nanoseconds: 0 };
