//! A cache in a registry: a tag of a repository, and one of each writer beside it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::backend::artifact::{self, Packed, Top};
use crate::backend::parallel::in_parallel;
use crate::backend::shards::{Mark, Shard, Shards, Stored, Writer, is_id};
use crate::backend::{Backend, BackendError, Document, MAX_DOCUMENT_BYTES, Merge, Moment, Removed};
use crate::layout::Layout;
use crate::registry::{Client, Error, PushedBlob, StoredManifest};
use crate::{Descriptor, Digest, Manifest, Reference, media_type};

/// The tag of a cache whose reference has a digest alone.
const DEFAULT_TAG: &str = "latest";
/// Most letters of a tag that writers' tags begin with; the registries' limit is 128.
const TAG_LETTERS: usize = 108;
/// Most tags of a repository that are looked through for those of writers.
const TAGS: usize = 100_000;
/// Times that a document is written that is refused for no reason that can be found.
const WRITE_TRIES: u32 = 3;
/// Wait between them.
const WRITE_PAUSE: Duration = Duration::from_millis(200);
const CREATED: &str = "org.opencontainers.image.created";
/// Whose document it is: `common` or a writer's id. So no two tags have the same digest, by which they are deleted.
const WRITER: &str = "vnd.kairn.cache.writer";
const ENDED: &str = "vnd.kairn.cache.ended";
const CONTAINS: &str = "vnd.kairn.cache.contains";

/// A cache in a registry, as artifacts of the type `application/vnd.kairn.cache.v1`.
///
/// The common document is under the reference's tag, each writer's under `TAG.w-ID`. Those are deleted where the registry
/// allows it, by whoever ends an hour later.
pub struct RegistryBackend {
    client: Arc<Client>,
    tag: Reference,
    writer: Writer,
}

impl RegistryBackend {
    /// Takes the tag of a reference for a cache, `latest` if it has none; a digest is of no account.
    pub fn new(client: Arc<Client>, reference: Reference) -> Self {
        let tag = reference.tagged(reference.tag().unwrap_or(DEFAULT_TAG));
        Self { client, tag: tag.unwrap_or(reference), writer: Writer::new() }
    }

    /// Returns what the tags of writers begin with.
    fn writers(&self) -> String {
        let tag = self.tag.tag().unwrap_or(DEFAULT_TAG);
        if tag.len() <= TAG_LETTERS {
            return format!("{tag}.w-");
        }
        format!("{}-{}.w-", &tag[..TAG_LETTERS - 13], Digest::of(tag.as_bytes()).short())
    }

    fn reference(&self, shard: &Shard) -> Result<Reference, BackendError> {
        match shard {
            Shard::Common => Ok(self.tag.clone()),
            Shard::Writer(id) => self
                .tag
                .tagged(&format!("{}{id}", self.writers()))
                .map_err(|error| BackendError::Options(error.to_string())),
        }
    }

    fn fail(&self, operation: &'static str) -> impl Fn(Error) -> BackendError {
        let place = self.name();
        move |error| BackendError::place(operation, place.as_str(), error)
    }

    fn top(&self, shard: &Shard) -> Result<Option<(StoredManifest, Top)>, BackendError> {
        let reference = self.reference(shard)?;
        let stored = self.client.manifest_bytes(&reference).map_err(self.fail("read"))?;
        let Some(stored) = stored else { return Ok(None) };
        match artifact::read_top(&stored.bytes) {
            Some(top) => Ok(Some((stored, top))),
            None if *shard == Shard::Common => Err(BackendError::Options(format!(
                "`{}` is no cache of kairn's, but something else; give the cache a tag of its own",
                self.name()
            ))),
            None => Ok(None),
        }
    }

    /// Reads the manifests that a top one stands for; `None` where one is not there.
    fn manifests(&self, top: Top) -> Result<Option<Vec<Manifest>>, BackendError> {
        let index = match top {
            Top::Manifest(manifest) => return Ok(Some(vec![*manifest])),
            Top::Index(index) => index,
        };
        let mut manifests = Vec::new();
        for member in &index.manifests {
            let pinned = self.tag.pinned(member.digest);
            let stored = self.client.manifest_bytes(&pinned).map_err(self.fail("read"))?;
            match stored.and_then(|stored| artifact::read_top(&stored.bytes)) {
                Some(Top::Manifest(manifest)) => manifests.push(*manifest),
                _ => return Ok(None),
            }
        }
        Ok(Some(manifests))
    }

    /// Finds out which of a document's blobs is not there.
    fn missing(&self, document: &Document) -> Option<Digest> {
        let there = in_parallel(&document.blobs, |blob| self.client.blob_is_there(blob, &self.tag, None));
        let missing = document.blobs.iter().zip(there).find(|(_, there)| matches!(there, Ok(false)));
        missing.map(|(blob, _)| blob.digest)
    }

    fn push(&self, packed: &Packed, reference: &Reference) -> Result<Digest, Error> {
        self.client.push_bytes(&packed.config, &self.tag)?;
        for part in &packed.parts {
            let pinned = self.tag.pinned(Digest::of(part));
            self.client.push_manifest(part, media_type::OCI_MANIFEST, &pinned)?;
        }
        self.client.push_manifest(&packed.top, packed.top_type, reference)
    }
}

impl fmt::Debug for RegistryBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryBackend").field("tag", &self.name()).finish_non_exhaustive()
    }
}

impl Shards for RegistryBackend {
    fn list(&self) -> Result<Vec<String>, BackendError> {
        let tags = match self.client.tags(&self.tag, TAGS) {
            Ok(tags) => tags,
            // A registry that lists nothing, or not for everybody: the common document must do.
            Err(Error::Unauthorized { .. } | Error::Status { status: 400..=499 | 501, .. }) => Vec::new(),
            Err(error) => return Err(self.fail("read")(error)),
        };
        let prefix = self.writers();
        let ids = tags.iter().filter_map(|tag| tag.strip_prefix(&prefix)).filter(|id| is_id(id));
        Ok(ids.map(str::to_owned).collect())
    }

    fn look(&self, shard: &Shard) -> Result<Option<Mark>, BackendError> {
        Ok(self.top(shard)?.map(|(stored, top)| mark(&stored, top.annotations())))
    }

    fn read(&self, shard: &Shard) -> Result<Option<Stored>, BackendError> {
        let Some((stored, top)) = self.top(shard)? else { return Ok(None) };
        let mark = mark(&stored, top.annotations());
        let Some(manifests) = self.manifests(top)? else { return Ok(None) };
        let Some(first) = manifests.first() else { return Ok(None) };
        let compressed = match self.client.blob_bytes(&self.tag, &first.config, MAX_DOCUMENT_BYTES) {
            Ok(bytes) => bytes,
            Err(Error::NotFound { .. }) => return Ok(None),
            // A document that is not what it should be is an empty one, which is none of any builder's: that is said, and
            // it is written anew.
            Err(Error::DigestMismatch { .. } | Error::SizeMismatch { .. } | Error::TooLarge { .. }) => {
                Vec::new()
            }
            Err(error) => return Err(self.fail("read")(error)),
        };
        let blobs = manifests.iter().flat_map(artifact::blobs).collect();
        let bytes = artifact::decompress(&compressed).unwrap_or_default();
        Ok(Some(Stored { mark, document: Document { bytes, blobs } }))
    }

    fn write(&self, shard: &Shard, document: &Document, mark: &Mark) -> Result<String, BackendError> {
        let packed = artifact::pack(document, &annotations(shard, mark))
            .map_err(|reason| BackendError::place("write", self.name(), reason))?;
        let reference = self.reference(shard)?;
        let mut tries = WRITE_TRIES;
        loop {
            let error = match self.push(&packed, &reference) {
                Ok(digest) => return Ok(digest.to_string()),
                Err(error) => error,
            };
            if !may_lack_a_blob(&error) {
                return Err(self.fail("write")(error));
            }
            if let Some(digest) = self.missing(document) {
                return Err(BackendError::MissingBlob { place: self.name(), digest });
            }
            // A registry on a plain file system does not see, for a moment, what another writer puts there again.
            tries -= 1;
            if tries == 0 {
                return Err(self.fail("write")(error));
            }
            std::thread::sleep(WRITE_PAUSE);
        }
    }

    fn remove(&self, _shard: &Shard, version: &str) -> Result<bool, BackendError> {
        let Ok(digest) = version.parse() else { return Ok(false) };
        self.client.delete_manifest(&self.tag, &digest).map_err(self.fail("write"))
    }
}

impl Backend for RegistryBackend {
    fn name(&self) -> String {
        self.tag.to_string()
    }

    fn load(&self) -> Result<Vec<Vec<u8>>, BackendError> {
        self.writer.load(self)
    }

    fn publish(&self, merge: Merge<'_>, moment: Moment) -> Result<(), BackendError> {
        self.writer.publish(self, merge, moment)
    }

    fn rewrite(&self, rewrite: Merge<'_>) -> Result<Removed, BackendError> {
        self.writer.rewrite(self, rewrite)
    }

    fn has_blob(&self, blob: &Descriptor) -> Result<bool, BackendError> {
        self.client.blob_is_there(blob, &self.tag, None).map_err(self.fail("ask"))
    }

    fn fetch_blob(&self, blob: &Descriptor, layout: &Layout) -> Result<(), BackendError> {
        self.client.fetch_blob(&self.tag, blob, layout).map_err(|error| {
            let (place, digest) = (self.name(), blob.digest);
            match error {
                Error::NotFound { .. } => BackendError::MissingBlob { place, digest },
                Error::DigestMismatch { got, .. } => {
                    BackendError::WrongBlob { place, digest, reason: format!("its digest is {got}") }
                }
                Error::SizeMismatch { expected, got, .. } => {
                    let reason = format!("it has {got} bytes instead of {expected}");
                    BackendError::WrongBlob { place, digest, reason }
                }
                error => self.fail("fetch a blob from")(error),
            }
        })
    }

    fn put_blob(&self, blob: &Descriptor, layout: &Layout) -> Result<bool, BackendError> {
        let pushed = self.client.push_blob(layout, blob, &self.tag, None).map_err(self.fail("write"))?;
        Ok(pushed != PushedBlob::Existed)
    }

    fn repository(&self) -> Option<String> {
        Some(format!("{}/{}", self.tag.registry(), self.tag.repository()))
    }
}

/// Says whether a registry refuses a manifest because of something that it points to.
///
/// Spec: OCI distribution-spec, "Error Codes": `MANIFEST_BLOB_UNKNOWN`. Some have other words, or none.
fn may_lack_a_blob(error: &Error) -> bool {
    match error {
        Error::Status { status: 404, .. } => true,
        Error::Status { status: 400..=499, message, .. } => {
            message.is_empty() || message.contains("UNKNOWN") || message.contains("blob")
        }
        _ => false,
    }
}

fn annotations(shard: &Shard, mark: &Mark) -> BTreeMap<String, String> {
    let writer = match shard {
        Shard::Common => "common",
        Shard::Writer(id) => id,
    };
    let mut annotations = BTreeMap::from([
        (CREATED.to_owned(), jiff::Timestamp::now().to_string()),
        (WRITER.to_owned(), writer.to_owned()),
    ]);
    if mark.ended {
        annotations.insert(ENDED.to_owned(), "true".to_owned());
    }
    if !mark.contains.is_empty() {
        let contains: Vec<_> = mark.contains.iter().map(String::as_str).collect();
        annotations.insert(CONTAINS.to_owned(), contains.join(","));
    }
    annotations
}

fn mark(stored: &StoredManifest, annotations: &BTreeMap<String, String>) -> Mark {
    let text = |key: &str| annotations.get(key).map(String::as_str);
    let written = text(CREATED).and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let contains = text(CONTAINS).unwrap_or_default().split(',').filter(|id| is_id(id));
    Mark {
        version: stored.digest.to_string(),
        written: written.map(SystemTime::from),
        ended: text(ENDED) == Some("true"),
        contains: contains.map(str::to_owned).collect(),
    }
}
