//! RUN: a command in the sandbox, and a layer of what it changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kairn_compiler::StepId;
use kairn_compiler::graph::{Input, MountKind, Network, RunOp, Security};
use kairn_compiler::key::{KeyParts, key_parts};
use kairn_image::Digest;
use kairn_image::layer::Timestamp;

use super::attempts::Try;
use super::cached::{Look, Made};
use super::ledger::Line;
use super::mounts::Mounts;
use super::{Outcome, Purpose, Runner, secrets};
use crate::artifact::{of_directory, of_upper};
use crate::error::{CommandEnd, CommandFailure, Error, Named as _, host_path};
use crate::events::EventKind;
use crate::explain::lists::FileList;
use crate::owner::{self, Birth};
use crate::sandbox::{self, Ended, OneId, Plan, Root, Rung};
use crate::schedule::Looked;
use crate::snapshot::capture::{Captured, capture, capture_root, root_attributes};
use crate::snapshot::read::open_root;
use crate::state::State;
use crate::store::{Verdict, WorkDir};
use crate::tree::{Node, NodeKind, StackedTree, components, join, parent};
use crate::users::Owner;

/// How many lines of a failed command's output are kept.
const TAIL_LINES: usize = 30;

impl Runner<'_> {
    pub(super) fn run<'r>(&'r self, step: StepId, op: &'r RunOp) -> Result<Looked<'r, Outcome>, Error> {
        let parent = self.root(step);
        let mounted = self.mounted(step, op);
        let parts = |look_into_states: bool| -> Result<KeyParts, Error> {
            let mut inputs = vec![(Input::Root, parent.content)];
            for (input, source, outcome) in &mounted {
                inputs.push((*input, self.mounted_content(source, outcome, look_into_states)?));
            }
            let parts = key_parts(self.graph.op(step), &inputs);
            secrets::with_contents(parts, op, &self.settings.grants)
        };
        let whole = parts(false)?;
        let states = mounted.iter().filter_map(|(.., outcome)| match outcome {
            Outcome::State(state) => Some(state),
            Outcome::Context(_) | Outcome::Open => None,
        });
        let states: Vec<_> = states.collect();
        let (parts, whole) = if states.is_empty() {
            (whole, None)
        } else {
            // A mounted state is known as a whole without looking into it; where it changed, what is mounted may not have.
            let whole = whole.key().0;
            if let Some(outcome) = self.look_up(step, &parent, whole)? {
                return Ok(Looked::Done(outcome));
            }
            if self.purpose == Purpose::Look && !states.iter().all(|state| self.layers.has_tree(state)) {
                self.ledger.note(step, Line::new(Verdict::Open));
                return Ok(Looked::Done(Outcome::Open));
            }
            (parts(true)?, Some(whole))
        };
        let missing = match self.look(step, &parent, parts, whole)? {
            Look::Known(outcome) => return Ok(Looked::Done(outcome)),
            Look::Missing(missing) => missing,
        };
        let work = move || {
            let files = || mounted_lists(&mounted);
            self.make(missing, &files, || self.tried(step, |which| self.execute(step, op, &parent, which)))
        };
        match self.purpose {
            Purpose::Work => Ok(Looked::Work(Box::new(work))),
            Purpose::Look => work().map(Looked::Done),
        }
    }

    /// What a RUN mounts of other steps: the input, the place in it, and what the step gave.
    fn mounted<'o>(&self, step: StepId, op: &'o RunOp) -> Vec<(Input, &'o str, Outcome)> {
        let inputs = self.graph.inputs(step).into_iter();
        inputs
            .filter_map(|(input, _)| {
                let Input::Mount(number) = input else { return None };
                match &op.mounts[usize::from(number)].kind {
                    MountKind::Bind { source, .. } | MountKind::Cache { source, .. } => {
                        Some((input, source.as_str(), self.input(step, input)))
                    }
                    MountKind::Tmpfs { .. } | MountKind::Secret { .. } | MountKind::Ssh { .. } => None,
                }
            })
            .collect()
    }

    fn mounted_content(&self, source: &str, outcome: &Outcome, looks_into: bool) -> Result<Digest, Error> {
        match outcome {
            Outcome::Context(context) => super::mounts::content_of(context, source),
            Outcome::State(state) if looks_into => {
                super::mounts::content_of_tree(&self.layers.tree(state)?, source)
            }
            Outcome::State(state) => Ok(state.content),
            Outcome::Open => unreachable!("a step whose inputs are open is not run"),
        }
    }

    fn execute(&self, step: StepId, op: &RunOp, parent: &State, which: Try) -> Result<Made, Error> {
        self.check_rights(op)?;
        match self.settings.rung {
            Rung::Userns | Rung::UsernsSingle => self.execute_stacked(step, op, parent, which),
            Rung::Chroot => self.execute_in_directory(step, op, parent, which),
            Rung::None => Err(self.no_runs(step)),
        }
    }

    fn no_runs(&self, step: StepId) -> Error {
        let (reason, help) = self.settings.refused.as_ref().map_or_else(
            || (String::new(), "give `--isolation auto`".to_owned()),
            |refused| (format!(": {}", refused.reason), refused.help.clone()),
        );
        Error::World {
            step: Some(step),
            message: format!("there is no way to isolate a RUN here{reason}"),
            source: None,
            help: Some(help),
        }
    }

    /// Runs a command on stacked layers.
    fn execute_stacked(&self, step: StepId, op: &RunOp, parent: &State, which: Try) -> Result<Made, Error> {
        let work = self.store().work_dir()?;
        let mut lowers = self.layers.snapshots(parent)?;
        lowers.reverse();
        let upper = work.path().join("upper");
        fs_err::create_dir(&upper)?;
        let attributes = prepare_upper(&upper, lowers.first())?;
        let below = self.layers.tree(parent)?;
        let mut links = Links::default();
        if self.settings.rung == Rung::UsernsSingle {
            links.one_id = Some(OneId { links: owned_links(&below, &lowers)? });
        }
        let root = Root::Overlay { lowers, upper: upper.clone() };
        let ended = self.run_command(step, op, root, links, &work);
        if has_failed(&ended, which) {
            self.salvage(step, &|| of_upper(self.layers.view(parent)?, &upper));
        }
        let (started, owners) = ended?;
        let captured = capture(&upper, started, &attributes, &owners, &below, self.store())?;
        self.note_sockets(step, &captured);
        Ok(Made { layer: captured.layer, tree: captured.tree, snapshot: Some((upper, work)) })
    }

    /// Runs a command in a directory that holds all the layers.
    fn execute_in_directory(
        &self,
        step: StepId,
        op: &RunOp,
        parent: &State,
        which: Try,
    ) -> Result<Made, Error> {
        let work = self.store().work_dir()?;
        let mut root = self.roots.take(parent, self.layers, self.store())?;
        let path = root.path();
        let below = self.layers.tree(parent)?;
        let attributes = attributes_of(&path)?;
        // A change is told by its time, so it must not come in the same tick as the look before.
        while now_on_disk(&work)? <= root.seen.newest() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let plan_root = Root::Directory(path.clone());
        let links = Links { served: served_links(&below), one_id: None };
        let ended = self.run_command(step, op, plan_root, links, &work);
        if has_failed(&ended, which) {
            self.salvage(step, &|| of_directory(&path));
        }
        let (started, _) = ended?;
        let captured = capture_root(&path, &mut root.seen, started, &attributes, &below, self.store())?;
        self.note_sockets(step, &captured);
        self.roots.keep(step, &parent.with_layer(captured.layer.clone()), root);
        Ok(Made { layer: captured.layer, tree: captured.tree, snapshot: None })
    }

    /// Runs a command to its end, and gives the time of its start.
    fn run_command(
        &self,
        step: StepId,
        op: &RunOp,
        root: Root,
        Links { served: links, one_id }: Links,
        work: &WorkDir,
    ) -> Result<(Timestamp, Vec<(Birth, Owner)>), Error> {
        let sandbox_work = work.path().join("sandbox");
        fs_err::create_dir(&sandbox_work)?;
        let Mounts { list: mounts, env, locks: _locks, relays: _relays } =
            self.mounts(step, op, work.path())?;
        let plan = Plan {
            root,
            work: sandbox_work,
            args: op.args.clone(),
            env: (op.env.pairs().into_iter())
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .chain(op.proxy_env.iter().cloned())
                .chain(env)
                .collect(),
            cwd: op.cwd.clone(),
            user: op.user.clone(),
            hostname: "buildkitsandbox".to_owned(),
            resolv_conf: self.settings.resolv_conf.clone(),
            hosts: self.settings.hosts.clone(),
            mounts,
            without_network: op.network == Network::None,
            insecure: op.security == Security::Insecure,
            sync: self.settings.sync,
            links,
            one_id,
        };
        let (seconds, nanoseconds) = now_on_disk(work)?;
        let started = Timestamp { seconds, nanoseconds: u32::try_from(nanoseconds).unwrap_or_default() };
        let mut tail = std::collections::VecDeque::new();
        let timeout = self.graph.demands.get(&step).and_then(|demand| demand.timeout);
        let Ended { end, owners } =
            sandbox::run(&plan, &self.settings.program, self.cancel, timeout, &mut |line| {
                if tail.len() == TAIL_LINES {
                    tail.pop_front();
                }
                tail.push_back(line.clone());
                self.events.step(step, EventKind::Output(line));
            })?;
        if end != CommandEnd::Exited(0) && is_disk_full(work) {
            let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(Error::world(
                format!("the command failed ({end}), and its disk has no space left"),
                full,
            ));
        }
        if end != CommandEnd::Exited(0) {
            return Err(Error::Command { step, failure: CommandFailure { end, output_tail: tail.into() } });
        }
        Ok((started, owners))
    }

    fn note_sockets(&self, step: StepId, captured: &Captured) {
        for socket in &captured.sockets {
            let shown = socket.escape_ascii();
            self.events.step(
                step,
                EventKind::Notice(format!("the socket `/{shown}` cannot be in a layer: left out")),
            );
        }
    }

    /// Refuses what the user has to allow.
    fn check_rights(&self, op: &RunOp) -> Result<(), Error> {
        let grants = &self.settings.grants;
        let refused = |flag: &str, right: &str| {
            Err(Error::user(format!("`RUN {flag}` is not allowed"))
                .with_help(format!("give `--allow {right}`")))
        };
        let missing = |flag: &str, what: &str| {
            let rung = self.settings.rung.name();
            Err(Error::user(format!("`RUN {flag}` needs {what}, which the isolation `{rung}` does not have"))
                .with_help("see `kairn doctor` for what would give this container namespaces"))
        };
        if op.network == Network::Host && !grants.host_network {
            return refused("--network=host", "network.host");
        }
        if op.security == Security::Insecure && !grants.insecure {
            return refused("--security=insecure", "security.insecure");
        }
        match (op.network, op.security) {
            (Network::None, _) if self.settings.rung == Rung::Chroot => {
                missing("--network=none", "a network namespace")
            }
            (_, Security::Insecure) if self.settings.rung == Rung::Chroot => {
                missing("--security=insecure", "every capability")
            }
            _ => Ok(()),
        }
    }
}

/// Whether a command ran and failed, and is not tried again.
fn has_failed<T>(ended: &Result<T, Error>, which: Try) -> bool {
    match ended {
        Err(error @ (Error::Command { .. } | Error::World { .. })) => which == Try::Last || !error.may_pass(),
        Ok(_) | Err(Error::User { .. } | Error::Lost { .. } | Error::Cancelled) => false,
    }
}

/// The files that a RUN mounts of contexts, by the parts of its key.
fn mounted_lists(mounted: &[(Input, &str, Outcome)]) -> Result<BTreeMap<String, FileList>, Error> {
    let mut lists = BTreeMap::new();
    for (input, source, outcome) in mounted {
        if let Outcome::Context(context) = outcome {
            lists.insert(format!("input.{input}"), super::mounts::list_of(context, source)?);
        }
    }
    Ok(lists)
}

/// Gives the upper directory the attributes of the root below it.
fn prepare_upper(upper: &Path, below: Option<&PathBuf>) -> Result<Node, Error> {
    use std::os::unix::fs::PermissionsExt as _;
    let root = match below {
        Some(below) => attributes_of(below)?,
        None => Node::directory(0o755, 0, 0, crate::BUILD_TIME),
    };
    owner::give_path(upper, root.owner()).named("set the owner of", upper)?;
    fs_err::set_permissions(upper, std::fs::Permissions::from_mode(root.mode))?;
    Ok(root)
}

/// Whether the disk of the store has next to nothing left.
fn is_disk_full(work: &WorkDir) -> bool {
    rustix::fs::statvfs(work.path()).is_ok_and(|disk| disk.f_bavail * disk.f_frsize < 128 * 1024)
}

/// The file system's own idea of now, which is what it gives to files.
fn now_on_disk(work: &WorkDir) -> Result<(i64, u64), Error> {
    let path = work.path().join("now");
    let stat = rustix::fs::fstat(fs_err::File::create(&path)?.file()).named("look at", &path)?;
    Ok((stat.st_mtime, stat.st_mtime_nsec))
}

/// The attributes of a directory.
fn attributes_of(path: &Path) -> Result<Node, Error> {
    root_attributes(&open_root(path)?, path)
}

/// What a supervisor has to know of the links of a root.
#[derive(Default)]
struct Links {
    served: Vec<(Vec<u8>, Vec<u8>)>,
    one_id: Option<OneId>,
}

/// The links and pipes of a state that are not root's, by inode; `lowers` are its layers on the disk, topmost first.
fn owned_links(tree: &StackedTree, lowers: &[PathBuf]) -> Result<Vec<(u64, Owner)>, Error> {
    use std::os::unix::fs::MetadataExt as _;
    let is_wanted = |node: &Node| {
        matches!(node.kind, NodeKind::Symlink { .. } | NodeKind::Fifo) && node.owner() != Owner::ROOT
    };
    let mut links = Vec::new();
    for (layer, path, node) in tree.visible(&is_wanted) {
        let host = lowers[lowers.len() - 1 - layer].join(host_path(path));
        links.push((fs_err::symlink_metadata(host)?.ino(), node.owner()));
    }
    Ok(links)
}

/// The links of a state that lead into what a supervisor serves: both ends absolute.
fn served_links(tree: &StackedTree) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut links = Vec::new();
    for (_, path, node) in tree.visible(&|node| matches!(node.kind, NodeKind::Symlink { .. })) {
        let NodeKind::Symlink { target } = &node.kind else { continue };
        let from = if target.starts_with(b"/") { &[][..] } else { parent(path).unwrap_or_default() };
        let names = components(&join(from, target)).fold(Vec::new(), |mut names: Vec<Vec<u8>>, name| {
            if name == b".." {
                names.pop();
            } else {
                names.push(name.to_vec());
            }
            names
        });
        let served =
            names.first().is_some_and(|first| [&b"proc"[..], b"sys", b"dev"].contains(&first.as_slice()));
        if served && !path.starts_with(b"dev/") {
            links.push(([b"/", path.as_slice()].concat(), [b"/", names.join(&b'/').as_slice()].concat()));
        }
    }
    links
}
