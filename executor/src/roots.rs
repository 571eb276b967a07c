//! Root file systems as plain directories, for the rungs that cannot stack layers.
//!
//! A RUN gets a directory of its own. When it is over, the directory is what the next RUN of the stage starts from: it
//! is handed on where only one goes on from there, and copied for all but the last where more do. What lies between (a
//! COPY's layer) is put on top.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use kairn_compiler::graph::Input;
use kairn_compiler::{Graph, Op, StepId};
use kairn_image::Digest;

use crate::error::Error;
use crate::materialize::Materializer;
use crate::snapshot::apply::{apply, copy_directory};
use crate::snapshot::read::open_root;
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
            None => {
                let root = RootDirectory { work: store.work_dir()?, seen: Seen::default() };
                fs_err::create_dir(root.path())?;
                root
            }
            Some(Ok(own)) => own,
            Some(Err(shared)) => {
                let root = RootDirectory { work: store.work_dir()?, seen: Seen::default() };
                copy_directory(&shared.path(), &root.path())?;
                root
            }
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
        if root.seen.is_empty() || !snapshots.is_empty() {
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
