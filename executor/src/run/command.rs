//! RUN: a command in the sandbox, and a layer of what it changed.

use std::path::{Path, PathBuf};

use kairn_compiler::StepId;
use kairn_compiler::graph::{Input, MountKind, Network, RunOp, Security};
use kairn_compiler::key::key_parts;
use kairn_image::Digest;
use kairn_image::layer::Timestamp;

use super::mounts::Mounts;
use super::{Made, Outcome, Runner};
use crate::error::{CommandEnd, CommandFailure, Error, Named as _};
use crate::events::EventKind;
use crate::sandbox::{self, Plan};
use crate::snapshot::capture::capture;
use crate::state::State;
use crate::store::WorkDir;
use crate::tree::Node;

/// How many lines of a failed command's output are kept.
const TAIL_LINES: usize = 30;

impl Runner<'_> {
    pub(super) fn run(&self, step: StepId, op: &RunOp) -> Result<State, Error> {
        let parent = self.root(step);
        let mut inputs = vec![(Input::Root, parent.content)];
        for (input, digest) in self.mounted_contents(step, op)? {
            inputs.push((input, digest));
        }
        let parts = key_parts(self.graph.op(step), &inputs);
        self.cached(step, &parent, parts, || self.execute(step, op, &parent))
    }

    /// Digests what a RUN mounts of other steps.
    fn mounted_contents(&self, step: StepId, op: &RunOp) -> Result<Vec<(Input, Digest)>, Error> {
        let mut contents = Vec::new();
        for (input, _) in self.graph.inputs(step) {
            let Input::Mount(number) = input else { continue };
            let source = match &op.mounts[usize::from(number)].kind {
                MountKind::Bind { source, .. } | MountKind::Cache { source, .. } => source,
                MountKind::Tmpfs { .. } | MountKind::Secret { .. } | MountKind::Ssh { .. } => continue,
            };
            let digest = match self.input(step, input) {
                Outcome::Context(context) => super::mounts::content_of(&context, source)?,
                Outcome::State(state) => state.content,
            };
            contents.push((input, digest));
        }
        Ok(contents)
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
        self.check_rights(op)?;
        let work = self.store().work_dir()?;
        let mut lowers = self.layers.snapshots(parent)?;
        lowers.reverse();
        let upper = work.path().join("upper");
        let sandbox_work = work.path().join("sandbox");
        fs_err::create_dir(&upper)?;
        fs_err::create_dir(&sandbox_work)?;
        let root = prepare_upper(&upper, lowers.first())?;
        let Mounts { list: mounts, env, locks: _locks, relays: _relays } =
            self.mounts(step, op, work.path())?;
        let plan = Plan {
            lowers,
            work: sandbox_work,
            upper: upper.clone(),
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

    /// Refuses what the user has to allow.
    fn check_rights(&self, op: &RunOp) -> Result<(), Error> {
        let grants = &self.settings.grants;
        let refused = |flag: &str, right: &str| {
            Err(Error::user(format!("`RUN {flag}` is not allowed"))
                .with_help(format!("give `--allow {right}`")))
        };
        match (op.network, op.security) {
            (Network::Host, _) if !grants.host_network => refused("--network=host", "network.host"),
            (_, Security::Insecure) if !grants.insecure => {
                refused("--security=insecure", "security.insecure")
            }
            _ => Ok(()),
        }
    }
}

/// Gives the upper directory the attributes of the root below it.
fn prepare_upper(upper: &Path, below: Option<&PathBuf>) -> Result<Node, Error> {
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
