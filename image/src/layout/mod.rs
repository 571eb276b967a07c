//! An OCI image layout: a directory of blobs, named by their digests, and an index of what is there.

mod archive;
mod blob;

use std::io;
use std::path::{Path, PathBuf};

pub use blob::{BlobWriter, WrittenBlob};
use fs_err as fs;
use serde_json::json;

use crate::digest::VerifyReader;
use crate::{Descriptor, Digest, Index};

/// Annotation that names an entry of an `index.json`.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Annotation by which containerd and Docker find an image's whole name.
pub const CONTAINERD_NAME: &str = "io.containerd.image.name";

const INDEX_FILE: &str = "index.json";
const MARKER_FILE: &str = "oci-layout";
const BLOBS: &str = "blobs/sha256";

/// Most bytes of an `index.json`, and of a manifest that is read into memory.
const DOCUMENT_BYTES: u64 = 64 << 20;

/// An OCI image layout directory.
///
/// A blob is there whole or not at all: it is written beside its place and renamed into it. Any number of processes may
/// use one layout at a time. Nothing is synced to disk: a layout that must outlive a power cut is not this one.
///
/// Spec: OCI image-spec, image-layout.md.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
    temporary: PathBuf,
}

/// A layout, or something in it, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// A file could not be read or written; the source names it.
    #[error("cannot use the image layout")]
    Io(#[from] io::Error),
    /// The directory is something else.
    #[error("`{}` is not an OCI image layout: it has no valid `oci-layout` file", path.display())]
    NotALayout {
        /// The directory.
        path: PathBuf,
    },
    /// A document in it is not what the image-spec says.
    #[error("{what} in the image layout is not valid")]
    Document {
        /// Which.
        what: String,
        /// Why.
        source: serde_json::Error,
    },
    /// Bytes have another digest than they should.
    #[error("expected content of digest `{expected}`, got `{got}`")]
    DigestMismatch {
        /// What was asked for.
        expected: Digest,
        /// What the bytes are.
        got: Digest,
    },
    /// Bytes have another length than they should.
    #[error("expected {expected} bytes for `{digest}`, got {got}")]
    SizeMismatch {
        /// The blob.
        digest: Digest,
        /// What was asked for.
        expected: u64,
        /// What there is.
        got: u64,
    },
}

impl Layout {
    /// Opens the layout at `root`, making it where there is none.
    ///
    /// # Errors
    /// [`LayoutError`] where the directory or its files cannot be made, or are another version of layout.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, LayoutError> {
        let root = root.into();
        fs::create_dir_all(root.join(BLOBS))?;
        let layout = Self { temporary: root.join("blobs"), root };
        if !layout.root.join(MARKER_FILE).try_exists()? {
            layout.write_marker()?;
        }
        let _lock = layout.lock()?;
        if !layout.root.join(INDEX_FILE).try_exists()? {
            layout.replace_file(INDEX_FILE, &Index::of(Vec::new()).to_bytes())?;
        }
        Self::open_existing(layout.root)
    }

    /// Opens the layout at `root`.
    ///
    /// # Errors
    /// [`LayoutError::NotALayout`] where there is none.
    pub fn open_existing(root: impl Into<PathBuf>) -> Result<Self, LayoutError> {
        let root = root.into();
        let marker = fs::read(root.join(MARKER_FILE)).ok();
        let marker = marker.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
        match marker.as_ref().and_then(|m| m["imageLayoutVersion"].as_str()) {
            Some("1.0.0") => Ok(Self { temporary: root.join("blobs"), root }),
            _ => Err(LayoutError::NotALayout { path: root }),
        }
    }

    /// Has blobs written in `folder` until they are whole; `blobs/` by default. It must exist, on the same file system.
    #[must_use]
    pub fn with_temporary_folder(self, folder: impl Into<PathBuf>) -> Self {
        Self { temporary: folder.into(), ..self }
    }

    /// Returns the directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the directory of the blobs.
    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join(BLOBS)
    }

    /// Returns where the blob is, or would be.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join(BLOBS).join(digest.hex())
    }

    /// Says whether the blob is there.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.blob_path(digest).is_file()
    }

    /// Opens a blob as it lies on disk.
    ///
    /// # Errors
    /// Those of opening the file; `NotFound` where the blob is not there.
    pub fn open_blob(&self, digest: &Digest) -> io::Result<fs::File> {
        fs::File::open(self.blob_path(digest))
    }

    /// Opens a blob; reading it to its end checks it against the descriptor.
    ///
    /// # Errors
    /// Those of opening the file.
    pub fn open_verified(&self, descriptor: &Descriptor) -> io::Result<VerifyReader<fs::File>> {
        Ok(VerifyReader::new(self.open_blob(&descriptor.digest)?, descriptor.digest, descriptor.size))
    }

    /// Reads a small blob (a manifest or config), checked against its descriptor.
    ///
    /// # Errors
    /// Those of reading the file; [`LayoutError::SizeMismatch`] and [`LayoutError::DigestMismatch`].
    pub fn read_blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, LayoutError> {
        let got = self.open_blob(&descriptor.digest)?.metadata()?.len();
        let (digest, expected) = (descriptor.digest, descriptor.size);
        if got != expected || got > DOCUMENT_BYTES {
            return Err(LayoutError::SizeMismatch { digest, expected, got });
        }
        let bytes = fs::read(self.blob_path(&digest))?;
        let got = Digest::of(&bytes);
        if got == digest { Ok(bytes) } else { Err(LayoutError::DigestMismatch { expected: digest, got }) }
    }

    /// Stores bytes as a blob; does nothing where it is there.
    ///
    /// # Errors
    /// Those of writing.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<Digest, LayoutError> {
        use std::io::Write as _;
        let digest = Digest::of(bytes);
        if !self.has_blob(&digest) {
            let mut blob = self.blob_writer()?;
            blob.write_all(bytes)?;
            blob.finish(None)?;
        }
        Ok(digest)
    }

    /// Starts a blob whose digest shows at its end.
    ///
    /// # Errors
    /// Those of making its temporary file.
    pub fn blob_writer(&self) -> Result<BlobWriter, LayoutError> {
        Ok(BlobWriter::new(self.clone())?)
    }

    /// Reads `index.json`.
    ///
    /// # Errors
    /// Those of reading, and [`LayoutError::Document`].
    pub fn index(&self) -> Result<Index, LayoutError> {
        let bytes = fs::read(self.root.join(INDEX_FILE))?;
        Index::from_bytes(&bytes)
            .map_err(|source| LayoutError::Document { what: INDEX_FILE.to_owned(), source })
    }

    /// Names a descriptor in `index.json`, in place of what had the name.
    ///
    /// # Errors
    /// Those of reading and writing `index.json`.
    pub fn tag(&self, name: &str, descriptor: &Descriptor) -> Result<(), LayoutError> {
        let _lock = self.lock()?;
        let mut index = self.index()?;
        index.manifests.retain(|d| d.annotations.get(REF_NAME).is_none_or(|n| n != name));
        let mut named = descriptor.clone();
        named.annotations.insert(REF_NAME.to_owned(), name.to_owned());
        index.manifests.push(named);
        Ok(self.replace_file(INDEX_FILE, &index.to_bytes())?)
    }

    /// Drops the names in `index.json` whose descriptors' blobs are gone, and says which.
    ///
    /// # Errors
    /// Those of reading and writing `index.json`.
    pub fn drop_dead_names(&self) -> Result<Vec<String>, LayoutError> {
        let _lock = self.lock()?;
        let mut index = self.index()?;
        let mut dropped = Vec::new();
        index.manifests.retain(|descriptor| {
            let is_there = self.has_blob(&descriptor.digest);
            if !is_there {
                let name = descriptor.annotations.get(REF_NAME).cloned().unwrap_or_default();
                dropped.push(format!("name `{name}`: its image is gone"));
            }
            is_there
        });
        if !dropped.is_empty() {
            self.replace_file(INDEX_FILE, &index.to_bytes())?;
        }
        Ok(dropped)
    }

    /// Looks a name up in `index.json`.
    ///
    /// # Errors
    /// Those of reading `index.json`.
    pub fn resolve(&self, name: &str) -> Result<Option<Descriptor>, LayoutError> {
        let index = self.index()?;
        Ok(index.manifests.into_iter().rfind(|d| d.annotations.get(REF_NAME).is_some_and(|n| n == name)))
    }

    /// Locks `index.json` against other processes until the file is dropped.
    ///
    /// The lock is on the file `oci-layout`, which is never replaced.
    fn lock(&self) -> io::Result<fs::File> {
        let file = fs::OpenOptions::new().read(true).write(true).open(self.root.join(MARKER_FILE))?;
        file.file().lock()?;
        Ok(file)
    }

    /// Writes the file that makes a directory a layout, unless another process was faster.
    fn write_marker(&self) -> io::Result<()> {
        use std::io::Write as _;
        let mut file = blob::temporary_file(&self.temporary)?;
        file.write_all(marker().as_bytes())?;
        match file.persist_noclobber(self.root.join(MARKER_FILE)) {
            Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
            _ => Ok(()),
        }
    }

    fn replace_file(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        use std::io::Write as _;
        let mut file = blob::temporary_file(&self.temporary)?;
        file.write_all(bytes)?;
        file.persist(self.root.join(name)).map_err(|e| e.error)?;
        Ok(())
    }
}

/// Returns the text of the file `oci-layout`.
fn marker() -> String {
    json!({ "imageLayoutVersion": "1.0.0" }).to_string()
}
