//! A cache in an object store: S3, Google Cloud Storage, Azure Blob Storage.
//!
//! Documents are objects `PREFIX MANIFESTS_PREFIX NAME/common.json.zst` and `.../ID.json.zst` of writers, blobs are
//! `PREFIX BLOBS_PREFIX sha256/HEX`. The library is asynchronous; a runtime of its own drives it, and callers wait.

mod http;
mod options;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use object_store::ObjectMeta;
pub use options::Variables;
use store::Store;

use crate::backend::shards::{Mark, Shard, Shards, Stored, Writer, is_id};
use crate::backend::{Backend, BackendError, Document, MAX_DOCUMENT_BYTES, Merge, Moment, Removed, artifact};
use crate::layout::Layout;
use crate::{Descriptor, Digest};

/// Age from which a blob that no document names is nobody's work in progress.
const STALE: Duration = Duration::from_hours(24);
const COMMON: &str = "common";
const SUFFIX: &str = ".json.zst";

/// A cache in an object store.
#[derive(Debug)]
pub struct ObjectBackend {
    store: Store,
    /// What all blobs' names begin with.
    blobs: String,
    /// What all documents' names begin with.
    manifests: String,
    /// The names that are read; the first is written.
    names: Vec<String>,
    writer: Writer,
}

/// A document with what is to be known of it, as an object has it.
#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Envelope {
    ended: bool,
    #[serde(default)]
    contains: BTreeSet<String>,
    blobs: Vec<Descriptor>,
    document: String,
}

/// The documents of one name.
struct Named<'a> {
    backend: &'a ObjectBackend,
    name: &'a str,
}

impl ObjectBackend {
    fn new(
        place: String,
        store: Arc<dyn object_store::ObjectStore>,
        blobs: &str,
        manifests: String,
        names: Vec<String>,
    ) -> Result<Self, BackendError> {
        if names.is_empty() || names.iter().any(|name| name.contains('/')) {
            return Err(BackendError::Options(
                "`name` is a name without `/`, or several with `;`".to_owned(),
            ));
        }
        let store = Store::new(place, store)?;
        Ok(Self { store, blobs: format!("{blobs}sha256/"), manifests, names, writer: Writer::new() })
    }

    fn written(&self) -> Named<'_> {
        Named { backend: self, name: self.names.first().map_or("", String::as_str) }
    }

    fn blob_path(&self, digest: &Digest) -> String {
        format!("{}{}", self.blobs, digest.hex())
    }

    /// Reads a document; `None` where there is none that can be read.
    fn envelope(&self, path: &str) -> Result<Option<(Envelope, ObjectMeta)>, BackendError> {
        let Some((bytes, meta)) = self.store.read(path, MAX_DOCUMENT_BYTES)? else { return Ok(None) };
        let envelope = artifact::decompress(&bytes).and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(envelope.map(|envelope| (envelope, meta)))
    }

    /// Lists the blobs that are there.
    fn stored_blobs(&self) -> Result<BTreeMap<Digest, ObjectMeta>, BackendError> {
        let objects = self.store.list(&self.blobs)?;
        let digest = |meta: &ObjectMeta| format!("sha256:{}", meta.location.filename()?).parse().ok();
        Ok(objects.into_iter().filter_map(|meta| Some((digest(&meta)?, meta))).collect())
    }

    /// Lists the blobs that any document names, of whichever cache in the same place.
    fn named_blobs(&self) -> Result<BTreeSet<Digest>, BackendError> {
        let mut named = BTreeSet::new();
        for meta in self.store.list(&self.manifests)? {
            if meta.location.as_ref().ends_with(SUFFIX)
                && let Some((envelope, _)) = self.envelope(meta.location.as_ref())?
            {
                named.extend(envelope.blobs.iter().map(|blob| blob.digest));
            }
        }
        Ok(named)
    }
}

impl Named<'_> {
    fn path(&self, shard: &Shard) -> String {
        let file = match shard {
            Shard::Common => COMMON,
            Shard::Writer(id) => id,
        };
        format!("{}{}/{file}{SUFFIX}", self.backend.manifests, self.name)
    }
}

impl Shards for Named<'_> {
    fn list(&self) -> Result<Vec<String>, BackendError> {
        let objects = self.backend.store.list(&format!("{}{}/", self.backend.manifests, self.name))?;
        let id = |meta: &ObjectMeta| meta.location.filename()?.strip_suffix(SUFFIX).map(str::to_owned);
        Ok(objects.iter().filter_map(id).filter(|id| is_id(id)).collect())
    }

    fn look(&self, shard: &Shard) -> Result<Option<Mark>, BackendError> {
        Ok(self.backend.store.head(&self.path(shard))?.map(|meta| mark(&meta)))
    }

    fn read(&self, shard: &Shard) -> Result<Option<Stored>, BackendError> {
        let found = self.backend.envelope(&self.path(shard))?;
        Ok(found.map(|(envelope, meta)| Stored {
            mark: Mark { ended: envelope.ended, contains: envelope.contains, ..mark(&meta) },
            document: Document { bytes: envelope.document.into_bytes(), blobs: envelope.blobs },
        }))
    }

    fn write(&self, shard: &Shard, document: &Document, mark: &Mark) -> Result<String, BackendError> {
        let store = &self.backend.store;
        if *shard == Shard::Common {
            let there = self.backend.stored_blobs()?;
            if let Some(blob) = document.blobs.iter().find(|blob| !there.contains_key(&blob.digest)) {
                return Err(BackendError::MissingBlob {
                    place: store.place().to_owned(),
                    digest: blob.digest,
                });
            }
        }
        let fail = |reason: String| BackendError::place("write", store.place(), reason);
        let text = String::from_utf8(document.bytes.clone()).map_err(|error| fail(error.to_string()))?;
        let blobs: BTreeMap<_, _> = document.blobs.iter().map(|blob| (blob.digest, blob.clone())).collect();
        let envelope = Envelope {
            ended: mark.ended,
            contains: mark.contains.clone(),
            blobs: blobs.into_values().collect(),
            document: text,
        };
        let bytes = serde_json::to_vec(&envelope).expect("text keys and plain values always serialise");
        let path = self.path(shard);
        match store.write(&path, artifact::compress(&bytes).map_err(fail)?)? {
            Some(version) => Ok(version),
            None => Ok(self.look(shard)?.unwrap_or_default().version),
        }
    }

    fn remove(&self, shard: &Shard, version: &str) -> Result<bool, BackendError> {
        // A common document is overwritten, and what was it is gone.
        let Shard::Writer(_) = shard else { return Ok(false) };
        if self.look(shard)?.is_some_and(|mark| mark.version == version) {
            self.backend.store.delete(&self.path(shard))?;
        }
        Ok(true)
    }
}

impl Backend for ObjectBackend {
    fn name(&self) -> String {
        self.store.place().to_owned()
    }

    fn load(&self) -> Result<Vec<Vec<u8>>, BackendError> {
        let mut documents = Vec::new();
        for name in &self.names {
            documents.extend(self.writer.load(&Named { backend: self, name })?);
        }
        Ok(documents)
    }

    fn publish(&self, merge: Merge<'_>, moment: Moment) -> Result<(), BackendError> {
        self.writer.publish(&self.written(), merge, moment)
    }

    fn rewrite(&self, rewrite: Merge<'_>) -> Result<Removed, BackendError> {
        let documents = self.writer.rewrite(&self.written(), rewrite)?.documents;
        let mut removed = Removed { documents, ..Removed::default() };
        let there = self.stored_blobs()?;
        let named = self.named_blobs()?;
        let now = SystemTime::now();
        for (digest, meta) in there {
            let age = now.duration_since(SystemTime::from(meta.last_modified)).unwrap_or_default();
            if !named.contains(&digest) && age >= STALE {
                self.store.delete(meta.location.as_ref())?;
                removed.blobs += 1;
                removed.bytes += meta.size;
            }
        }
        Ok(removed)
    }

    fn has_blob(&self, blob: &Descriptor) -> Result<bool, BackendError> {
        Ok(self.store.head(&self.blob_path(&blob.digest))?.is_some_and(|meta| meta.size == blob.size))
    }

    fn fetch_blob(&self, blob: &Descriptor, layout: &Layout) -> Result<(), BackendError> {
        if layout.has_blob(&blob.digest) {
            return Ok(());
        }
        self.store.fetch(&self.blob_path(&blob.digest), blob, layout)
    }

    fn put_blob(&self, blob: &Descriptor, layout: &Layout) -> Result<bool, BackendError> {
        if self.has_blob(blob)? {
            return Ok(false);
        }
        self.store.put(&self.blob_path(&blob.digest), blob, layout).map(|()| true)
    }
}

fn mark(meta: &ObjectMeta) -> Mark {
    let version = meta.e_tag.clone().unwrap_or_else(|| meta.last_modified.to_string());
    Mark { version, written: Some(SystemTime::from(meta.last_modified)), ..Mark::default() }
}
