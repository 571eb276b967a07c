//! Blobs on their way into a layout, wherever they come from.

use std::io::{self, Read, Write as _};

use crate::Descriptor;
use crate::backend::BackendError;
use crate::layout::{BlobWriter, Layout, LayoutError};

/// Most bytes that are read at a time.
const BUFFER_BYTES: usize = 128 << 10;

/// Reads a blob to its end into a layout; no more than a byte beyond its size is read.
///
/// The `place` is for messages.
pub(super) fn receive(
    input: impl Read,
    blob: &Descriptor,
    layout: &Layout,
    place: &str,
) -> Result<(), BackendError> {
    let mut writer = layout.blob_writer().map_err(|error| fail(place, error))?;
    let mut input = input.take(blob.size.saturating_add(1));
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => writer.write_all(&buffer[..read]).map_err(|error| fail(place, error))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(fail(place, error)),
        }
    }
    finish(writer, blob, place)
}

/// Ends a blob that must be the one that is asked for.
pub(super) fn finish(writer: BlobWriter, blob: &Descriptor, place: &str) -> Result<(), BackendError> {
    let reason = match writer.finish(Some(blob)) {
        Ok(_) => return Ok(()),
        Err(LayoutError::DigestMismatch { got, .. }) => format!("its digest is {got}"),
        Err(LayoutError::SizeMismatch { expected, got, .. }) if got > expected => {
            format!("it has more than {expected} bytes")
        }
        Err(LayoutError::SizeMismatch { expected, got, .. }) => {
            format!("it has {got} bytes instead of {expected}")
        }
        Err(error) => return Err(fail(place, error)),
    };
    Err(BackendError::WrongBlob { place: place.to_owned(), digest: blob.digest, reason })
}

fn fail(place: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> BackendError {
    BackendError::place("fetch a blob from", place, error)
}
