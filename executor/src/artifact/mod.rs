//! Files of stages to the machine: where the stage was reached, and as a failed command left them.

mod write;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use kairn_compiler::graph::Artifact;
use kairn_compiler::{Graph, StepId};

use crate::copy::View;
use crate::error::{Error, chain};
use crate::events::{EventKind, Events};
use crate::materialize::Materializer;
use crate::run::{Outcome, Runner};
use crate::snapshot::read::{Reading, Verdict, open_root, scan};
use crate::state::State;
use crate::tree::{LastComponent, StackedTree};

/// What was copied out of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenArtifact {
    /// The stage, for people.
    pub stage: String,
    /// File or directory in the stage.
    pub path: String,
    /// What it became on this machine.
    pub dest: PathBuf,
    /// Number of files, directories left out.
    pub files: usize,
    /// Bytes of their contents.
    pub size_bytes: u64,
}

/// What has been copied so far.
#[derive(Debug, Default)]
pub struct Artifacts {
    /// By the place among the graph's.
    written: Mutex<BTreeMap<usize, WrittenArtifact>>,
}

impl Artifacts {
    /// All that was copied, in the order of the graph's.
    pub fn written(&self) -> Vec<WrittenArtifact> {
        self.written.lock().expect("no holder of this lock panics").values().cloned().collect()
    }

    /// Copies the artifacts of all stages that were reached, and gives what is wrong with the others.
    ///
    /// # Errors
    /// [`Error::Lost`], where a layer cannot be had.
    pub fn collect(
        &self,
        graph: &Graph,
        outcomes: &BTreeMap<StepId, Outcome>,
        layers: &Materializer,
        events: &Events,
    ) -> Result<Vec<Error>, Error> {
        let mut wrong = Vec::new();
        for (at, artifact) in graph.artifacts.iter().enumerate() {
            let Some(Outcome::State(state)) = outcomes.get(&artifact.step) else { continue };
            match of_state(artifact, state, layers, events) {
                Ok(Some(written)) => self.note(at, artifact.step, written, events),
                Ok(None) => wrong.push(missing(artifact)),
                Err(lost @ Error::Lost { .. }) => return Err(lost),
                Err(error) => wrong.push(error.at(artifact.step)),
            }
        }
        Ok(wrong)
    }

    fn note(&self, at: usize, step: StepId, written: WrittenArtifact, events: &Events) {
        events.step(step, EventKind::Artifact(written.clone()));
        self.written.lock().expect("no holder of this lock panics").insert(at, written);
    }
}

impl Runner<'_> {
    /// Copies what a failed step has left of the artifacts of its stages. The failure is what counts: nothing else fails.
    pub(crate) fn salvage(&self, step: StepId, view: &dyn Fn() -> Result<View, Error>) {
        let of_step = |artifact: &Artifact| self.graph.layers_of(artifact.step).contains(&step);
        let wanted: Vec<(usize, &Artifact)> =
            self.graph.artifacts.iter().enumerate().filter(|(_, artifact)| of_step(artifact)).collect();
        if wanted.is_empty() {
            return;
        }
        let warn = |text: String| self.events.step(step, EventKind::Warning(text));
        let view = match view() {
            Ok(view) => view,
            Err(error) => return warn(format!("what the command left cannot be read: {}", chain(&error))),
        };
        let root = |layer: usize| Ok(Arc::clone(&view.roots[layer]));
        for (at, artifact) in wanted {
            match copy_out(artifact, &Source { tree: &view.tree, root: &root }, self.events) {
                Ok(Some(written)) => self.artifacts.note(at, step, written, self.events),
                Ok(None) => warn(missing(artifact).to_string()),
                Err(error) => warn(chain(&error)),
            }
        }
    }
}

/// The files of a state under what a command wrote into an overlay's upper directory.
pub(crate) fn of_upper(mut view: View, upper: &Path) -> Result<View, Error> {
    let changes = scan(upper, Reading::OverlayUpper, &|_, _| Verdict::Keep)?;
    view.tree.layers.push(Arc::new(changes.tree));
    view.roots.push(Arc::new(open_root(upper)?));
    Ok(view)
}

/// The files of a directory that is a root file system.
pub(crate) fn of_directory(path: &Path) -> Result<View, Error> {
    let files = scan(path, Reading::Root, &|_, _| Verdict::Keep)?;
    let tree = StackedTree { layers: vec![Arc::new(files.tree)] };
    Ok(View { tree, roots: vec![Arc::new(open_root(path)?)] })
}

/// Names, and where the contents are of those of each layer.
struct Source<'a> {
    tree: &'a StackedTree,
    root: &'a dyn Fn(usize) -> Result<Arc<OwnedFd>, Error>,
}

/// Copies an artifact of a state, of which only the layers are fetched that have files of it.
fn of_state(
    artifact: &Artifact,
    state: &State,
    layers: &Materializer,
    events: &Events,
) -> Result<Option<WrittenArtifact>, Error> {
    let tree = layers.tree(state)?;
    let opened: Mutex<BTreeMap<usize, Arc<OwnedFd>>> = Mutex::default();
    let root = |layer: usize| {
        let mut opened = opened.lock().expect("no holder of this lock panics");
        if let Some(root) = opened.get(&layer) {
            return Ok(Arc::clone(root));
        }
        let root = Arc::new(open_root(&layers.snapshot_of(state, layer)?)?);
        opened.insert(layer, Arc::clone(&root));
        Ok(root)
    };
    copy_out(artifact, &Source { tree: &tree, root: &root }, events)
}

/// Copies an artifact to its place; nothing, where it is not there.
fn copy_out(
    artifact: &Artifact,
    source: &Source<'_>,
    events: &Events,
) -> Result<Option<WrittenArtifact>, Error> {
    let path = source.tree.resolve(artifact.path.as_bytes(), LastComponent::Follow)?;
    if !path.is_empty() && source.tree.lookup(&path).is_none() {
        return Ok(None);
    }
    let copied = write::write(source, &path, artifact)?;
    if let Some(first) = copied.left_out.first() {
        let more = copied.left_out.len() - 1;
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        let text = format!("left out of the artifact `{}`: {first}{more}", artifact.path);
        events.step(artifact.step, EventKind::Notice(text));
    }
    Ok(Some(WrittenArtifact {
        stage: artifact.stage.clone(),
        path: artifact.path.clone(),
        dest: copied.dest,
        files: copied.files,
        size_bytes: copied.size_bytes,
    }))
}

fn missing(artifact: &Artifact) -> Error {
    let message = format!("the stage `{}` has no `{}` to copy out", artifact.stage, artifact.path);
    Error::user(message).at(artifact.step)
}
