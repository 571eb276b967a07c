//! An object store from threads that wait: objects by their whole names.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStore, ObjectStoreExt as _, WriteMultipart};
use tokio::runtime::Runtime;

use crate::Descriptor;
use crate::backend::BackendError;
use crate::backend::receive;
use crate::layout::Layout;

/// Length of the parts in which a large blob is sent, and of the largest blob that is sent whole.
const PART_BYTES: u64 = 8 << 20;
/// Most parts of a blob. Spec: Amazon S3, "Multipart upload limits".
const PARTS: u64 = 10_000;
/// Parts that are on their way at a time.
const PARTS_AT_ONCE: usize = 3;
/// Bytes of a blob's file that are read at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// A store, and what drives it.
#[derive(Debug)]
pub(super) struct Store {
    place: String,
    objects: Arc<dyn ObjectStore>,
    runtime: Runtime,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Store {
    pub(super) fn new(place: String, objects: Arc<dyn ObjectStore>) -> Result<Self, BackendError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| BackendError::place("use", place.as_str(), error))?;
        Ok(Self { place, objects, runtime })
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    fn fail<E: Into<Failure>>(&self, operation: &'static str) -> impl Fn(E) -> BackendError {
        move |error| BackendError::place(operation, self.place.as_str(), error)
    }

    pub(super) fn head(&self, path: &str) -> Result<Option<ObjectMeta>, BackendError> {
        found(self.runtime.block_on(self.objects.head(&Path::from(path)))).map_err(self.fail("read"))
    }

    /// Lists the objects whose names begin with a folder's, with its final slash.
    pub(super) fn list(&self, folder: &str) -> Result<Vec<ObjectMeta>, BackendError> {
        let path = Path::from(folder);
        let listed = self.objects.list(Some(&path));
        self.runtime.block_on(listed.try_collect()).map_err(self.fail("read"))
    }

    /// Reads a small object; `None` where there is none, or it has more than `limit_bytes`.
    pub(super) fn read(
        &self,
        path: &str,
        limit_bytes: u64,
    ) -> Result<Option<(Vec<u8>, ObjectMeta)>, BackendError> {
        let read = async {
            let Some(answer) = found(self.objects.get(&Path::from(path)).await)? else { return Ok(None) };
            let meta = answer.meta.clone();
            let mut bytes = Vec::new();
            let mut pieces = answer.into_stream();
            while let Some(piece) = pieces.try_next().await? {
                bytes.extend_from_slice(&piece);
                if bytes.len() as u64 > limit_bytes {
                    return Ok(None);
                }
            }
            Ok(Some((bytes, meta)))
        };
        self.runtime.block_on(read).map_err(|error: Error| self.fail("read")(error))
    }

    /// Writes an object and returns its version, where the store says it.
    pub(super) fn write(&self, path: &str, bytes: Vec<u8>) -> Result<Option<String>, BackendError> {
        let written = self.runtime.block_on(self.objects.put(&Path::from(path), bytes.into()));
        Ok(written.map_err(self.fail("write"))?.e_tag)
    }

    pub(super) fn delete(&self, path: &str) -> Result<(), BackendError> {
        let deleted = self.runtime.block_on(self.objects.delete(&Path::from(path)));
        found(deleted).map_err(self.fail("write")).map(drop)
    }

    /// Brings an object into a layout.
    pub(super) fn fetch(&self, path: &str, blob: &Descriptor, layout: &Layout) -> Result<(), BackendError> {
        let place = self.place.as_str();
        let fetched = self.runtime.block_on(async {
            let Some(answer) = found(self.objects.get(&Path::from(path)).await)? else { return Ok(None) };
            let mut writer = layout.blob_writer()?;
            let mut pieces = answer.into_stream();
            while writer.bytes() <= blob.size
                && let Some(piece) = pieces.try_next().await?
            {
                writer.write_all(&piece)?;
            }
            Ok(Some(writer))
        });
        let fail = |error: Failure| self.fail("fetch a blob from")(error);
        match fetched.map_err(fail)? {
            Some(writer) => receive::finish(writer, blob, place),
            None => Err(BackendError::MissingBlob { place: place.to_owned(), digest: blob.digest }),
        }
    }

    /// Sends a blob of a layout: whole if it is small, in parts if not. One that is damaged is not sent.
    pub(super) fn put(&self, path: &str, blob: &Descriptor, layout: &Layout) -> Result<(), BackendError> {
        let path = Path::from(path);
        let sent = if blob.size <= PART_BYTES {
            layout.read_blob(blob).map_err(Failure::from).and_then(|bytes| {
                Ok(self.runtime.block_on(self.objects.put(&path, bytes.into())).map(drop)?)
            })
        } else {
            self.runtime.block_on(self.put_in_parts(&path, blob, layout))
        };
        sent.map_err(self.fail("write"))
    }

    async fn put_in_parts(&self, path: &Path, blob: &Descriptor, layout: &Layout) -> Result<(), Failure> {
        let mut file = layout.open_verified(blob)?;
        let part_bytes = usize::try_from(blob.size.div_ceil(PARTS).max(PART_BYTES))?;
        let mut upload =
            WriteMultipart::new_with_chunk_size(self.objects.put_multipart(path).await?, part_bytes);
        let mut buffer = vec![0; BUFFER_BYTES];
        let failure: Failure = loop {
            match file.read(&mut buffer) {
                Ok(0) => {
                    upload.finish().await?;
                    return Ok(());
                }
                Ok(read) => upload.write(&buffer[..read]),
                Err(error) => break error.into(),
            }
            if let Err(error) = upload.wait_for_capacity(PARTS_AT_ONCE).await {
                break error.into();
            }
        };
        // The store removes what is left of it in its own time if this fails too.
        let _ = upload.abort().await;
        Err(failure)
    }
}

/// Makes what is not there none.
fn found<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
