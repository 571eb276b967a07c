//! Root file systems as plain directories, for the rungs that cannot stack layers.
//!
//! A RUN gets a directory of its own. When it is over, the directory is what the next RUN of the stage starts from: it
//! is handed on where only one goes on from there, and copied for all but the last where more do. What lies between (a
//! COPY's layer) is put on top.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use kairn_compiler::graph::Input;
use kairn_compiler::{Graph, Op, StepId};
use kairn_image::Digest;

use crate::error::Error;
use crate::materialize::Materializer;
use crate::snapshot::apply::apply;
use crate::snapshot::read::{Reading, Verdict, open_root, scan};
use crate::snapshot::walk::{Seen, walk};
use crate::state::State;
use crate::store::{Store, WorkDir};

/// A root file system in a directory of its own.
#[derive(Debug)]
pub struct RootDirectory {
    work: WorkDir,
    /// What stood there when it was last looked at.
    pub seen: Seen,
}

impl RootDirectory {
    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.work.path().join("root")
    }

    fn make(store: &Store) -> Result<Self, Error> {
        let root = Self { work: store.work_dir()?, seen: Seen::default() };
        fs_err::create_dir(root.path())?;
        Ok(root)
    }
}

/// The directories that wait for their next RUN.
#[derive(Debug)]
pub struct Roots {
    waiting: Mutex<BTreeMap<Digest, Waiting>>,
    /// How many RUNs go on from what a step gives.
    takers: BTreeMap<StepId, usize>,
}

#[derive(Debug)]
struct Waiting {
    root: Arc<RootDirectory>,
    takers: usize,
}

impl Roots {
    /// Makes one for a graph.
    pub fn new(graph: &Graph) -> Self {
        let mut takers: BTreeMap<StepId, usize> = BTreeMap::new();
        for step in graph.topological().into_iter().rev() {
            let below = if matches!(graph.op(step), Op::Run(_)) {
                1
            } else {
                takers.get(&step).copied().unwrap_or(0)
            };
            for (input, above) in graph.inputs(step) {
                if input == Input::Root {
                    *takers.entry(above).or_default() += below;
                }
            }
        }
        Self { waiting: Mutex::default(), takers }
    }

    /// Gives a directory that holds a state and belongs to the caller.
    ///
    /// # Errors
    /// Fails where layers cannot be had, or the disk fails.
    pub fn take(&self, state: &State, layers: &Materializer, store: &Store) -> Result<RootDirectory, Error> {
        let (count, found) = self.nearest(state);
        let mut root = match found.map(Arc::try_unwrap) {
            None => RootDirectory::make(store)?,
            Some(Ok(own)) => own,
            Some(Err(shared)) => copy(&shared, store)?,
        };
        let path = root.path();
        let snapshots = layers.snapshots_from(state, count)?;
        let tree = layers.tree(state)?;
        if !snapshots.is_empty() {
            let handle = open_root(&path)?;
            for (tree, snapshot) in tree.layers[count..].iter().zip(&snapshots) {
                apply(tree, open_root(snapshot)?.as_fd(), handle.as_fd())?;
            }
        }
        if !snapshots.is_empty() || count == 0 {
            root.seen = walk(&path)?;
        }
        Ok(root)
    }

    /// Keeps the directory of the state that a step gave, if another RUN goes on from there.
    pub fn keep(&self, step: StepId, state: &State, root: RootDirectory) {
        let takers = self.takers.get(&step).copied().unwrap_or(0);
        if let Some(chain_id) = state.chain_id().filter(|_| takers > 0) {
            let waiting = Waiting { root: Arc::new(root), takers };
            self.waiting.lock().expect("no holder of this lock panics").insert(*chain_id, waiting);
        }
    }

    /// The directory that holds the most of a state's layers, and how many those are.
    fn nearest(&self, state: &State) -> (usize, Option<Arc<RootDirectory>>) {
        let mut all = self.waiting.lock().expect("no holder of this lock panics");
        for (at, layer) in state.layers.iter().enumerate().rev() {
            let Some(waiting) = all.get_mut(&layer.chain_id) else { continue };
            waiting.takers -= 1;
            let root = if waiting.takers == 0 {
                all.remove(&layer.chain_id).map(|waiting| waiting.root)
            } else {
                Some(Arc::clone(&waiting.root))
            };
            return (at + 1, root);
        }
        (0, None)
    }
}

/// Copies a directory that others go on from as well.
fn copy(from: &RootDirectory, store: &Store) -> Result<RootDirectory, Error> {
    let mut root = RootDirectory::make(store)?;
    let path = from.path();
    let all = scan(&path, Reading::Root, &|_, _| Verdict::Keep)?;
    let (from, to) = (open_root(&path)?, open_root(&root.path())?);
    apply(&all.tree, from.as_fd(), to.as_fd())?;
    copy_attributes(&path, &root.path())?;
    root.seen = walk(&root.path())?;
    Ok(root)
}

/// Gives a directory the owner and mode of another.
fn copy_attributes(from: &Path, to: &Path) -> Result<(), Error> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = fs_err::metadata(from)?;
    fs_err::os::unix::fs::chown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    fs_err::set_permissions(to, metadata.permissions())?;
    Ok(())
}
