//! What each op does: from its inputs' states to its own, by the store or by work.

mod command;
mod copy;
mod mounts;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use kairn_compiler::graph::{ContextOp, Input, WorkdirOp};
use kairn_compiler::key::{KeyParts, key_parts};
use kairn_compiler::{Graph, Op, StepId};

use crate::BUILD_TIME;
use crate::build::Settings;
use crate::context::Context;
use crate::copy::plan::Planner;
use crate::error::Error;
use crate::events::{Completion, EventKind, Events};
use crate::fetch::{self, git, http};
use crate::materialize::Materializer;
use crate::roots::Roots;
use crate::sandbox::Cancel;
use crate::snapshot::unpack::Unpack;
use crate::snapshot::write::write_layer;
use crate::state::{NewLayer, State};
use crate::store::{StepRecord, Store, WorkDir};
use crate::tree::LayerTree;
use crate::users::{self, Owner};

/// What a step gave.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A file-system state.
    State(Arc<State>),
    /// The files of a local context.
    Context(Arc<Context>),
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
}

impl Runner<'_> {
    /// Runs one step, whose inputs have been run.
    ///
    /// # Errors
    /// Fails as the step does.
    pub fn step(&self, step: StepId) -> Result<(), Error> {
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let outcome = self.outcome(step).map_err(|error| error.at(step));
        if outcome.is_err() {
            self.events.step(step, EventKind::Failed);
        }
        self.outcomes.lock().expect("no holder of this lock panics").insert(step, outcome?);
        Ok(())
    }

    fn store(&self) -> &Store {
        &self.settings.store
    }

    fn outcome(&self, step: StepId) -> Result<Outcome, Error> {
        let state = match self.graph.op(step) {
            Op::Scratch => State::scratch(),
            Op::Image(op) => {
                let blobs = self.settings.puller.layers(&op.manifest_digest)?;
                State::image(&op.diff_ids, &blobs, &op.reference)
            }
            Op::Context(ContextOp { name }) => {
                let context = self.settings.contexts.get(name);
                let context =
                    context.ok_or_else(|| Error::user(format!("there is no build context `{name}`")))?;
                return Ok(Outcome::Context(Arc::clone(context)));
            }
            Op::Http(op) => {
                let client = self.settings.puller.client();
                let context = http::fetch(op, client, &self.settings.grants, self.store())?;
                return Ok(Outcome::Context(Arc::new(context)));
            }
            Op::Git(op) => {
                return Ok(Outcome::Context(Arc::new(git::fetch(op, &self.settings.grants, self.store())?)));
            }
            Op::Inline(op) => return Ok(Outcome::Context(Arc::new(fetch::inline(op, self.store())?))),
            Op::Run(op) => self.run(step, op)?,
            Op::Copy(op) => self.copy(step, op)?,
            Op::Workdir(op) => self.workdir(step, op)?,
            Op::Link => self.link(step)?,
        };
        Ok(Outcome::State(Arc::new(state)))
    }

    fn input(&self, step: StepId, wanted: Input) -> Outcome {
        let id = self.graph.inputs(step).into_iter().find_map(|(input, id)| (input == wanted).then_some(id));
        let id = id.expect("the compiler gives every step its inputs");
        self.outcomes.lock().expect("no holder of this lock panics")[&id].clone()
    }

    fn root(&self, step: StepId) -> Arc<State> {
        match self.input(step, Input::Root) {
            Outcome::State(state) => state,
            Outcome::Context(_) => unreachable!("a context is never a root file system"),
        }
    }

    /// Gives the recorded result of a key, or does the work and records it.
    fn cached(
        &self,
        step: StepId,
        parent: &State,
        parts: KeyParts,
        work: impl FnOnce() -> Result<Made, Error>,
    ) -> Result<State, Error> {
        let key = parts.key().0;
        let found = |store: &Store| if self.settings.no_cache { None } else { store.record(&key) };
        let hit = |record: StepRecord| {
            self.events.step(step, EventKind::Finished(Completion::Cached));
            parent.with_layer(record.into_layer())
        };
        if let Some(record) = found(self.store()) {
            return Ok(hit(record));
        }
        let _lock = self.store().lock(&format!("step-{}", key.hex()))?;
        if let Some(record) = found(self.store()) {
            return Ok(hit(record));
        }
        let started = Instant::now();
        self.events.step(step, EventKind::Started);
        let Made { layer, tree, snapshot } = work()?;
        let state = parent.with_layer(layer.clone());
        let chain_id = *state.chain_id().expect("a state with a layer has a chain id");
        self.layers.put_tree(&chain_id, tree)?;
        if let Some((unpacked, _work)) = snapshot {
            self.store().put_snapshot(Unpack::Snapshot, &chain_id, &unpacked)?;
        }
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.store().put_record(&key, &StepRecord::new(parts, layer, duration_ms))?;
        self.events.step(step, EventKind::Finished(Completion::Done));
        Ok(state)
    }

    fn workdir(&self, step: StepId, op: &WorkdirOp) -> Result<State, Error> {
        let parent = self.root(step);
        let parts = key_parts(self.graph.op(step), &[(Input::Root, parent.content)]);
        self.cached(step, &parent, parts, || {
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
    fn link(&self, step: StepId) -> Result<State, Error> {
        let parent = self.root(step);
        let Outcome::State(source) = self.input(step, Input::Source(0)) else {
            unreachable!("what is linked is a layer")
        };
        let inputs = [(Input::Root, parent.content), (Input::Source(0), source.content)];
        self.cached(step, &parent, key_parts(self.graph.op(step), &inputs), || {
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

/// What a step's work made.
struct Made {
    layer: NewLayer,
    tree: LayerTree,
    /// The layer already unpacked, in the work folder that must outlive its move into the store.
    snapshot: Option<(PathBuf, WorkDir)>,
}
