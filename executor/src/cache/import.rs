//! Reading shared caches: entries by key, layers on demand.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kairn_image::backend::Backend;
use kairn_image::{Descriptor, Digest};

use super::deadline::{for_bytes, within};
use super::index::{CacheIndex, Entry, MountEntry};
use crate::error::chain;
use crate::events::{EventKind, Events};
use crate::store::Store;

/// How long the list of what a cache has is waited for.
const LIST_LIMIT: Duration = Duration::from_secs(20);

/// Blobs that a cache may fail to give before it is left alone.
const FAILURES: u32 = 3;

/// The shared caches that a build reads, in the order in which they are asked.
#[derive(Debug, Default)]
pub struct Remotes {
    sources: Vec<Arc<Source>>,
    events: Option<Events>,
}

/// One shared cache.
#[derive(Debug)]
pub struct Source {
    backend: Arc<dyn Backend>,
    list: Mutex<Option<Arc<CacheIndex>>>,
    is_broken: AtomicBool,
    failures: AtomicU32,
}

/// An entry, and the cache that has it.
#[derive(Clone, Debug)]
pub struct Found {
    /// What the step gave, and where its layer is.
    pub entry: Entry,
    /// The cache.
    pub source: Arc<Source>,
}

impl Remotes {
    /// Makes the list of caches to read.
    pub fn new(backends: Vec<Arc<dyn Backend>>, events: Events) -> Self {
        Self {
            sources: backends.into_iter().map(|b| Arc::new(Source::new(b))).collect(),
            events: Some(events),
        }
    }

    /// Finds what a step gave; the first cache with its layer counts, then the first that knows the result.
    pub fn find(&self, key: &Digest) -> Option<Found> {
        let found = |source: &Arc<Source>| {
            let entry = self.list(source).entries.get(key).cloned()?;
            Some(Found { entry, source: Arc::clone(source) })
        };
        let mut all = self.sources.iter().filter_map(found);
        let first = all.next()?;
        if first.entry.stored.is_some() {
            return Some(first);
        }
        Some(all.find(|found| found.entry.stored.is_some()).unwrap_or(first))
    }

    /// The entries of all caches, for whoever looks for something like a step.
    pub fn lists(&self) -> Vec<(String, Arc<CacheIndex>)> {
        self.sources.iter().map(|source| (source.name(), self.list(source))).collect()
    }

    /// The newest content of a cache mount.
    pub fn mount(&self, name: &str) -> Option<(MountEntry, Arc<Source>)> {
        let found =
            |source: &Arc<Source>| Some((self.list(source).mounts.get(name).cloned()?, Arc::clone(source)));
        self.sources.iter().filter_map(found).max_by_key(|(mount, _)| mount.made_ms)
    }

    /// The cache of a name.
    pub fn source(&self, name: &str) -> Option<&Arc<Source>> {
        self.sources.iter().find(|source| source.name() == name)
    }

    /// What a cache has; nothing where it cannot be read, which is said once. Read when it is first wanted.
    fn list(&self, source: &Source) -> Arc<CacheIndex> {
        let mut list = source.list.lock().expect("no holder of this lock panics");
        if source.is_broken.load(Ordering::Relaxed) {
            return Arc::default();
        }
        if let Some(list) = &*list {
            return Arc::clone(list);
        }
        self.tell(EventKind::Transfer(format!("reading the cache {}", source.name())));
        let read = source.read(&|kind| self.tell(kind));
        *list = Some(Arc::clone(&read));
        read
    }

    fn tell(&self, kind: EventKind) {
        if let Some(events) = &self.events {
            events.build(kind);
        }
    }

    /// Fetches a small blob from whoever has it.
    pub fn fetch_any(&self, blob: &Descriptor, store: &Store) -> Option<()> {
        self.sources.iter().find_map(|source| {
            let is_well = !source.is_broken.load(Ordering::Relaxed);
            let (backend, wanted, layout) =
                (Arc::clone(&source.backend), blob.clone(), Arc::clone(store.layout()));
            let fetch = move || backend.fetch_blob(&wanted, &layout).ok();
            is_well.then(|| within(for_bytes(blob.size), fetch)).flatten().flatten()
        })
    }

    /// Fetches a blob into the store. A cache that failed several times is asked no more.
    ///
    /// # Errors
    /// Says why it could not be had.
    pub fn fetch(&self, source: &Source, blob: &Descriptor, store: &Arc<Store>) -> Result<(), String> {
        if source.is_broken.load(Ordering::Relaxed) {
            return Err(format!("the cache `{}` is not asked any more", source.name()));
        }
        let (backend, wanted, into) = (Arc::clone(&source.backend), blob.clone(), Arc::clone(store));
        let limit = for_bytes(blob.size);
        let result = within(limit, move || backend.fetch_blob(&wanted, into.layout()));
        let problem = match result {
            Some(Ok(())) => return Ok(()),
            Some(Err(error)) => chain(&error),
            None => format!("it took more than {} s", limit.as_secs()),
        };
        if source.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES {
            source.is_broken.store(true, Ordering::Relaxed);
            let text = format!("the cache `{}` is not asked any more: {problem}", source.name());
            self.tell(EventKind::Warning(text));
        }
        Err(problem)
    }
}

impl Source {
    fn new(backend: Arc<dyn Backend>) -> Self {
        Self {
            backend,
            list: Mutex::default(),
            is_broken: AtomicBool::new(false),
            failures: AtomicU32::new(0),
        }
    }

    /// What the cache is called.
    pub fn name(&self) -> String {
        self.backend.name()
    }

    /// The repository that has the cache's blobs, where one does.
    pub fn repository(&self) -> Option<String> {
        self.backend.repository()
    }

    fn read(&self, tell: &dyn Fn(EventKind)) -> Arc<CacheIndex> {
        let backend = Arc::clone(&self.backend);
        let name = self.name();
        let problem = match within(LIST_LIMIT, move || backend.load()) {
            Some(Ok(documents)) => {
                let (index, problems) = join(&documents);
                if let Some(problem) = problems.first() {
                    tell(EventKind::Warning(format!("the cache `{name}`: {problem}")));
                } else if index.entries.is_empty() {
                    tell(EventKind::Notice(format!("the cache `{name}` is empty, or not there yet")));
                }
                return Arc::new(index);
            }
            Some(Err(error)) => chain(&error),
            None => format!("it took more than {} s", LIST_LIMIT.as_secs()),
        };
        self.is_broken.store(true, Ordering::Relaxed);
        tell(EventKind::Warning(format!("building without the cache `{name}`: {problem}")));
        Arc::default()
    }
}

/// Joins documents; what is wrong with some of them does not count for the others.
pub(super) fn join(documents: &[Vec<u8>]) -> (CacheIndex, Vec<String>) {
    let mut all = CacheIndex::default();
    let mut problems = BTreeSet::new();
    for document in documents {
        match CacheIndex::parse(document) {
            Ok((index, wrong)) => {
                if wrong > 0 {
                    problems.insert(format!("{wrong} of its entries cannot be right, and do not count"));
                }
                all.merge(index);
            }
            Err(problem) => drop(problems.insert(format!("a list of it cannot be read: {problem}"))),
        }
    }
    (all, problems.into_iter().collect())
}
