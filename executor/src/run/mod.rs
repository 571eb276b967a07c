//! What each op does: from its inputs' states to its own, by the store or by work.

mod attempts;
mod cached;
mod command;
mod copy;
pub mod ledger;
mod mounts;
mod secrets;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use kairn_compiler::graph::{ContextOp, Input, WorkdirOp};
use kairn_compiler::key::key_parts;
use kairn_compiler::{Graph, Op, StepId};
use kairn_image::Digest;

use self::cached::Made;
use self::ledger::{Ledger, Line};
use crate::BUILD_TIME;
use crate::artifact::Artifacts;
use crate::build::Settings;
use crate::cache::Exporter;
use crate::cache::mounts::UsedMounts;
use crate::context::Context;
use crate::copy::plan::Planner;
use crate::error::Error;
use crate::events::{EventKind, Events};
use crate::explain::Explainer;
use crate::explain::lists::FileList;
use crate::fetch::{self, git, http};
use crate::materialize::Materializer;
use crate::roots::Roots;
use crate::sandbox::Cancel;
use crate::schedule::Looked;
use crate::snapshot::write::write_layer;
use crate::state::{NewLayer, State};
use crate::store::{Store, Verdict};
use crate::tree::LayerTree;
use crate::users::{self, Owner};

/// What a step gave.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A file-system state.
    State(Arc<State>),
    /// The files of a local context.
    Context(Arc<Context>),
    /// Not known before other steps have worked, where one only looks.
    Open,
}

impl Outcome {
    fn state(state: State) -> Self {
        Self::State(Arc::new(state))
    }
}

/// What steps are run for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// To do their work.
    #[default]
    Work,
    /// To find out whether they would have to.
    Look,
}

/// Runs steps.
#[derive(Debug)]
pub struct Runner<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// The build's settings.
    pub settings: &'a Settings,
    /// Where events go.
    pub events: &'a Events,
    /// Stops RUNs.
    pub cancel: &'a Cancel,
    /// Names and files of states.
    pub layers: &'a Materializer,
    /// Root file systems of RUNs that cannot stack layers.
    pub roots: Roots,
    /// What the finished steps gave.
    pub outcomes: Mutex<BTreeMap<StepId, Outcome>>,
    /// What the steps are run for.
    pub purpose: Purpose,
    /// Steps that failed when the build was begun before.
    pub failed: &'a BTreeSet<StepId>,
    /// Keys whose results must not be taken, and why.
    pub excluded: &'a BTreeMap<Digest, String>,
    /// The steps whose layers are layers of images.
    pub of_images: &'a BTreeSet<StepId>,
    /// Says why steps work.
    pub explainer: &'a Explainer<'a>,
    /// What became of the steps.
    pub ledger: &'a Ledger,
    /// Writes shared caches.
    pub exporter: Option<&'a Exporter>,
    /// The cache mounts that RUNs had.
    pub used_mounts: &'a UsedMounts,
    /// What was copied out of stages.
    pub artifacts: &'a Artifacts,
}

impl Runner<'_> {
    /// Looks at one step, whose inputs have been run, and runs it unless it is a command.
    ///
    /// # Errors
    /// Fails as the step does.
    pub fn step(&self, step: StepId) -> Result<Looked<'_, ()>, Error> {
        if self.cancel.is_cancelled() || self.failed.contains(&step) {
            return Err(Error::Cancelled);
        }
        match self.tried(step, |_| self.outcome(step)) {
            Ok(Looked::Work(work)) => Ok(Looked::Work(Box::new(move || {
                let stopped = self.cancel.is_cancelled().then_some(Err(Error::Cancelled));
                self.close(step, stopped.unwrap_or_else(work))
            }))),
            Ok(Looked::Done(outcome)) => self.close(step, Ok(outcome)).map(Looked::Done),
            Err(error) => self.close(step, Err(error)).map(Looked::Done),
        }
    }

    /// Keeps what a step came to.
    fn close(&self, step: StepId, outcome: Result<Outcome, Error>) -> Result<(), Error> {
        let outcome = outcome.map_err(|error| error.at(step));
        match &outcome {
            Ok(_) | Err(Error::Lost { .. }) => {}
            Err(error) => {
                self.ledger.fail(step, matches!(error, Error::Cancelled));
                let is_stopped = matches!(error, Error::Cancelled);
                let kind = if is_stopped { EventKind::Stopped } else { EventKind::Failed };
                self.events.step(step, kind);
            }
        }
        self.outcomes.lock().expect("no holder of this lock panics").insert(step, outcome?);
        Ok(())
    }

    fn store(&self) -> &Store {
        &self.settings.store
    }

    fn outcome(&self, step: StepId) -> Result<Looked<'_, Outcome>, Error> {
        let is_open = |(_, id): &(Input, StepId)| {
            matches!(self.outcomes.lock().expect("no holder of this lock panics")[id], Outcome::Open)
        };
        if self.purpose == Purpose::Look && self.graph.inputs(step).iter().any(is_open) {
            self.ledger.note(step, Line::new(Verdict::Open));
            return Ok(Looked::Done(Outcome::Open));
        }
        self.ledger_of_source(step);
        let outcome = match self.graph.op(step) {
            Op::Scratch => Outcome::state(State::scratch()),
            Op::Image(op) => {
                let blobs = self.settings.puller.layers(&op.manifest_digest)?;
                Outcome::state(State::image(&op.diff_ids, &blobs, &op.reference))
            }
            Op::Context(ContextOp { name }) => {
                let context = self.settings.contexts.get(name);
                let context =
                    context.ok_or_else(|| Error::user(format!("there is no build context `{name}`")))?;
                Outcome::Context(Arc::clone(context))
            }
            Op::Http(op) => {
                let client = self.settings.puller.client();
                let offline = self.settings.puller.is_offline();
                let context = http::fetch(op, client, &self.settings.grants, self.store(), offline)?;
                Outcome::Context(Arc::new(context))
            }
            Op::Git(op) => {
                let offline = self.settings.puller.is_offline();
                let context = git::fetch(op, &self.settings.grants, self.store(), offline)?;
                Outcome::Context(Arc::new(context))
            }
            Op::Inline(op) => Outcome::Context(Arc::new(fetch::inline(op, self.store())?)),
            Op::Run(op) => return self.run(step, op),
            Op::Copy(op) => self.copy(step, op)?,
            Op::Workdir(op) => self.workdir(step, op)?,
            Op::Link => self.link(step)?,
        };
        Ok(Looked::Done(outcome))
    }

    /// Notes that a step is read and not made, if it is.
    fn ledger_of_source(&self, step: StepId) {
        match self.graph.op(step) {
            Op::Scratch | Op::Image(_) | Op::Context(_) | Op::Http(_) | Op::Git(_) | Op::Inline(_) => {
                self.ledger.note(step, Line::new(Verdict::Source));
            }
            Op::Run(_) | Op::Copy(_) | Op::Workdir(_) | Op::Link => {}
        }
    }

    fn input(&self, step: StepId, wanted: Input) -> Outcome {
        let id = self.graph.inputs(step).into_iter().find_map(|(input, id)| (input == wanted).then_some(id));
        let id = id.expect("the compiler gives every step its inputs");
        self.outcomes.lock().expect("no holder of this lock panics")[&id].clone()
    }

    fn root(&self, step: StepId) -> Arc<State> {
        match self.input(step, Input::Root) {
            Outcome::State(state) => state,
            Outcome::Context(_) | Outcome::Open => {
                unreachable!("a root file system is a state, and a step whose inputs are open is not run")
            }
        }
    }

    fn workdir(&self, step: StepId, op: &WorkdirOp) -> Result<Outcome, Error> {
        let parent = self.root(step);
        let parts = key_parts(self.graph.op(step), &[(Input::Root, parent.content)]);
        self.cached(step, &parent, parts, None, &no_files, || {
            let tree = self.layers.tree(&parent)?;
            let owner = if op.user.is_empty() || op.user == "root" {
                Owner { uid: 0, gid: 0 }
            } else {
                let passwd = self.layers.read_file(&parent, "etc/passwd")?;
                let group = self.layers.read_file(&parent, "etc/group")?;
                users::resolve_user(&op.user, &passwd, &group).map_err(|e| Error::user(e.to_string()))?.owner
            };
            let mut planner = Planner::for_directories(&tree, owner);
            planner.directory(op.path.as_bytes())?;
            let mut plan = planner.finish();
            let layer =
                write_layer(&mut plan.tree, self.store(), &mut |_, _| Ok(Box::new(std::io::empty())))?;
            Ok(Made { layer, tree: plan.tree, snapshot: None })
        })
    }

    /// Puts the layer of another state onto the root as it is.
    fn link(&self, step: StepId) -> Result<Outcome, Error> {
        let parent = self.root(step);
        let Outcome::State(source) = self.input(step, Input::Source(0)) else {
            unreachable!("what is linked is a layer")
        };
        let inputs = [(Input::Root, parent.content), (Input::Source(0), source.content)];
        self.cached(step, &parent, key_parts(self.graph.op(step), &inputs), None, &no_files, || {
            let tree = self.layers.tree(&source)?;
            let (Some(layer), Some(tree)) = (source.layers.last(), tree.layers.last()) else {
                unreachable!("a copy has made a layer")
            };
            let layer = NewLayer {
                diff_id: layer.diff_id,
                descriptor: layer.descriptor.clone(),
                content: tree.content_digest(),
                newest_mtime: layer.newest_mtime.unwrap_or(BUILD_TIME.seconds),
            };
            Ok(Made { layer, tree: LayerTree::clone(tree), snapshot: None })
        })
    }
}

/// For steps that no files go into but those of their inputs' states.
#[expect(clippy::unnecessary_wraps, reason = "it stands where others can fail")]
fn no_files() -> Result<BTreeMap<String, FileList>, Error> {
    Ok(BTreeMap::new())
}
