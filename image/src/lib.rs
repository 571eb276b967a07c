//! OCI nouns and bytes: references, digests, configs and manifests, layer tars in and out, the OCI layout, and the
//! registry client.
//!
//! In and out: bytes that other tools read and write. Absent: builds, steps, snapshots on disk, `unsafe`.
//!
//! Reading order: [`digest`], [`platform`], [`mod@reference`], [`config`], [`manifest`], [`media_type`], [`layer`] (tar
//! entries in and out), [`compression`], [`layout`] (the store of blobs), [`registry`], [`backend`] (places of a shared cache).

pub mod backend;
pub mod compression;
pub mod config;
pub mod digest;
pub mod layer;
pub mod layout;
pub mod manifest;
pub mod media_type;
pub mod platform;
pub mod reference;
pub mod registry;

pub use config::ImageConfig;
pub use digest::Digest;
pub use manifest::{Descriptor, Index, Manifest};
pub use platform::Platform;
pub use reference::Reference;
