//! Places where machines share a cache: documents that are merged, and blobs by digest.
//!
//! A *document* is a text whose meaning this package does not know: the builder's list of cached steps. Many jobs may
//! write to one place at once and nothing is lost: documents are merged, never overwritten unread. In: documents, blobs
//! of a [`Layout`]. Out: the same, verified. Absent: steps, keys, what a document says.
//!
//! Reading order: this file, `shards` (how writers keep out of each other's way), `artifact` (a document as OCI has it),
//! [`mod@registry`], [`local`], `object` (with the feature
//! `object-store`), [`gha`].

mod artifact;
pub mod gha;
pub mod inline;
pub mod local;
#[cfg(feature = "object-store")]
pub mod object;
mod parallel;
mod receive;
pub mod registry;
mod shards;

use std::fmt::Debug;
use std::time::Duration;

use crate::layout::Layout;
use crate::registry::{Config, Proxies};
use crate::{Descriptor, Digest};

/// Longest wait for a service to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for more of what a service says.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// How services other than registries are spoken to: with the proxies of an environment.
fn service_config(env: &dyn Fn(&str) -> Option<String>) -> Config {
    Config {
        proxies: Proxies::of(env),
        connect_timeout: CONNECT_TIMEOUT,
        read_timeout: READ_TIMEOUT,
        ..Config::default()
    }
}

/// A document and the blobs that it speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its text: at most [`MAX_DOCUMENT_BYTES`].
    pub bytes: Vec<u8>,
    /// What must be kept as long as the document is.
    pub blobs: Vec<Descriptor>,
}

/// Most bytes of a document, as written and as read.
pub const MAX_DOCUMENT_BYTES: u64 = 64 << 20;

/// Makes one document of several; of none, that of the writer's own entries.
///
/// Given the documents that are there, the result has the writer's own entries and those of all the others. A document
/// that cannot be read is left out.
pub type Merge<'a> = &'a (dyn Fn(&[Vec<u8>]) -> Document + Sync);

/// When a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The writer goes on: what it has so far is to be safe, at little cost.
    Midway,
    /// The writer ends: its entries become part of the common document.
    End,
}

/// One place where a cache is.
pub trait Backend: Debug + Send + Sync {
    /// What it is, for messages: never with credentials.
    fn name(&self) -> String;

    /// Reads all documents. A place where nothing was ever written has none.
    ///
    /// # Errors
    /// [`BackendError`] where the place cannot be reached or read within its time-outs.
    fn load(&self) -> Result<Vec<Vec<u8>>, BackendError>;

    /// Writes the writer's document, merged with what is there. All its blobs have been put before.
    ///
    /// # Errors
    /// [`BackendError`]; [`BackendError::MissingBlob`] where the place no longer has a blob of the merged document.
    fn publish(&self, merge: Merge<'_>, moment: Moment) -> Result<(), BackendError>;

    /// Replaces all documents by the one that `rewrite` makes of them, and removes what only the replaced ones needed,
    /// as far as the place allows. For pruning: a writer at the same time loses nothing.
    ///
    /// # Errors
    /// As [`Backend::publish`].
    fn rewrite(&self, rewrite: Merge<'_>) -> Result<Removed, BackendError>;

    /// Says whether a blob is there.
    ///
    /// # Errors
    /// [`BackendError`] where the place does not say.
    fn has_blob(&self, blob: &Descriptor) -> Result<bool, BackendError>;

    /// Fetches a blob into a layout, checked against its descriptor; it may be any blob of a document.
    ///
    /// # Errors
    /// [`BackendError`]; nothing is left in the layout then.
    fn fetch_blob(&self, blob: &Descriptor, layout: &Layout) -> Result<(), BackendError>;

    /// Puts a blob of a layout there, if it is not there yet; says whether it had to be sent.
    ///
    /// # Errors
    /// [`BackendError`].
    fn put_blob(&self, blob: &Descriptor, layout: &Layout) -> Result<bool, BackendError>;

    /// The repository of a registry that has the blobs, where one does: `host/repository`.
    fn repository(&self) -> Option<String> {
        None
    }
}

/// What [`Backend::rewrite`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Documents, beyond the one that stays.
    pub documents: u64,
    /// Blobs; a registry removes them in its own time.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A cache's place cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The place cannot be reached, or refuses; the source says what it said.
    #[error("cannot {operation} the cache `{place}`")]
    Place {
        /// What was tried: `read`, `write`, `fetch a blob from`...
        operation: &'static str,
        /// [`Backend::name`].
        place: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The place has not, or no longer, the blob.
    #[error("the cache `{place}` does not have the blob {digest}")]
    MissingBlob {
        /// [`Backend::name`].
        place: String,
        /// Which.
        digest: Digest,
    },
    /// What came is not what it should be: another digest or size.
    #[error("the cache `{place}` gave something else than the blob {digest}: {reason}")]
    WrongBlob {
        /// [`Backend::name`].
        place: String,
        /// Which.
        digest: Digest,
        /// What is wrong.
        reason: String,
    },
    /// The options do not describe a place.
    #[error("{0}")]
    Options(String),
}

impl BackendError {
    /// Says what could not be done where.
    fn place(
        operation: &'static str,
        place: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Place { operation, place: place.into(), source: source.into() }
    }
}
