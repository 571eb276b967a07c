//! What the end-to-end tests stand on: a real registry, real base images, the `kairn` binary, an inspector of what it
//! made and a real container runtime to run that in.
//!
//! Reading order: [`tools`] (what the machine must have), [`registry`], [`bases`], [`context`] (build contexts),
//! [`workspace`] (folders with a kairn.toml),
//! [`kairn`] (the command and what it printed), [`many`] (graphs with several images), [`image`] and [`tree`] (what it made), [`container`] (`runc`).

pub(crate) mod bases;
pub(crate) mod container;
pub(crate) mod context;
pub(crate) mod image;
pub(crate) mod kairn;
pub(crate) mod many;
pub(crate) mod proxy;
pub(crate) mod registry;
pub(crate) mod tools;
pub(crate) mod tree;
pub(crate) mod web;
pub(crate) mod workspace;

pub(crate) use container::{Pod, Profile};
pub(crate) use context::{Context, noise};
pub(crate) use image::Image;
pub(crate) use kairn::{Kairn, Outcome};
pub(crate) use proxy::{Harm, Proxy};
pub(crate) use registry::Registry;
pub(crate) use tools::{can_run, run, test_dir};
pub(crate) use workspace::Workspace;
