//! What each op does: from its inputs' states to its own, by the store or by work.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use kairn_compiler::graph::{Archives, ContextOp, CopyOp, Input, RunOp, WorkdirOp};
use kairn_compiler::key::{KeyParts, key_parts};
use kairn_compiler::{Graph, Op, StepId};
use kairn_image::Digest;
use kairn_image::compression::is_tar_archive;
use kairn_image::layer::Timestamp;

use crate::build::Settings;
use crate::context::Context;
use crate::copy::View;
use crate::copy::plan::{Content, LayerPlan, Planner};
use crate::copy::select::{self, Selected};
use crate::error::{CommandEnd, CommandFailure, Error, Named as _};
use crate::events::{Completion, EventKind, Events};
use crate::materialize::Materializer;
use crate::sandbox::{self, Cancel, Plan};
use crate::snapshot::capture::capture;
use crate::snapshot::read::{open_file, open_root};
use crate::snapshot::unpack::{self, Unpack};
use crate::snapshot::write::write_layer;
use crate::state::{NewLayer, State};
use crate::store::{StepRecord, Store, WorkDir};
use crate::tree::{LayerTree, Node, NodeKind};
use crate::users::{self, Owner};

/// How many lines of a failed command's output are kept.
const TAIL_LINES: usize = 30;

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
            Op::Run(op) => self.run(step, op)?,
            Op::Copy(op) => self.copy(step, op)?,
            Op::Workdir(op) => self.workdir(step, op)?,
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
            self.store().put_snapshot(&chain_id, &unpacked)?;
        }
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.store().put_record(&key, &StepRecord::new(parts, layer, duration_ms))?;
        self.events.step(step, EventKind::Finished(Completion::Done));
        Ok(state)
    }

    fn run(&self, step: StepId, op: &RunOp) -> Result<State, Error> {
        let parent = self.root(step);
        let parts = key_parts(self.graph.op(step), &[(Input::Root, parent.content)]);
        self.cached(step, &parent, parts, || self.execute(step, op, &parent))
    }

    fn execute(&self, step: StepId, op: &RunOp, parent: &State) -> Result<Made, Error> {
        if let Err(refused) = &self.settings.namespaces {
            return Err(Error::World {
                step: Some(step),
                message: format!("a RUN needs namespaces, and {refused}"),
                source: None,
                help: Some(refused.help.clone()),
            });
        }
        let work = self.store().work_dir()?;
        let mut lowers = self.layers.snapshots(parent)?;
        lowers.reverse();
        let upper = work.path().join("upper");
        let sandbox_work = work.path().join("sandbox");
        fs_err::create_dir(&upper)?;
        fs_err::create_dir(&sandbox_work)?;
        let root = prepare_upper(&upper, lowers.first())?;
        let plan = Plan {
            lowers,
            work: sandbox_work,
            upper: upper.clone(),
            args: op.args.clone(),
            env: op.env.iter().chain(&op.proxy_env).cloned().collect(),
            cwd: op.cwd.clone(),
            user: op.user.clone(),
            hostname: "buildkitsandbox".to_owned(),
            resolv_conf: self.settings.resolv_conf.clone(),
            hosts: self.settings.hosts.clone(),
        };
        let started = now_on_disk(&work)?;
        let mut tail = std::collections::VecDeque::new();
        let end = sandbox::run(&plan, &self.settings.program, self.cancel, &mut |line| {
            if tail.len() == TAIL_LINES {
                tail.pop_front();
            }
            tail.push_back(line.clone());
            self.events.step(step, EventKind::Output(line));
        })?;
        if end != CommandEnd::Exited(0) && is_disk_full(&work) {
            let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(Error::world(
                format!("the command failed ({end}), and its disk has no space left"),
                full,
            ));
        }
        if end != CommandEnd::Exited(0) {
            return Err(Error::Command { step, failure: CommandFailure { end, output_tail: tail.into() } });
        }
        let captured = capture(&upper, started, &root, &self.layers.tree(parent)?, self.store())?;
        for socket in &captured.sockets {
            let shown = socket.escape_ascii();
            self.events.step(
                step,
                EventKind::Notice(format!("the socket `/{shown}` cannot be in a layer: left out")),
            );
        }
        Ok(Made { layer: captured.layer, tree: captured.tree, snapshot: Some((upper, work)) })
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

    fn copy(&self, step: StepId, op: &CopyOp) -> Result<State, Error> {
        let parent = self.root(step);
        let parts = |source: Digest| {
            key_parts(self.graph.op(step), &[(Input::Root, parent.content), (Input::Source, source)])
        };
        let source_state = match self.input(step, Input::Source) {
            Outcome::Context(context) => {
                let (source, digest) = Source::context(op, &context)?;
                let parts = parts(digest);
                return self.cached(step, &parent, parts, || self.copy_files(step, op, &parent, &source));
            }
            Outcome::State(state) => state,
        };
        // The source's whole state is known without looking into it; where it changed, what is copied may not have.
        let whole = parts(source_state.content).key().0;
        if let Some(record) = self.store().record(&whole).filter(|_| !self.settings.no_cache) {
            self.events.step(step, EventKind::Finished(Completion::Cached));
            return Ok(parent.with_layer(record.into_layer()));
        }
        let tree = self.layers.tree(&source_state)?;
        let selected = select::select(&op.sources, &tree)?;
        let parts = parts(select::selection_digest(op, &selected, &tree, &|_| None));
        let selection = parts.key().0;
        let source = Source::State(source_state);
        let state = self.cached(step, &parent, parts, || self.copy_files(step, op, &parent, &source))?;
        if let Some(record) = self.store().record(&selection) {
            self.store().put_record(&whole, &record)?;
        }
        Ok(state)
    }

    fn copy_files(&self, step: StepId, op: &CopyOp, parent: &State, source: &Source) -> Result<Made, Error> {
        let (view, selected, digests) = match source {
            Source::Context { context, selected, digests } => {
                (context.view()?.clone(), selected.clone(), digests.clone())
            }
            Source::State(state) => {
                let view = self.layers.view(state)?;
                let selected = select::select(&op.sources, &view.tree)?;
                (view, selected, BTreeMap::new())
            }
        };
        let dest = self.layers.tree(parent)?;
        let owner = op.chown.as_deref().map(|chown| self.owner(step, chown, parent)).transpose()?;
        let work = self.store().work_dir()?;
        let mut planner = Planner::new(op, &dest, owner);
        for (index, item) in selected.iter().enumerate() {
            let archive = if op.archives == Archives::Unpack {
                unpack_archive(item, &view, &work.path().join(index.to_string()))?
            } else {
                None
            };
            match archive {
                Some((tree, root)) => planner.archive(&tree, &Arc::new(root), &op.dest)?,
                None => planner.copy(item, &view, &op.dest)?,
            }
        }
        let mut plan = planner.finish();
        if op.archives == Archives::Copy || plan.contents.values().all(|content| content.archive.is_none()) {
            fill_digests(&mut plan, &digests);
        }
        let LayerPlan { tree, contents } = &mut plan;
        let layer = write_layer(tree, self.store(), &mut |path, _| {
            open_content(&contents[path], &view).map(|file| Box::new(file) as Box<dyn std::io::Read>)
        })?;
        Ok(Made { layer, tree: plan.tree, snapshot: None })
    }

    /// Resolves `--chown`; as in BuildKit, an unknown name means root.
    fn owner(&self, step: StepId, chown: &str, parent: &State) -> Result<Owner, Error> {
        let (passwd, group) = if users::needs_names(chown) {
            (self.layers.read_file(parent, "etc/passwd")?, self.layers.read_file(parent, "etc/group")?)
        } else {
            (String::new(), String::new())
        };
        Ok(users::resolve_chown(chown, &passwd, &group).unwrap_or_else(|| {
            let text =
                format!("the image does not have `{chown}`: the files will belong to root, as with BuildKit");
            self.events.step(step, EventKind::Notice(text));
            Owner { uid: 0, gid: 0 }
        }))
    }
}

/// What a step's work made.
struct Made {
    layer: NewLayer,
    tree: LayerTree,
    /// The layer already unpacked, in the work folder that must outlive its move into the store.
    snapshot: Option<(PathBuf, WorkDir)>,
}

/// What a COPY reads from.
enum Source {
    Context { context: Arc<Context>, selected: Vec<Selected>, digests: BTreeMap<Vec<u8>, [u8; 32]> },
    State(Arc<State>),
}

impl Source {
    /// What a COPY takes of a context, and the digest of that.
    fn context(op: &CopyOp, context: &Arc<Context>) -> Result<(Self, Digest), Error> {
        let view = context.view()?;
        let selected =
            select::select(&op.sources, &view.tree).map_err(|error| explain_missing(error, op, context))?;
        let files: Vec<Vec<u8>> = select::files(&selected, &view.tree).into_keys().collect();
        let digests = context.digests(files)?;
        let digest = select::selection_digest(op, &selected, &view.tree, &|path| digests.get(path).copied());
        Ok((Self::Context { context: Arc::clone(context), selected, digests }, digest))
    }
}

/// Says whether a missing source is on the disk and only ignored.
fn explain_missing(error: Error, op: &CopyOp, context: &Context) -> Error {
    let ignored = op.sources.iter().any(|source| {
        context.is_on_disk(source) && {
            let path = source.trim_matches('/').as_bytes();
            context.view().is_ok_and(|view| !path.is_empty() && view.tree.lookup(path).is_none())
        }
    });
    error.with_help(if ignored {
        "it is in the build context, but .dockerignore leaves it out".to_owned()
    } else {
        format!("paths are relative to the build context, `{}`", context.root.display())
    })
}

/// Gives the upper directory the attributes of the root below it.
fn prepare_upper(upper: &std::path::Path, below: Option<&PathBuf>) -> Result<Node, Error> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let (mode, uid, gid) = match below {
        Some(below) => {
            let metadata = fs_err::metadata(below)?;
            (metadata.mode() & 0o7777, metadata.uid(), metadata.gid())
        }
        None => (0o755, 0, 0),
    };
    std::os::unix::fs::chown(upper, Some(uid), Some(gid)).named("set the owner of", upper)?;
    fs_err::set_permissions(upper, std::fs::Permissions::from_mode(mode))?;
    Ok(Node::directory(mode, uid, gid, crate::BUILD_TIME))
}

/// Whether the disk of the store has next to nothing left.
fn is_disk_full(work: &WorkDir) -> bool {
    rustix::fs::statvfs(work.path()).is_ok_and(|disk| disk.f_bavail * disk.f_frsize < 128 * 1024)
}

/// The file system's own idea of now, which is what it gives to files.
fn now_on_disk(work: &WorkDir) -> Result<Timestamp, Error> {
    use std::os::unix::fs::MetadataExt as _;
    let path = work.path().join("now");
    let metadata = fs_err::File::create(&path)?.metadata()?;
    Ok(Timestamp {
        seconds: metadata.mtime(),
        nanoseconds: u32::try_from(metadata.mtime_nsec()).unwrap_or_default(),
    })
}

fn open_content(content: &Content, view: &View) -> Result<std::fs::File, Error> {
    let root = content.archive.as_ref().unwrap_or(&view.roots[content.layer]);
    open_file(root.as_fd(), &content.path)
}

/// Unpacks what ADD was given, if it is an archive.
fn unpack_archive(
    item: &Selected,
    view: &View,
    into: &std::path::Path,
) -> Result<Option<(LayerTree, OwnedFd)>, Error> {
    let Some(found) = view.tree.lookup(&item.path) else { return Ok(None) };
    if !matches!(found.node.kind, NodeKind::File { .. } | NodeKind::Hardlink { .. }) {
        return Ok(None);
    }
    let unreadable = |e| Error::world(format!("cannot read `{}`", item.path.escape_ascii()), e);
    let root = &view.roots[found.layer];
    if !is_tar_archive(open_file(root.as_fd(), &item.path)?).map_err(unreadable)? {
        return Ok(None);
    }
    fs_err::create_dir(into)?;
    let file = open_file(root.as_fd(), &item.path)?;
    let tree = unpack::unpack(file, into, Unpack::Contents)?;
    Ok(Some((tree, open_root(into)?)))
}

/// Writes the digests that the key was made of into the plan, so that a file that changed since is noticed.
fn fill_digests(plan: &mut LayerPlan, digests: &BTreeMap<Vec<u8>, [u8; 32]>) {
    for (path, content) in &plan.contents {
        if let Some(NodeKind::File { content: digest, .. }) =
            plan.tree.nodes.get_mut(path).map(|node| &mut node.kind)
            && let Some(known) = digests.get(&content.path)
        {
            *digest = *known;
        }
    }
}
