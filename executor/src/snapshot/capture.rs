//! What a RUN changed to a layer: from an overlay's upper directory, or from a root file system before and after.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use kairn_image::layer::Timestamp;
use rustix::fs::{AtFlags, Timespec, Timestamps};

use super::changes::keep_changes;
use super::read::{Reading, Scan, Verdict, open_file, open_root, scan, scan_names};
use super::unpack::digest_of;
use super::walk::{Seen, walk};
use super::write::write_layer;
use crate::BUILD_TIME;
use crate::error::{Error, Named as _, host_path};
use crate::owner::{self, Birth};
use crate::state::NewLayer;
use crate::store::Store;
use crate::tree::{LayerTree, Node, NodeKind, StackedTree, ancestors, file_name, parent};
use crate::users::Owner;

/// What a RUN left in its upper directory.
#[derive(Debug)]
pub struct Captured {
    /// The layer, already in the store.
    pub layer: NewLayer,
    /// Its names.
    pub tree: LayerTree,
    /// Sockets that it cannot hold.
    pub sockets: Vec<Vec<u8>>,
}

/// Makes a layer of an upper directory and puts its blob into the store.
///
/// A time that is not before `started` says only when the build ran: it becomes [`BUILD_TIME`], on the disk as well,
/// so that the directory can serve as the layer's snapshot. `root` is what the root directory was given at the start,
/// `below` the state that the upper directory lies on, `owners` those of links and pipes that the kernel does not know.
///
/// # Errors
/// Fails where the disk does.
pub fn capture(
    upper: &Path,
    started: Timestamp,
    root: &Node,
    owners: &[(Birth, Owner)],
    below: &StackedTree,
    store: &Store,
) -> Result<Captured, Error> {
    let mut found = scan(upper, Reading::OverlayUpper, &|_, _| Verdict::Keep)?;
    set_owners(upper, owners, &mut found)?;
    let handle = open_root(upper)?;
    note_root(&handle, upper, root, &mut found)?;
    layer_of(&handle, found, started, below, store)
}

/// Makes a layer of what changed in a root file system since it was last looked at, and puts its blob into the store;
/// then `seen` is what is there now.
///
/// # Errors
/// Fails where the disk does.
pub fn capture_root(
    root: &Path,
    seen: &mut Seen,
    started: Timestamp,
    attributes: &Node,
    below: &StackedTree,
    store: &Store,
) -> Result<Captured, Error> {
    let mut after = walk(root)?;
    let changes = seen.changes(&after);
    let mut names: BTreeSet<&[u8]> = changes.changed.iter().map(Vec::as_slice).collect();
    for path in changes.changed.iter().chain(&changes.removed) {
        names.extend(ancestors(path));
    }
    let mut found = scan_names(root, names.into_iter())?;
    for path in &changes.removed {
        found.tree.nodes.insert(path.clone(), Node::whiteout());
    }
    let handle = open_root(root)?;
    note_root(&handle, root, attributes, &mut found)?;
    let captured = layer_of(&handle, found, started, below, store)?;
    after.look_again(root, captured.tree.nodes.keys())?;
    *seen = after;
    Ok(captured)
}

/// Sets the owners of what cannot carry them.
fn set_owners(upper: &Path, owners: &[(Birth, Owner)], found: &mut Scan) -> Result<(), Error> {
    if owners.is_empty() {
        return Ok(());
    }
    let owners: HashMap<Birth, Owner> = owners.iter().copied().collect();
    for (path, node) in &mut found.tree.nodes {
        if matches!(node.kind, NodeKind::Symlink { .. } | NodeKind::Fifo) {
            let host = upper.join(host_path(path));
            if let Some(owner) = owners.get(&Birth::of_path(&host).named("look at", &host)?) {
                (node.uid, node.gid) = (owner.uid, owner.gid);
            }
        }
    }
    Ok(())
}

/// Adds the root directory itself, where it is not what it was.
fn note_root(handle: &OwnedFd, path: &Path, before: &Node, found: &mut Scan) -> Result<(), Error> {
    let node = root_attributes(handle, path)?;
    if (node.mode, node.uid, node.gid) != (before.mode, before.uid, before.gid) {
        found.tree.nodes.insert(Vec::new(), node);
    }
    Ok(())
}

/// The attributes of a root directory.
///
/// # Errors
/// Fails where the disk does.
pub fn root_attributes(handle: &OwnedFd, path: &Path) -> Result<Node, Error> {
    let stat = rustix::fs::fstat(handle).named("look at", path)?;
    let owner = owner::recorded(handle).unwrap_or(Owner { uid: stat.st_uid, gid: stat.st_gid });
    Ok(Node::directory(stat.st_mode & 0o7777, owner.uid, owner.gid, BUILD_TIME))
}

/// Makes a layer of what was found in a directory: of what differs from the state below.
fn layer_of(
    handle: &OwnedFd,
    found: Scan,
    started: Timestamp,
    below: &StackedTree,
    store: &Store,
) -> Result<Captured, Error> {
    let mut tree = found.tree;
    keep_changes(&mut tree, below, &mut |path| {
        digest_of(&mut open_file(handle.as_fd(), path)?, &mut io::sink())
            .map_err(|e| Error::world(format!("cannot read `{}`", host_path(path).display()), e))
    })?;
    let build_time = Timespec { tv_sec: BUILD_TIME.seconds, tv_nsec: i64::from(BUILD_TIME.nanoseconds) };
    let build_times = Timestamps { last_access: build_time, last_modification: build_time };
    for (path, node) in &mut tree.nodes {
        if node.mtime < (started.seconds, started.nanoseconds) || node.kind == NodeKind::Whiteout {
            continue;
        }
        node.mtime = (BUILD_TIME.seconds, BUILD_TIME.nanoseconds);
        if path.is_empty() {
            continue;
        }
        let directory = super::unpack::open_beneath(handle.as_fd(), parent(path).unwrap_or_default())
            .named("open the directory of", &host_path(path))?;
        rustix::fs::utimensat(&directory, file_name(path), &build_times, AtFlags::SYMLINK_NOFOLLOW)
            .named("set the time of", &host_path(path))?;
    }
    rustix::fs::futimens(handle, &build_times).named("set the time of", Path::new("/"))?;
    let layer = write_layer(&mut tree, store, &mut |path, _| {
        open_file(handle.as_fd(), path).map(|file| Box::new(file) as Box<dyn io::Read>)
    })?;
    Ok(Captured { layer, tree, sockets: found.sockets })
}
