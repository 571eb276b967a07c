//! `RUN --mount`: from what a mount means to what stands at its target.
//!
//! How it gets there is the sandbox's affair: it is given directories, files and sockets of this machine.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use kairn_compiler::StepId;
use kairn_compiler::graph::{
    Archives, CopyOp, CopySource, Input, Mount, MountKind, Ownership, RunOp, Sharing,
};
use kairn_image::Digest;

use super::{Outcome, Runner};
use crate::cache::mounts::restore;
use crate::context::Context;
use crate::copy::select::{Selected, Top};
use crate::copy::{View, select};
use crate::error::{Error, Named as _, host_path};
use crate::events::EventKind;
use crate::explain::lists::FileList;
use crate::grants::AgentSource;
use crate::owner;
use crate::sandbox::{self, Rung};
use crate::snapshot::apply::copy_directory;
use crate::snapshot::read::open_file;
use crate::tree::{LastComponent, NodeKind, StackedTree};
use crate::users::Owner;

/// The mounts of one RUN.
#[derive(Default)]
pub(super) struct Mounts {
    /// For the sandbox, in order.
    pub(super) list: Vec<sandbox::Mount>,
    /// Variables that come with them.
    pub(super) env: Vec<(String, String)>,
    /// What must be held while the command runs.
    pub(super) locks: Vec<File>,
    /// Ways to SSH agents, open as long as this is kept.
    pub(super) relays: Vec<Relay>,
}

/// A socket of our own that leads to another: it has the owner and mode that the instruction asks for.
pub(super) struct Relay {
    path: PathBuf,
    is_over: Arc<AtomicBool>,
}

impl Relay {
    fn start(to: PathBuf, path: &Path) -> Result<Self, Error> {
        // The name of a socket has less room than that of a file.
        let folder = tempfile::Builder::new().prefix("kairn-").tempdir()?;
        let short = folder.path().join("agent");
        let listener = UnixListener::bind(&short).named("make the socket", &short)?;
        if fs_err::rename(&short, path).is_err() {
            let apart =
                std::io::Error::other("the store and the folder for temporary files are on different disks");
            return Err(Error::world("cannot make the way to an SSH agent", apart)
                .with_help("set `TMPDIR` to a folder on the disk of the store"));
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let relay = Self { path: path.to_owned(), is_over: Arc::clone(&is_over) };
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(client), Ok(agent)) = (connection, UnixStream::connect(&to)) else { continue };
                std::thread::spawn(move || carry(&client, &agent));
            }
        });
        Ok(relay)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the listener up.
        let _ = UnixStream::connect(&self.path);
    }
}

/// Carries bytes both ways until one side has no more.
fn carry(client: &UnixStream, agent: &UnixStream) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ = std::io::copy(&mut &*client, &mut &*agent);
            let _ = agent.shutdown(Shutdown::Write);
        });
        let _ = std::io::copy(&mut &*agent, &mut &*client);
        let _ = client.shutdown(Shutdown::Both);
    });
}

/// Digests what a mount shows of a context.
pub(super) fn content_of(context: &Context, source: &str) -> Result<Digest, Error> {
    let (op, selected, digests) = shown(context, source)?;
    let tree = &context.view()?.tree;
    select::selection_digest(&op, &selected, Top::Shown, tree, &|path| digests.get(path).copied())
}

/// A copy of all that a mount shows, what it selects, and the contents that were read for it.
type Shown = (CopyOp, Vec<Selected>, BTreeMap<Vec<u8>, [u8; 32]>);

/// Finds what a mount shows of a context.
fn shown(context: &Context, source: &str) -> Result<Shown, Error> {
    let op = whole(source);
    let tree = &context.view()?.tree;
    let selected = select::select(&op, 0, tree)?;
    let digests = context.digests(select::unread(&op, &selected, tree)?)?;
    Ok((op, selected, digests))
}

/// Digests what a mount shows of a state.
pub(super) fn content_of_tree(tree: &StackedTree, source: &str) -> Result<Digest, Error> {
    let mut op = whole(source);
    op.sources[0].ownership = Ownership::Keep;
    select::selection_digest(&op, &select::select(&op, 0, tree)?, Top::Shown, tree, &|_| None)
}

/// Lists what a mount shows of a context.
pub(super) fn list_of(context: &Context, source: &str) -> Result<FileList, Error> {
    let (op, selected, digests) = shown(context, source)?;
    let tree = &context.view()?.tree;
    select::list(&op, &selected, Top::Shown, tree, &|path| digests.get(path).copied())
}

/// The copy that takes all of one place.
fn whole(path: &str) -> CopyOp {
    let escaped: String = path
        .chars()
        .flat_map(|ch| matches!(ch, '*' | '?' | '[' | '\\').then_some('\\').into_iter().chain([ch]))
        .collect();
    let source = CopySource {
        input: 0,
        path: escaped,
        parents: None,
        ownership: Ownership::Root,
        archives: Archives::Copy,
    };
    CopyOp { sources: vec![source], dest: "/".to_owned(), chown: None, mode: None, excludes: Vec::new() }
}

impl Runner<'_> {
    /// Makes everything that a RUN mounts; what is made for it alone is in `work`.
    pub(super) fn mounts(&self, step: StepId, op: &RunOp, work: &Path) -> Result<Mounts, Error> {
        let mut done = Mounts::default();
        let mut folders = self.occupy_caches(op, &mut done)?;
        for (index, mount) in op.mounts.iter().enumerate() {
            let number = u16::try_from(index).unwrap_or(u16::MAX);
            let has_input = self.graph.inputs(step).iter().any(|(input, _)| *input == Input::Mount(number));
            let input = has_input.then(|| self.input(step, Input::Mount(number)));
            let work = work.join(format!("mount-{index}"));
            fs_err::create_dir(&work)?;
            let folder = folders.remove(&index).unwrap_or_else(|| work.clone());
            self.mount(mount, input, &folder, &work, &mut done)?;
            self.note_what_mounts_lack(step, mount);
        }
        Ok(done)
    }

    /// Says what a mount cannot be without mounts.
    fn note_what_mounts_lack(&self, step: StepId, mount: &Mount) {
        let lack = match &mount.kind {
            _ if self.settings.rung != Rung::Chroot => return,
            MountKind::Tmpfs { size_bytes: Some(_) } => "has no limit of its size",
            MountKind::Tmpfs { size_bytes: None } => "is on disk, not in memory",
            MountKind::Bind { read_write: false, .. } | MountKind::Cache { read_only: true, .. } => {
                "can be written to; what is written is thrown away"
            }
            _ => return,
        };
        let target = mount.target.as_deref().unwrap_or_default();
        let notice = format!("the isolation `chroot` mounts nothing: `{target}` {lack}");
        self.events.step(step, EventKind::Notice(notice));
    }

    /// Takes the directories of all cache mounts, by the mounts' numbers, with the locks that their sharing asks for.
    ///
    /// All RUNs take them in one order, so that no two wait for each other. Where nothing can be mounted, a directory can
    /// be in one place only: `shared` means there what `locked` means.
    fn occupy_caches(&self, op: &RunOp, done: &mut Mounts) -> Result<BTreeMap<usize, PathBuf>, Error> {
        let mut wanted: BTreeMap<String, (Sharing, Vec<usize>)> = BTreeMap::new();
        for (index, mount) in op.mounts.iter().enumerate() {
            let MountKind::Cache { id, sharing, mode, uid, gid, .. } = &mount.kind else { continue };
            // As in BuildKit, attributes that are given make it another directory.
            let name = blake3::hash(format!("{id}\0{mode:?}\0{uid:?}\0{gid:?}").as_bytes()).to_hex();
            let (strictest, indexes) = wanted.entry(name.to_string()).or_insert((*sharing, Vec::new()));
            if *strictest == Sharing::Shared {
                *strictest = *sharing;
            }
            indexes.push(index);
            if self.settings.rung == Rung::Chroot {
                if *strictest == Sharing::Shared {
                    *strictest = Sharing::Locked;
                }
                if indexes.len() > 1 {
                    return Err(Error::user(format!(
                        "the cache `{id}` cannot be at two places at once here"
                    ))
                    .with_help(
                        "the isolation `chroot` moves a cache to its place: mount it once, and link to it",
                    ));
                }
            }
        }
        let mut folders = BTreeMap::new();
        for (name, (sharing, indexes)) in wanted {
            let MountKind::Cache { id, .. } = &op.mounts[indexes[0]].kind else { continue };
            // The slash ends the name space, which is empty for nearly everybody.
            let id = id.strip_prefix('/').unwrap_or(id);
            let all = self.store().mount_folder(&name, id)?;
            let (folder, lock) = occupy(&all, sharing)?;
            self.used_mounts.note(&name, id, &folder);
            done.locks.push(lock);
            folders.extend(indexes.into_iter().map(|index| (index, folder.clone())));
        }
        Ok(folders)
    }

    fn mount(
        &self,
        mount: &Mount,
        input: Option<Outcome>,
        folder: &Path,
        work: &Path,
        done: &mut Mounts,
    ) -> Result<(), Error> {
        let source = match &mount.kind {
            MountKind::Bind { source, read_write } => {
                let input = input.expect("the compiler gives every bind its input");
                Some(self.bind(input, source, *read_write, work)?)
            }
            MountKind::Cache { source, read_only, mode, uid, gid, .. } => {
                let mut path =
                    self.cache(folder, (*mode, *uid, *gid), input.map(|input| (input, &**source)))?;
                if *read_only && self.settings.rung == Rung::Chroot {
                    let copy = work.join("read-only");
                    copy_directory(&path, &copy)?;
                    path = copy;
                }
                Some(sandbox::MountSource::Bind { path, read_only: *read_only })
            }
            MountKind::Tmpfs { size_bytes } => Some(sandbox::MountSource::Tmpfs { size_bytes: *size_bytes }),
            MountKind::Secret { id, env, required, mode, uid, gid } => match self.secret(id, *required)? {
                None => return Ok(()),
                Some(value) => {
                    if let Some(name) = env {
                        let text = String::from_utf8(value.clone()).map_err(|_| {
                            Error::user(format!("the secret `{id}` is no text, and cannot be a variable"))
                        })?;
                        done.env.push((name.clone(), text));
                    }
                    Some(sandbox::MountSource::Secret { value, mode: *mode, uid: *uid, gid: *gid })
                }
            },
            MountKind::Ssh { id, required, mode, uid, gid } => {
                let Some(AgentSource::Socket(path)) = self.settings.grants.agents.get(id) else {
                    if *required {
                        return Err(Error::user(format!("there is no SSH agent `{id}` for this RUN"))
                            .with_help(format!("give one: `--ssh {id}` or `--ssh {id}=SOCKET`")));
                    }
                    return Ok(());
                };
                let target = mount.target.clone().unwrap_or_default();
                done.env.push(("SSH_AUTH_SOCK".to_owned(), target));
                let relay = Relay::start(path.clone(), &work.join("agent"))?;
                owner::give_path(&relay.path, Owner { uid: *uid, gid: *gid })
                    .named("set the owner of", &relay.path)?;
                fs_err::set_permissions(&relay.path, std::fs::Permissions::from_mode(*mode))?;
                let path = relay.path.clone();
                done.relays.push(relay);
                Some(sandbox::MountSource::Bind { path, read_only: false })
            }
        };
        if let (Some(source), Some(target)) = (source, &mount.target) {
            done.list.push(sandbox::Mount { target: target.clone(), source });
        }
        Ok(())
    }

    /// What a bind shows: files of a state, or of a directory without what is ignored in it.
    fn bind(
        &self,
        input: Outcome,
        source: &str,
        read_write: bool,
        folder: &Path,
    ) -> Result<sandbox::MountSource, Error> {
        let stacks = self.settings.rung.has_mounts();
        let (view, lowers) = match input {
            Outcome::State(state) if stacks => {
                let tree = self.layers.tree(&state)?;
                find(&tree, source, "the image or stage does not have it")?;
                let mut lowers = self.layers.snapshots(&state)?;
                lowers.reverse();
                (None, lowers)
            }
            Outcome::Context(context) if stacks && !context.is_filtered() => {
                find(&context.view()?.tree, source, NOT_IN_CONTEXT)?;
                (None, vec![context.root.clone()])
            }
            Outcome::State(state) => (Some((self.layers.view(&state)?, Ownership::Keep)), Vec::new()),
            Outcome::Context(context) => (Some((context.view()?.clone(), Ownership::Root)), Vec::new()),
            Outcome::Open => unreachable!("a step whose inputs are open is not run"),
        };
        let mut lowers = lowers;
        let mut path = source.trim_start_matches("./").to_owned();
        if let Some((view, ownership)) = view {
            let found = find(&view.tree, source, NOT_IN_CONTEXT)?;
            let files = folder.join("files");
            copy_out(&view, ownership, source, &files)?;
            if !stacks {
                let path = files.join(host_path(&found));
                return Ok(sandbox::MountSource::Bind { path, read_only: !read_write });
            }
            path = String::from_utf8_lossy(&found).into_owned();
            lowers = vec![files];
        }
        let work = folder.join("overlay");
        fs_err::create_dir(&work)?;
        Ok(sandbox::MountSource::Files { lowers, path, read_write, work })
    }

    /// A directory that lasts, in a folder that is locked for it.
    fn cache(
        &self,
        folder: &Path,
        (mode, uid, gid): (Option<u32>, Option<u32>, Option<u32>),
        initial: Option<(Outcome, &str)>,
    ) -> Result<PathBuf, Error> {
        let path = folder.join("files");
        let making =
            File::options().create(true).append(true).open(folder.join("making")).named("open", folder)?;
        making.lock().named("lock", folder)?;
        if !path.is_dir() {
            let work = self.store().work_dir()?;
            let fresh = work.path().join("files");
            fs_err::create_dir(&fresh)?;
            let name = folder.parent().and_then(Path::file_name).and_then(|name| name.to_str());
            let is_restored = match name {
                Some(name) => {
                    let remotes = self.settings.puller.remotes();
                    restore(name, &fresh, remotes, &self.settings.store, self.events)?
                }
                None => false,
            };
            if let Some((input, source)) = initial.filter(|_| !is_restored) {
                self.fill(input, source, &fresh)?;
            }
            fs_err::set_permissions(&fresh, std::fs::Permissions::from_mode(mode.unwrap_or(0o755)))?;
            let owner = Owner { uid: uid.unwrap_or(0), gid: gid.unwrap_or(0) };
            owner::give_path(&fresh, owner).named("set the owner of", &fresh)?;
            fs_err::rename(&fresh, &path)?;
        }
        Ok(path)
    }

    /// Copies the first content of a cache directory.
    fn fill(&self, input: Outcome, source: &str, into: &Path) -> Result<(), Error> {
        let view = match input {
            Outcome::State(state) => self.layers.view(&state)?,
            Outcome::Context(context) => context.view()?.clone(),
            Outcome::Open => unreachable!("a step whose inputs are open is not run"),
        };
        let op = whole(source);
        for item in select::select(&op, 0, &view.tree)? {
            for (path, found) in view.tree.walk(&item.path) {
                let Some((_, node)) = view.tree.link_target(found) else { continue };
                let rest = &path[item.path.len()..];
                let to = into.join(host_path(rest.strip_prefix(b"/").unwrap_or(rest)));
                match &node.kind {
                    NodeKind::Directory => fs_err::create_dir_all(&to)?,
                    NodeKind::Symlink { target } => {
                        fs_err::os::unix::fs::symlink(host_path(target), &to)?;
                        continue;
                    }
                    NodeKind::File { .. } => {
                        let mut from = open_file(view.roots[found.layer].as_fd(), path)?;
                        std::io::copy(&mut from, &mut fs_err::File::create(&to)?)?;
                    }
                    _ => continue,
                }
                owner::give_path(&to, node.owner()).named("set the owner of", &to)?;
                fs_err::set_permissions(&to, std::fs::Permissions::from_mode(node.mode))?;
            }
        }
        Ok(())
    }

    fn secret(&self, id: &str, required: bool) -> Result<Option<Vec<u8>>, Error> {
        let value = self.settings.grants.secret(id)?;
        if value.is_none() && required {
            return Err(Error::user(format!("there is no secret `{id}` for this RUN"))
                .with_help(format!("give it: `--secret id={id},src=FILE`, or `env=NAME`")));
        }
        Ok(value)
    }
}

/// Takes a place among the copies of a cache directory: with the lock that its sharing asks for.
fn occupy(all: &Path, sharing: Sharing) -> Result<(PathBuf, File), Error> {
    for number in 0_u32.. {
        let folder = all.join(number.to_string());
        fs_err::create_dir_all(&folder)?;
        let path = folder.join("lock");
        let lock = File::options().create(true).append(true).open(&path).named("open", &path)?;
        match sharing {
            Sharing::Shared => lock.lock_shared().named("lock", &path)?,
            Sharing::Locked => lock.lock().named("lock", &path)?,
            Sharing::Private if lock.try_lock().is_err() => continue,
            Sharing::Private => {}
        }
        return Ok((folder, lock));
    }
    unreachable!("there are more numbers than builds")
}

const NOT_IN_CONTEXT: &str = "it is not in the build context, or .dockerignore leaves it out";

/// Where a place of a tree is, once its links are followed.
fn find(tree: &StackedTree, source: &str, help: &str) -> Result<Vec<u8>, Error> {
    let resolved = tree.resolve(source.as_bytes(), LastComponent::Follow)?;
    if !resolved.is_empty() && tree.lookup(&resolved).is_none() {
        return Err(Error::user(format!("`{source}` is not there")).with_help(help));
    }
    Ok(resolved)
}

/// Copies what is at a place, and the directories around it, into a new directory.
fn copy_out(view: &View, ownership: Ownership, source: &str, copy: &Path) -> Result<(), Error> {
    fs_err::create_dir(copy)?;
    let tree = &view.tree;
    let op = whole(source);
    for item in select::select(&op, 0, tree)? {
        let below = tree.walk(&item.path).into_iter().map(|(path, found)| (path.to_vec(), found));
        let own = tree.lookup(&item.path).map(|found| (item.path.clone(), found));
        let above: Vec<_> = crate::tree::ancestors(&item.path)
            .filter_map(|path| Some((path.to_vec(), tree.lookup(path)?)))
            .collect();
        let mut directories = Vec::new();
        for (path, found) in above.into_iter().chain(own).chain(below) {
            let Some((_, node)) = tree.link_target(found) else { continue };
            let to = copy.join(host_path(&path));
            let owner = if ownership == Ownership::Keep { node.owner() } else { Owner::ROOT };
            let time =
                UNIX_EPOCH + Duration::new(u64::try_from(node.mtime.0).unwrap_or_default(), node.mtime.1);
            match &node.kind {
                NodeKind::Directory => {
                    fs_err::create_dir_all(&to)?;
                    directories.push((to, owner, node.mode, time));
                }
                NodeKind::Symlink { target } => {
                    fs_err::os::unix::fs::symlink(host_path(target), &to)?;
                    owner::give_path(&to, owner).named("set the owner of", &to)?;
                }
                NodeKind::File { .. } => {
                    let mut from = open_file(view.roots[found.layer].as_fd(), &path)?;
                    let mut file = fs_err::File::create(&to)?;
                    std::io::copy(&mut from, &mut file)?;
                    owner::give_path(&to, owner).named("set the owner of", &to)?;
                    fs_err::set_permissions(&to, std::fs::Permissions::from_mode(node.mode))?;
                    file.file().set_modified(time).named("set the time of", &to)?;
                }
                _ => {}
            }
        }
        for (to, owner, mode, time) in directories.into_iter().rev() {
            owner::give_path(&to, owner).named("set the owner of", &to)?;
            fs_err::set_permissions(&to, std::fs::Permissions::from_mode(mode))?;
            fs_err::File::open(&to)?.file().set_modified(time).named("set the time of", &to)?;
        }
    }
    Ok(())
}
