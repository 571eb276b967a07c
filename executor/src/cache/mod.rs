//! Caches that machines share: what steps gave, by key, and the layers behind it.
//!
//! In: places ([`kairn_image::backend`]) to read from and to write to. Out: records of steps, layers when somebody needs
//! their bytes, cache mounts. A place that is slow, broken or lying costs time-outs and warnings, never a build.
//!
//! Reading order: [`index`] (the document), [`import`], [`export`], [`inline`], [`mounts`], `deadline`.

mod deadline;
pub mod export;
pub mod import;
pub mod index;
pub mod inline;
pub mod mounts;

pub use export::{Exporter, Mode, Target};
pub use import::{Remotes, Source};
pub use index::{CacheIndex, Entry};
