//! An overlay's upper directory to a layer.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use kairn_image::layer::Timestamp;
use rustix::fs::{AtFlags, Timespec, Timestamps};

use super::read::{Reading, Verdict, open_file, open_root, scan};
use super::write::write_layer;
use crate::BUILD_TIME;
use crate::error::{Error, Named as _, host_path};
use crate::state::NewLayer;
use crate::store::Store;
use crate::tree::{LayerTree, Node, NodeKind, StackedTree, file_name, parent};

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
/// `below` the state that the upper directory lies on.
///
/// # Errors
/// Fails where the disk does.
pub fn capture(
    upper: &Path,
    started: Timestamp,
    root: &Node,
    below: &StackedTree,
    store: &Store,
) -> Result<Captured, Error> {
    let found = scan(upper, Reading::OverlayUpper, &|_, _| Verdict::Keep)?;
    let mut tree = found.tree;
    // overlayfs marks every new directory; the mark means something only over a directory.
    for (path, node) in tree.nodes.iter_mut().filter(|(_, node)| node.opaque) {
        node.opaque = below.lookup(path).is_some_and(|found| found.node.is_directory());
    }
    let handle = open_root(upper)?;
    let stat = rustix::fs::fstat(&handle).named("look at", upper)?;
    if (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid) != (root.mode, root.uid, root.gid) {
        let node = Node::directory(stat.st_mode & 0o7777, stat.st_uid, stat.st_gid, BUILD_TIME);
        tree.nodes.insert(Vec::new(), node);
    }
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
    rustix::fs::futimens(&handle, &build_times).named("set the time of", upper)?;
    let layer = write_layer(&mut tree, store, &mut |path, _| {
        open_file(handle.as_fd(), path).map(|file| Box::new(file) as Box<dyn io::Read>)
    })?;
    Ok(Captured { layer, tree, sockets: found.sockets })
}
