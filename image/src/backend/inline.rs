//! A cache inside an image: a field of its config.
//!
//! Reading `type=registry` means either: an artifact of its own, or an image that says how it was made.

use std::io::Read as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::backend::registry::RegistryBackend;
use crate::backend::{Backend, BackendError, MAX_DOCUMENT_BYTES, Merge, Moment, Removed};
use crate::layout::Layout;
use crate::registry::Client;
use crate::{Descriptor, Platform, Reference};

/// The config's field that has the document: zstd in base64.
pub const FIELD: &str = "dev.kairn.cache.v1";

/// Writes a document as the field has it. Equal documents give equal texts.
pub fn encode(document: &[u8]) -> String {
    let packed = zstd::bulk::compress(document, 9).expect("memory takes what is written to it");
    BASE64_STANDARD.encode(packed)
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// Where the text is something else, or the document is longer than [`MAX_DOCUMENT_BYTES`].
pub fn decode(text: &str) -> std::io::Result<Vec<u8>> {
    let packed = BASE64_STANDARD.decode(text).map_err(std::io::Error::other)?;
    let mut document = Vec::new();
    zstd::stream::read::Decoder::new(&*packed)?.take(MAX_DOCUMENT_BYTES + 1).read_to_end(&mut document)?;
    if document.len() as u64 > MAX_DOCUMENT_BYTES {
        return Err(std::io::Error::other("it is too long"));
    }
    Ok(document)
}

/// A cache that is read from a registry: an artifact, or an image that has its cache inside.
#[derive(Debug)]
pub struct ImageBackend {
    client: Arc<Client>,
    reference: Reference,
    platform: Platform,
    artifact: RegistryBackend,
}

impl ImageBackend {
    /// Takes what a reference names; of several images the one for a platform.
    pub fn new(client: Arc<Client>, reference: Reference, platform: Platform) -> Self {
        let artifact = RegistryBackend::new(Arc::clone(&client), reference.clone());
        Self { client, reference, platform, artifact }
    }

    /// Reads the document inside an image; `None` where there is none.
    fn inside(&self) -> Result<Option<Vec<u8>>, BackendError> {
        let failed = |source| BackendError::Place { operation: "read", place: self.name(), source };
        let found = self.client.resolve(&self.reference, &self.platform).map_err(|e| failed(e.into()))?;
        let Some(text) = found.config.extra.get(FIELD).and_then(serde_json::Value::as_str) else {
            return Ok(None);
        };
        decode(text).map(Some).map_err(|e| failed(e.into()))
    }

    fn read_only(&self) -> BackendError {
        BackendError::Options(format!("the cache `{}` is read only", self.name()))
    }
}

impl Backend for ImageBackend {
    fn name(&self) -> String {
        self.artifact.name()
    }

    fn load(&self) -> Result<Vec<Vec<u8>>, BackendError> {
        match self.artifact.load() {
            Err(BackendError::Options(_)) => Ok(self.inside()?.into_iter().collect()),
            other => other,
        }
    }

    fn publish(&self, _: Merge<'_>, _: Moment) -> Result<(), BackendError> {
        Err(self.read_only())
    }

    fn rewrite(&self, _: Merge<'_>) -> Result<Removed, BackendError> {
        Err(self.read_only())
    }

    fn has_blob(&self, blob: &Descriptor) -> Result<bool, BackendError> {
        self.artifact.has_blob(blob)
    }

    fn fetch_blob(&self, blob: &Descriptor, layout: &Layout) -> Result<(), BackendError> {
        self.artifact.fetch_blob(blob, layout)
    }

    fn put_blob(&self, _: &Descriptor, _: &Layout) -> Result<bool, BackendError> {
        Err(self.read_only())
    }

    fn repository(&self) -> Option<String> {
        self.artifact.repository()
    }
}
