//! Local build contexts: scanned once per build, files read only where a step takes them.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use rayon::prelude::*;

use crate::copy::View;
use crate::error::Error;
use crate::snapshot::read::{Filter, Reading, Verdict, open_file, open_root, scan_again};
use crate::snapshot::unpack::digest_of;
use crate::store::{ContextMemory, WorkDir};
use crate::tree::StackedTree;

/// Says of each name of a context (relative, with slashes) whether it is there.
pub type IgnoreFilter = Box<dyn Fn(&str, bool) -> Verdict + Send + Sync>;

/// A local build context.
pub struct Context {
    /// The directory.
    pub root: PathBuf,
    filter: Option<IgnoreFilter>,
    view: OnceLock<View>,
    /// Held by whoever scans.
    scanning: Mutex<()>,
    digests: Mutex<BTreeMap<Vec<u8>, [u8; 32]>>,
    /// What earlier builds read of it.
    memory: Option<ContextMemory>,
    /// Keeps the directory, if it was made for this build.
    _work: Option<WorkDir>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Context {
    /// Makes a context of a directory; nothing is read yet.
    pub fn new(root: PathBuf, filter: Option<IgnoreFilter>) -> Self {
        Self {
            root,
            filter,
            view: OnceLock::new(),
            scanning: Mutex::default(),
            digests: Mutex::default(),
            memory: None,
            _work: None,
        }
    }

    /// Has it remember what it reads, for later builds.
    #[must_use]
    pub fn with_memory(self, memory: ContextMemory) -> Self {
        Self { memory: Some(memory), ..self }
    }

    /// Makes a context of all files of a directory; `work` goes with it.
    pub fn of_directory(root: PathBuf, work: Option<WorkDir>) -> Self {
        Self { _work: work, ..Self::new(root, None) }
    }

    /// The context's names.
    ///
    /// # Errors
    /// Fails where a directory cannot be read.
    pub fn view(&self) -> Result<&View, Error> {
        if let Some(view) = self.view.get() {
            return Ok(view);
        }
        let _scanning = self.scanning.lock().expect("no holder of this lock panics");
        if let Some(view) = self.view.get() {
            return Ok(view);
        }
        let keep_all = |_: &str, _: bool| Verdict::Keep;
        let filter = self.filter.as_deref().map_or(&keep_all as Filter<'_>, |filter| filter);
        let remembered = |path: &[u8], stat: &_| self.memory.as_ref()?.recall(path, stat);
        if let Some(memory) = &self.memory {
            memory.begin();
        }
        let found = scan_again(&self.root, Reading::Plain, filter, &remembered, &mut |path, stat| {
            if let Some(memory) = &self.memory {
                memory.note(path, stat);
            }
        })?;
        let view = View {
            tree: StackedTree { layers: vec![Arc::new(found.tree)] },
            roots: vec![Arc::new(open_root(&self.root)?)],
        };
        Ok(self.view.get_or_init(|| view))
    }

    /// Keeps what was read, for later builds.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn remember(&self) -> Result<(), Error> {
        let (Some(memory), Some(view)) = (&self.memory, self.view.get()) else { return Ok(()) };
        memory.save(&view.tree.layers[0], &self.digests.lock().expect("no holder of this lock panics"))
    }

    /// Digests the contents of files that no earlier build has read, each once per build.
    ///
    /// # Errors
    /// Fails where a file cannot be read.
    pub fn digests(&self, files: Vec<Vec<u8>>) -> Result<BTreeMap<Vec<u8>, [u8; 32]>, Error> {
        let mut wanted = BTreeMap::new();
        let mut unread = Vec::new();
        let known = self.digests.lock().expect("no holder of this lock panics");
        for path in files {
            match known.get(&path) {
                Some(digest) => drop(wanted.insert(path, *digest)),
                None => unread.push(path),
            }
        }
        drop(known);
        let root = &self.view()?.roots[0];
        let fresh: BTreeMap<Vec<u8>, [u8; 32]> = unread
            .into_par_iter()
            .map(|path| {
                let mut file = open_file(root.as_fd(), &path)?;
                Ok((path, digest_of(&mut file, &mut std::io::sink())?))
            })
            .collect::<Result<_, Error>>()?;
        wanted.extend(fresh.iter().map(|(path, digest)| (path.clone(), *digest)));
        self.digests.lock().expect("no holder of this lock panics").extend(fresh);
        Ok(wanted)
    }

    /// Whether names of the directory may be left out of the context.
    pub fn is_filtered(&self) -> bool {
        self.filter.is_some()
    }

    /// Whether a path is on the disk, though perhaps not in the context.
    pub fn is_on_disk(&self, path: &str) -> bool {
        self.root.join(path).symlink_metadata().is_ok()
    }
}
