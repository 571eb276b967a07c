//! A cache in a folder: an OCI image layout with the document under a tag, as BuildKit's `type=local` has it.
//!
//! Whoever writes holds the lock of the index, which is BuildKit's as well: documents are read, merged and written in one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fs_err as fs;

use crate::backend::artifact::{self, Top};
use crate::backend::receive::receive;
use crate::backend::{Backend, BackendError, Document, MAX_DOCUMENT_BYTES, Merge, Moment, Removed};
use crate::layout::{Layout, LayoutError};
use crate::{Descriptor, Digest, Manifest};

/// The file that BuildKit locks.
const LOCK_FILE: &str = "index.json.lock";
/// Age from which a blob that no document names is nobody's work in progress.
const STALE: Duration = Duration::from_hours(1);
const CREATED: &str = "org.opencontainers.image.created";

/// A cache in a folder of this machine, or of a network file system with locks.
#[derive(Debug)]
pub struct LocalBackend {
    folder: PathBuf,
    tag: String,
}

/// The documents' blobs besides those that they name: manifests and configs.
struct Stored {
    document: Document,
    own: Vec<Digest>,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl LocalBackend {
    /// Takes a folder, which need not exist before something is written, and a tag in its index.
    pub fn new(folder: impl Into<PathBuf>, tag: impl Into<String>) -> Self {
        Self { folder: folder.into(), tag: tag.into() }
    }

    fn fail<E: Into<Failure>>(&self, operation: &'static str) -> impl Fn(E) -> BackendError {
        let place = self.name();
        move |error| BackendError::place(operation, place.as_str(), error)
    }

    /// Opens the layout; `None` where there is none and could be one.
    fn existing(&self) -> Result<Option<Layout>, Failure> {
        match fs::read_dir(&self.folder) {
            Ok(mut entries) => match entries.next() {
                None => Ok(None),
                Some(_) => Ok(Some(Layout::open_existing(&self.folder)?)),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens or makes the layout.
    fn layout(&self) -> Result<Layout, Failure> {
        match self.existing() {
            Ok(Some(layout)) => Ok(layout),
            Ok(None) => Ok(Layout::open(&self.folder)?),
            // Another writer may just be making it.
            Err(_) if self.folder.join("blobs").is_dir() => Ok(Layout::open(&self.folder)?),
            Err(error) => Err(error),
        }
    }

    /// Keeps others from writing until the file is dropped.
    fn lock(&self) -> Result<fs::File, Failure> {
        let path = self.folder.join(LOCK_FILE);
        let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        file.file().lock()?;
        Ok(file)
    }

    /// Keeps others from writing, as far as a reader can: where nobody ever locked, there is nothing to lock.
    fn shared_lock(&self) -> Option<fs::File> {
        let file = fs::File::open(self.folder.join(LOCK_FILE)).ok()?;
        file.file().lock_shared().ok()?;
        Some(file)
    }

    fn read(&self, layout: &Layout) -> Result<Option<Stored>, BackendError> {
        let fail = |error| BackendError::place("read", self.name(), error);
        let Some(descriptor) = layout.resolve(&self.tag).map_err(&fail)? else { return Ok(None) };
        let Some(bytes) = there(layout.read_blob(&descriptor)).map_err(&fail)? else { return Ok(None) };
        let Some(top) = artifact::read_top(&bytes) else {
            return Err(BackendError::Options(format!(
                "`{}` in the image layout `{}` is no cache of kairn's, but something else; give the cache a tag of its own",
                self.tag,
                self.folder.display()
            )));
        };
        let mut own = vec![descriptor.digest];
        let mut manifests = Vec::new();
        match top {
            Top::Manifest(manifest) => manifests.push(*manifest),
            Top::Index(index) => {
                for member in index.manifests {
                    let bytes = there(layout.read_blob(&member)).map_err(&fail)?;
                    let Some(part) = bytes.and_then(|b| Manifest::from_bytes(&b).ok()) else {
                        return Ok(None);
                    };
                    own.push(member.digest);
                    manifests.push(part);
                }
            }
        }
        let Some(config) = manifests.first().map(|manifest| &manifest.config) else { return Ok(None) };
        own.push(config.digest);
        if config.size > MAX_DOCUMENT_BYTES {
            return Ok(None);
        }
        let compressed = there(layout.read_blob(config)).map_err(&fail)?;
        let blobs = manifests.iter().flat_map(artifact::blobs).collect();
        let bytes = compressed.and_then(|compressed| artifact::decompress(&compressed));
        Ok(bytes.map(|bytes| Stored { document: Document { bytes, blobs }, own }))
    }

    fn write(&self, layout: &Layout, document: &Document) -> Result<(), BackendError> {
        if let Some(blob) = document.blobs.iter().find(|blob| !is_there(layout, blob)) {
            return Err(BackendError::MissingBlob { place: self.name(), digest: blob.digest });
        }
        let annotations = BTreeMap::from([(CREATED.to_owned(), jiff::Timestamp::now().to_string())]);
        let packed = artifact::pack(document, &annotations).map_err(self.fail("write"))?;
        let put = || {
            for bytes in [&packed.config].into_iter().chain(&packed.parts) {
                layout.put_bytes(bytes)?;
            }
            let digest = layout.put_bytes(&packed.top)?;
            let mut descriptor = Descriptor::new(packed.top_type, digest, packed.top.len() as u64);
            descriptor.extra.insert("artifactType".to_owned(), artifact::ARTIFACT_TYPE.into());
            layout.tag(&self.tag, &descriptor)
        };
        put().map_err(|error| BackendError::place("write", self.name(), error))
    }

    /// Reads, changes and writes the document; returns what it was, and the layout, still locked.
    fn change(&self, merge: Merge<'_>) -> Result<(Layout, fs::File, Option<Stored>), BackendError> {
        let layout = self.layout().map_err(self.fail("write"))?;
        let lock = self.lock().map_err(self.fail("write"))?;
        let before = self.read(&layout)?;
        let documents: Vec<_> = before.iter().map(|stored| stored.document.bytes.clone()).collect();
        self.write(&layout, &merge(&documents))?;
        Ok((layout, lock, before))
    }
}

impl Backend for LocalBackend {
    fn name(&self) -> String {
        self.folder.display().to_string()
    }

    fn load(&self) -> Result<Vec<Vec<u8>>, BackendError> {
        let Some(layout) = self.existing().map_err(self.fail("read"))? else { return Ok(Vec::new()) };
        let _lock = self.shared_lock();
        Ok(self.read(&layout)?.map(|stored| stored.document.bytes).into_iter().collect())
    }

    fn publish(&self, merge: Merge<'_>, _moment: Moment) -> Result<(), BackendError> {
        let (layout, _lock, before) = self.change(merge)?;
        let replaced: BTreeSet<_> = before.into_iter().flat_map(|stored| stored.own).collect();
        // Where the index leads to something that is not there, what may go cannot be told; `rewrite` says so.
        let _ = remove_unnamed(&layout, |digest, _| replaced.contains(digest));
        Ok(())
    }

    fn rewrite(&self, rewrite: Merge<'_>) -> Result<Removed, BackendError> {
        if self.existing().map_err(self.fail("read"))?.is_none() {
            return Ok(Removed::default());
        }
        let (layout, _lock, before) = self.change(rewrite)?;
        let replaced: BTreeSet<_> = before
            .iter()
            .flat_map(|stored| {
                stored.own.iter().copied().chain(stored.document.blobs.iter().map(|b| b.digest))
            })
            .collect();
        let now = SystemTime::now();
        let is_old = |metadata: &std::fs::Metadata| {
            let age = metadata.modified().ok().and_then(|modified| now.duration_since(modified).ok());
            age.is_some_and(|age| age >= STALE)
        };
        let removed =
            remove_unnamed(&layout, |digest, metadata| replaced.contains(digest) || is_old(metadata));
        removed.map_err(self.fail("write"))
    }

    fn has_blob(&self, blob: &Descriptor) -> Result<bool, BackendError> {
        let layout = self.existing().map_err(self.fail("read"))?;
        Ok(layout.is_some_and(|layout| is_there(&layout, blob)))
    }

    fn fetch_blob(&self, blob: &Descriptor, layout: &Layout) -> Result<(), BackendError> {
        if layout.has_blob(&blob.digest) {
            return Ok(());
        }
        let missing = || BackendError::MissingBlob { place: self.name(), digest: blob.digest };
        let from = self.existing().map_err(self.fail("read"))?.ok_or_else(missing)?;
        let file = match from.open_blob(&blob.digest) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
            Err(error) => return Err(self.fail("fetch a blob from")(error)),
        };
        receive(file, blob, layout, &self.name())
    }

    fn put_blob(&self, blob: &Descriptor, layout: &Layout) -> Result<bool, BackendError> {
        let to = self.layout().map_err(self.fail("write"))?;
        if is_there(&to, blob) {
            // So that nobody takes it for one that nobody needs, while no document names it.
            touch(&to.blob_path(&blob.digest));
            return Ok(false);
        }
        let file = layout.open_blob(&blob.digest).map_err(self.fail("write"))?;
        receive(file, blob, &to, &self.name()).map(|()| true)
    }
}

/// Removes what nothing in the index leads to any more, of the files that `is_asked_for` takes.
fn remove_unnamed(
    layout: &Layout,
    is_asked_for: impl Fn(&Digest, &std::fs::Metadata) -> bool,
) -> Result<Removed, LayoutError> {
    let kept = layout.reachable()?;
    let mut removed = Removed::default();
    for entry in fs::read_dir(layout.blobs())? {
        let entry = entry?;
        let digest = entry.file_name().to_str().and_then(|hex| format!("sha256:{hex}").parse().ok());
        let Some(digest) = digest else { continue };
        let metadata = entry.metadata()?;
        if !kept.contains(&digest) && is_asked_for(&digest, &metadata) {
            fs::remove_file(entry.path())?;
            removed.blobs += 1;
            removed.bytes += metadata.len();
        }
    }
    Ok(removed)
}

fn is_there(layout: &Layout, blob: &Descriptor) -> bool {
    fs::metadata(layout.blob_path(&blob.digest)).is_ok_and(|metadata| metadata.len() == blob.size)
}

fn touch(path: &Path) {
    if let Ok(file) = fs::File::open(path) {
        let _ = file.file().set_modified(SystemTime::now());
    }
}

/// Makes a blob that is gone or damaged none.
fn there(read: Result<Vec<u8>, LayoutError>) -> Result<Option<Vec<u8>>, LayoutError> {
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(LayoutError::Io(error)) if error.kind() != io::ErrorKind::NotFound => Err(LayoutError::Io(error)),
        Err(_) => Ok(None),
    }
}
