//! Blobs on their way into a layout.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::digest::DigestWriter;
use crate::layout::{Layout, LayoutError};
use crate::{Descriptor, Digest};

/// A blob that is being written. Dropped before [`BlobWriter::finish`], it leaves nothing behind.
pub struct BlobWriter {
    layout: Layout,
    out: DigestWriter<BufWriter<NamedTempFile>>,
}

/// A blob that is in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenBlob {
    /// Digest of the bytes.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
}

impl BlobWriter {
    pub(super) fn new(layout: Layout) -> io::Result<Self> {
        let file = temporary_file(&layout.temporary)?;
        Ok(Self { layout, out: DigestWriter::new(BufWriter::with_capacity(128 << 10, file)) })
    }

    /// Returns the number of bytes written so far.
    pub const fn bytes(&self) -> u64 {
        self.out.bytes()
    }

    /// Ends the blob, checks it against `expected`, and puts it in its place.
    ///
    /// # Errors
    /// Those of writing; [`LayoutError::SizeMismatch`] and [`LayoutError::DigestMismatch`], which leave no blob.
    pub fn finish(self, expected: Option<&Descriptor>) -> Result<WrittenBlob, LayoutError> {
        let (digest, size, out) = self.out.finish();
        if let Some(expected) = expected {
            if expected.size != size {
                let (digest, expected) = (expected.digest, expected.size);
                return Err(LayoutError::SizeMismatch { digest, expected, got: size });
            }
            if expected.digest != digest {
                return Err(LayoutError::DigestMismatch { expected: expected.digest, got: digest });
            }
        }
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.persist(self.layout.blob_path(&digest)).map_err(|e| e.error)?;
        Ok(WrittenBlob { digest, size })
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Makes a file that is readable by all once it is renamed into its place, and gone if it is not.
pub(super) fn temporary_file(folder: &Path) -> io::Result<NamedTempFile> {
    use std::os::unix::fs::PermissionsExt as _;
    let permissions = std::fs::Permissions::from_mode(0o644);
    tempfile::Builder::new().prefix(".new-").permissions(permissions).tempfile_in(folder)
}
