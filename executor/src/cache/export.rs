//! Writing shared caches: what each step gave, as soon as it gave it.
//!
//! Steps are uploaded beside the build, on threads of their own; the list of what is there is written every now and then,
//! and at the end, also of a build that fails. A place that fails is left alone, and said once.

use std::collections::BTreeSet;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kairn_image::backend::{Backend, BackendError, Document, Moment};
use kairn_image::compression::decompress;
use kairn_image::layer::Compression;
use kairn_image::{Descriptor, Digest, media_type};

use super::deadline::{for_bytes, within};
use super::import::join;
use super::index::{CacheIndex, Entry, MountEntry};
use crate::error::{Error, chain};
use crate::events::{EventKind, Events};
use crate::parallel::each;
use crate::pull::Puller;
use crate::state::StateLayer;
use crate::store::{StepRecord, Store};

/// How often the list is written while the build goes on.
const INTERVAL: Duration = Duration::from_secs(20);

/// When it is written for the first time, at the earliest: a short build writes it once.
const FIRST: Duration = Duration::from_secs(3);

/// How often it is looked whether the list has to be written.
const LOOK: Duration = Duration::from_millis(500);

/// How long a list is waited for, read or written.
const LIST_LIMIT: Duration = Duration::from_secs(30);

/// Times that a list is written which names blobs that are missing.
const TRIES: usize = 3;

/// Steps that are uploaded to one place at a time.
const UPLOADS: usize = 2;

/// Whose layers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Those of the images; of other steps only what their result is.
    #[default]
    Min,
    /// Those of all steps.
    Max,
}

/// Where a cache is written to, and how.
#[derive(Clone, Debug)]
pub struct Target {
    /// The place.
    pub backend: Arc<dyn Backend>,
    /// Whose layers.
    pub mode: Mode,
    /// How layers are compressed there; as in the image if none.
    pub compression: Option<Compression>,
    /// Whether cache mounts are written as well.
    pub mounts: bool,
    /// Whether the build fails if this place does.
    pub is_required: bool,
}

/// Writes what steps gave.
#[derive(Debug)]
pub struct Exporter {
    targets: Vec<Arc<Upload>>,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
    senders: Mutex<Vec<Sender<Work>>>,
}

/// A target at work.
#[derive(Debug)]
struct Upload {
    target: Target,
    store: Arc<Store>,
    puller: Arc<Puller>,
    events: Events,
    /// What this build has put there.
    own: Mutex<CacheIndex>,
    /// What was there before; read when the first step comes.
    known: Mutex<Option<Arc<CacheIndex>>>,
    /// When the list was written last, and how many entries it had.
    written: Mutex<(Instant, usize)>,
    problem: Mutex<Option<String>>,
    sent_bytes: Mutex<u64>,
}

/// A step's result on its way.
#[derive(Debug)]
struct Work {
    key: Digest,
    record: StepRecord,
    layer: Option<StateLayer>,
    with_layer: bool,
    is_new: bool,
}

impl Exporter {
    /// Starts the threads that upload.
    pub fn start(targets: Vec<Target>, puller: &Arc<Puller>, store: &Arc<Store>, events: &Events) -> Self {
        let mut threads = Vec::new();
        let mut senders = Vec::new();
        let uploads: Vec<Arc<Upload>> =
            targets.into_iter().map(|target| Arc::new(Upload::new(target, puller, store, events))).collect();
        for upload in &uploads {
            let (sender, receiver) = mpsc::channel();
            let receiver = Arc::new(Mutex::new(receiver));
            senders.push(sender);
            for _ in 0..UPLOADS {
                let (upload, receiver) = (Arc::clone(upload), Arc::clone(&receiver));
                threads.push(std::thread::spawn(move || upload.work(&receiver)));
            }
        }
        Self { targets: uploads, threads: Mutex::new(threads), senders: Mutex::new(senders) }
    }

    /// Whether cache mounts are to be written.
    pub fn wants_mounts(&self) -> bool {
        self.targets.iter().any(|upload| upload.target.mounts && upload.is_well())
    }

    /// Takes what a step gave; `is_of_image` says whether its layer is one of an image's. Returns at once.
    ///
    /// `layer` is where the layer is, of a result that was known; one that was made now is written also where the place
    /// has another.
    pub fn step(&self, key: Digest, record: &StepRecord, layer: Option<&StateLayer>, is_of_image: bool) {
        let senders = self.senders.lock().expect("no holder of this lock panics");
        for (sender, upload) in senders.iter().zip(&self.targets) {
            let (is_new, with_layer) = (layer.is_none(), upload.target.wants(is_of_image));
            let layer = layer.filter(|layer| layer.origin.is_some()).cloned();
            let _ = sender.send(Work { key, record: record.clone(), layer, with_layer, is_new });
        }
    }

    /// Writes the content of a cache mount, which is a blob of the store.
    pub fn mount(&self, name: &str, mount: &MountEntry) {
        for upload in self.targets.iter().filter(|upload| upload.target.mounts && upload.is_well()) {
            if let Err(problem) = upload.put(&mount.blob) {
                upload.fail(problem);
                continue;
            }
            let mut own = upload.own.lock().expect("no holder of this lock panics");
            own.mounts.insert(name.to_owned(), mount.clone());
        }
    }

    /// Waits for the uploads and writes the lists.
    ///
    /// # Errors
    /// Fails where a place failed without which the user does not want the build.
    pub fn finish(&self) -> Result<(), Error> {
        self.senders.lock().expect("no holder of this lock panics").clear();
        for thread in self.threads.lock().expect("no holder of this lock panics").drain(..) {
            let _ = thread.join();
        }
        let mut result = Ok(());
        for upload in &self.targets {
            upload.publish(Moment::End);
            let name = upload.target.backend.name();
            let problem = upload.problem.lock().expect("no holder of this lock panics").clone();
            match problem {
                Some(problem) if upload.target.is_required => {
                    let failed = std::io::Error::other(problem);
                    result = Err(Error::world(format!("cannot write the cache `{name}`"), failed)
                        .with_help("with `ignore-error=true` the build does not fail for it"));
                }
                Some(_) => {}
                None => upload.report(&name),
            }
        }
        result
    }
}

impl Target {
    fn wants(&self, is_of_image: bool) -> bool {
        self.mode == Mode::Max || is_of_image
    }
}

impl Upload {
    fn new(target: Target, puller: &Arc<Puller>, store: &Arc<Store>, events: &Events) -> Self {
        Self {
            target,
            store: Arc::clone(store),
            puller: Arc::clone(puller),
            events: events.clone(),
            own: Mutex::default(),
            known: Mutex::default(),
            written: Mutex::new((Instant::now(), 0)),
            problem: Mutex::default(),
            sent_bytes: Mutex::default(),
        }
    }

    fn is_well(&self) -> bool {
        self.problem.lock().expect("no holder of this lock panics").is_none()
    }

    fn fail(&self, problem: String) {
        let mut known = self.problem.lock().expect("no holder of this lock panics");
        if known.is_none() {
            let name = self.target.backend.name();
            self.events.build(EventKind::Warning(format!("the cache `{name}` is not written: {problem}")));
            *known = Some(problem);
        }
    }

    fn work(&self, receiver: &Mutex<Receiver<Work>>) {
        loop {
            let next = receiver.lock().expect("no holder of this lock panics").recv_timeout(LOOK);
            match next {
                Ok(_) if !self.is_well() => {}
                Ok(work) => {
                    if let Err(problem) = self.upload(work) {
                        self.fail(problem);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.is_due() {
                self.publish(Moment::Midway);
            }
        }
    }

    /// Whether the list is to be written now; then nobody else is told so for a while.
    fn is_due(&self) -> bool {
        let count = {
            let own = self.own.lock().expect("no holder of this lock panics");
            own.entries.len() + own.mounts.len()
        };
        let mut written = self.written.lock().expect("no holder of this lock panics");
        let (when, known) = *written;
        let pause = if known == 0 { FIRST } else { INTERVAL };
        let is_due = count != known && when.elapsed() > pause;
        if is_due {
            *written = (Instant::now(), count);
        }
        is_due
    }

    /// Uploads what a step gave, unless it is there.
    fn upload(&self, Work { key, mut record, layer, with_layer, is_new }: Work) -> Result<(), String> {
        let is_there =
            |known: &CacheIndex| known.entries.get(&key).is_some_and(|e| e.stored.is_some() || !with_layer);
        let is_known = is_there(&*self.known()?) && !is_new;
        if is_known || is_there(&self.own.lock().expect("no holder of this lock panics")) {
            return Ok(());
        }
        record.from = None;
        // What lists say serves only to explain; where they are gone, the step is told without.
        record.lists.retain(|_, list| self.store.layout().has_blob(&list.digest));
        for list in record.lists.values() {
            self.put(list)?;
        }
        if let Some(layer) = layer.filter(|_| with_layer) {
            // A layer that nobody gives is no reason to give up on the others.
            let _ = self.puller.ensure_blob(&layer);
        }
        let stored = if with_layer && self.store.layout().has_blob(&record.descriptor.digest) {
            let stored = self.compressed(&record.descriptor)?;
            self.put(&stored)?;
            Some(stored)
        } else {
            None
        };
        let mut own = self.own.lock().expect("no holder of this lock panics");
        own.entries.insert(key, Entry { record, stored });
        Ok(())
    }

    fn known(&self) -> Result<Arc<CacheIndex>, String> {
        let mut known = self.known.lock().expect("no holder of this lock panics");
        if let Some(known) = &*known {
            return Ok(Arc::clone(known));
        }
        if !self.is_well() {
            return Err("it failed before".to_owned());
        }
        let backend = Arc::clone(&self.target.backend);
        let documents = match within(LIST_LIMIT, move || backend.load()) {
            Some(Ok(documents)) => documents,
            other => {
                let problem = match other {
                    Some(Err(error)) => chain(&error),
                    _ => format!("it took more than {} s to read", LIST_LIMIT.as_secs()),
                };
                // Said before the next one asks.
                self.fail(problem.clone());
                return Err(problem);
            }
        };
        let index = Arc::new(join(&documents).0);
        *known = Some(Arc::clone(&index));
        Ok(index)
    }

    fn put(&self, blob: &Descriptor) -> Result<(), String> {
        let (backend, store) = (Arc::clone(&self.target.backend), Arc::clone(&self.store));
        let (limit, wanted) = (for_bytes(blob.size), blob.clone());
        let sent = within(limit, move || backend.put_blob(&wanted, store.layout()))
            .ok_or_else(|| format!("a blob of {} bytes took more than {} s", blob.size, limit.as_secs()))?
            .map_err(|error| chain(&error))?;
        if sent {
            *self.sent_bytes.lock().expect("no holder of this lock panics") += blob.size;
        }
        Ok(())
    }

    /// The layer as it is to lie there: as it is, or compressed in another way.
    fn compressed(&self, layer: &Descriptor) -> Result<Descriptor, String> {
        let Some(compression) = self.target.compression else { return Ok(layer.clone()) };
        if compression == Compression::default()
            && media_type::to_oci(&layer.media_type) == media_type::oci_layer(compression)
        {
            return Ok(layer.clone());
        }
        recompress(layer, compression, &self.store).map_err(|error| chain(&error))
    }

    fn publish(&self, moment: Moment) {
        let own = self.own.lock().expect("no holder of this lock panics").clone();
        if own.entries.is_empty() && own.mounts.is_empty() || !self.is_well() {
            return;
        }
        let mut missing = BTreeSet::new();
        for _ in 0..TRIES {
            let (backend, mine, without) = (Arc::clone(&self.target.backend), own.clone(), missing.clone());
            let published = within(LIST_LIMIT, move || {
                let merge = |documents: &[Vec<u8>]| merged(documents, &mine, &without);
                backend.publish(&merge, moment)
            });
            match published {
                Some(Ok(())) => return,
                // What the place itself has thrown away is no reason to write nothing ever again.
                Some(Err(BackendError::MissingBlob { digest, .. })) => {
                    missing.insert(digest);
                    missing.extend(self.missing(&own));
                }
                Some(Err(error)) => return self.fail(chain(&error)),
                None => return self.fail(format!("it took more than {} s to write", LIST_LIMIT.as_secs())),
            }
        }
        self.fail("it loses what is written to it".to_owned());
    }

    /// Blobs that the place is said to have, and has not.
    fn missing(&self, own: &CacheIndex) -> BTreeSet<Digest> {
        let (backend, own) = (Arc::clone(&self.target.backend), own.clone());
        let look = move || {
            let documents = backend.load().unwrap_or_default();
            let blobs = merged(&documents, &own, &BTreeSet::new()).blobs;
            let absent =
                |blob: &Descriptor| Ok(matches!(backend.has_blob(blob), Ok(false)).then_some(blob.digest));
            each(&blobs, &absent).unwrap_or_default().into_iter().flatten().collect()
        };
        within(LIST_LIMIT, look).unwrap_or_default()
    }

    fn report(&self, name: &str) {
        let steps = self.own.lock().expect("no holder of this lock panics").entries.len();
        let bytes = *self.sent_bytes.lock().expect("no holder of this lock panics");
        if steps > 0 {
            let mebibytes = bytes / (1024 * 1024);
            let text = format!("wrote {steps} steps to the cache `{name}` ({mebibytes} MiB sent)");
            self.events.build(EventKind::Transfer(text));
        }
    }
}

/// A writer's own entries, with those of all the documents, but for blobs that are missing.
fn merged(documents: &[Vec<u8>], own: &CacheIndex, missing: &BTreeSet<Digest>) -> Document {
    let (mut all, _) = join(documents);
    all.forget(missing);
    all.merge(own.clone());
    all.to_document()
}

/// Writes a blob of the store again, compressed in another way, as another blob of the store.
///
/// # Errors
/// Fails where the blob cannot be read, or the disk fails.
pub(crate) fn recompress(
    layer: &Descriptor,
    compression: Compression,
    store: &Store,
) -> Result<Descriptor, Error> {
    let failed = |e: std::io::Error| Error::world(format!("cannot compress a layer: {e}"), e);
    let layout = store.layout();
    let blob = layout.open_blob(&layer.digest).map_err(failed)?;
    let out = layout.blob_writer().map_err(|e| Error::world("cannot write a layer", e))?;
    let mut writer = kairn_image::compression::Compressor::new(out, compression);
    std::io::copy(&mut decompress(blob).map_err(failed)?, &mut writer).map_err(failed)?;
    let written = writer
        .finish()
        .map_err(failed)?
        .finish(None)
        .map_err(|e| Error::world("cannot put a layer into the store", e))?;
    Ok(Descriptor::new(media_type::oci_layer(compression), written.digest, written.size))
}
