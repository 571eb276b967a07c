//! A layer's tar to a tree, and to files in overlayfs's form.
//!
//! Nothing is ever resolved through a symbolic link on the disk: links among a path's parents are followed in the
//! tree that is being built, by their text, and the disk is then opened with `RESOLVE_NO_SYMLINKS` below the layer's
//! directory. So no archive can write outside of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use kairn_image::layer::{Entry, EntryKind, read_layer};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use super::{DEVICE_XATTR, OPAQUE_XATTR, belongs_in_layer};
use crate::error::{Error, Named as _};
use crate::owner;
use crate::tree::{
    LastComponent, LayerTree, Node, NodeKind, StackedTree, ancestors, file_name, follow_links, join, parent,
};

/// What is written while a layer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpack {
    /// Everything, with owners, modes, times and overlayfs's marks.
    Snapshot,
    /// The same with ourselves as the owner, for build contexts, which have none.
    Context,
    /// Regular files' bytes only, readable by us: whoever uses them takes the metadata from the tree.
    Contents,
    /// The same of an archive that is no layer: names that start with `.wh.` are refused.
    Archive,
}

impl Unpack {
    /// Whether everything is on the disk, and not in the tree alone.
    fn is_whole(self) -> bool {
        matches!(self, Self::Snapshot | Self::Context)
    }

    /// A node as it is on the disk.
    fn on_disk(self, node: &Node) -> Cow<'_, Node> {
        if self != Self::Context {
            return Cow::Borrowed(node);
        }
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Cow::Owned(Node { uid, gid, ..node.clone() })
    }
}

/// Reads a layer, compressed or not, and gives its tree; no file is written.
///
/// # Errors
/// Fails where the archive is malformed or the reader does.
pub fn index(layer: impl Read) -> Result<LayerTree, Error> {
    Ingest { tree: LayerTree::default(), whiteouts: BTreeMap::new(), disk: None }.run(layer, Whiteouts::Apply)
}

/// Reads a layer, compressed or not, gives its tree and writes its files into the empty directory `into`.
///
/// # Errors
/// Fails where the archive is malformed, the reader or the disk does.
pub fn unpack(layer: impl Read, into: &Path, unpack: Unpack) -> Result<LayerTree, Error> {
    let root =
        rustix::fs::open(into, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).named("open", into)?;
    let disk = Disk { root, last_parent: None, unpack };
    let whiteouts = if unpack == Unpack::Archive { Whiteouts::Refuse } else { Whiteouts::Apply };
    Ingest { tree: LayerTree::default(), whiteouts: BTreeMap::new(), disk: Some(disk) }.run(layer, whiteouts)
}

/// Whether `.wh.` names have their meaning (a layer) or are a mistake (an archive given to ADD).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whiteouts {
    Apply,
    Refuse,
}

struct Ingest {
    tree: LayerTree,
    /// Names removed from the layers below; `true` where only what is in the directory is.
    whiteouts: BTreeMap<Vec<u8>, bool>,
    disk: Option<Disk>,
}

impl Ingest {
    fn run(mut self, layer: impl Read, whiteouts: Whiteouts) -> Result<LayerTree, Error> {
        read_layer(layer, &mut |entry, content: &mut dyn Read| self.entry(entry, content, whiteouts))?;
        self.apply_whiteouts()?;
        self.tree.order_links();
        self.tree.add_implicit_directories();
        if let Some(disk) = self.disk.take() {
            disk.finish_directories(&self.tree)?;
        }
        Ok(self.tree)
    }

    fn entry(&mut self, mut entry: Entry, content: &mut dyn Read, whiteouts: Whiteouts) -> Result<(), Error> {
        entry.path = self.resolve_parents(&entry.path)?;
        if let EntryKind::Hardlink { target } = &entry.kind {
            entry.kind = EntryKind::Hardlink { target: self.resolve_parents(target)? };
        }
        let name = file_name(&entry.path).to_vec();
        if let Some(hidden) = name.strip_prefix(b".wh.") {
            if whiteouts == Whiteouts::Refuse {
                return Err(Error::user(format!(
                    "the archive holds `{}`, and a name that starts with `.wh.` means a removal in a layer",
                    entry.path.escape_ascii()
                )));
            }
            let directory = parent(&entry.path).unwrap_or_default();
            if hidden == b".wh..opq" {
                self.whiteouts.insert(directory.to_vec(), true);
            } else if !hidden.is_empty() && !hidden.starts_with(b".wh.") {
                self.whiteouts.entry(join(directory, hidden)).or_insert(false);
            }
            return Ok(());
        }
        entry.xattrs.retain(|name, _| belongs_in_layer(name));
        if entry.uid == u32::MAX || entry.gid == u32::MAX {
            return Err(Error::user(format!(
                "`{}` has an owner that no file can have",
                entry.path.escape_ascii()
            )));
        }
        if entry.path.is_empty() {
            if !matches!(entry.kind, EntryKind::Directory) {
                return Err(Error::user("the archive says that its root is not a directory"));
            }
        } else {
            self.replace(&entry)?;
        }
        let digest = match &mut self.disk {
            Some(disk) => disk.write(&entry, content)?,
            None => digest_of(content, &mut io::sink())?,
        };
        self.tree.nodes.insert(entry.path.clone(), Node::from_entry(&entry, digest));
        Ok(())
    }

    /// Follows links among the parents of a path, by what this layer has said so far.
    fn resolve_parents(&self, path: &[u8]) -> Result<Vec<u8>, Error> {
        follow_links(path, LastComponent::Keep, |candidate| {
            match self.tree.nodes.get(candidate).map(|node| &node.kind) {
                Some(NodeKind::Symlink { target }) => Ok(Some(target.clone())),
                None | Some(NodeKind::Directory) => Ok(None),
                Some(_) => Err(Error::user(format!(
                    "the archive puts `{}` into `{}`, which is not a directory",
                    path.escape_ascii(),
                    candidate.escape_ascii()
                ))),
            }
        })
    }

    /// Makes room for an entry whose name the archive had before; a directory stays one.
    fn replace(&mut self, entry: &Entry) -> Result<(), Error> {
        let Some(old) = self.tree.nodes.get(&entry.path) else {
            // A directory that stands only because something is in it gives way to nothing but a directory.
            let implicit = self.tree.below(&entry.path).next().is_some();
            if implicit && !matches!(entry.kind, EntryKind::Directory) {
                return Err(Error::user(format!(
                    "the archive has `{}` both as a directory and as something else",
                    entry.path.escape_ascii()
                )));
            }
            return Ok(());
        };
        if old.is_directory() && matches!(entry.kind, EntryKind::Directory) {
            return Ok(());
        }
        let below: Vec<Vec<u8>> = self.tree.below(&entry.path).map(|(path, _)| path.clone()).collect();
        for path in below.iter().rev().chain([&entry.path]) {
            let node = self.tree.nodes.remove(path);
            if let (Some(disk), Some(node)) = (&mut self.disk, node) {
                disk.remove(path, &node)?;
            }
        }
        Ok(())
    }

    fn apply_whiteouts(&mut self) -> Result<(), Error> {
        for (path, opaque) in std::mem::take(&mut self.whiteouts) {
            let holds_names = self.tree.below(&path).next().is_some();
            match self.tree.nodes.get_mut(&path) {
                Some(node) if node.is_directory() => node.opaque = true,
                Some(_) => {}
                None if opaque || holds_names => {
                    // A directory that no entry speaks of, hiding what is below it.
                    let node = Node::directory(0o755, 0, 0, crate::BUILD_TIME);
                    self.tree.nodes.insert(path, Node { opaque: true, implicit: true, ..node });
                }
                None => {
                    if let Some(disk) = &mut self.disk {
                        disk.write_whiteout(&path)?;
                    }
                    self.tree.nodes.insert(path, Node::whiteout());
                }
            }
        }
        Ok(())
    }
}

/// The directory that a layer is unpacked into.
struct Disk {
    root: OwnedFd,
    /// The directory that the last entry stood in: most entries share it with the one before.
    last_parent: Option<(Vec<u8>, OwnedFd)>,
    unpack: Unpack,
}

impl Disk {
    fn write(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<[u8; 32], Error> {
        let path = entry.path.as_slice();
        let shown = crate::error::host_path(path);
        if matches!(entry.kind, EntryKind::Directory) {
            if self.unpack.is_whole() {
                self.make_directories(path).named("make the directory", &shown)?;
            }
            return Ok([0; 32]);
        }
        let name = CString::new(file_name(path)).map_err(|e| Error::world("a name holds a NUL", e))?;
        let unpack = self.unpack;
        let target_parent = match &entry.kind {
            EntryKind::Hardlink { target } => {
                Some((self.parent_of(target).named("open", &shown)?, target.clone()))
            }
            _ => None,
        };
        let (_, parent) = self.parent(path).named("open the directory of", &shown)?;
        let mut digest = [0; 32];
        match &entry.kind {
            EntryKind::File { .. } => {
                let flags =
                    OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file =
                    rustix::fs::openat(parent, &*name, flags, Mode::from(0o600)).named("create", &shown)?;
                let mut file = File::from(file);
                digest = digest_of(content, &mut file)
                    .map_err(|e| Error::world(format!("cannot unpack `{}`: {e}", shown.display()), e))?;
            }
            EntryKind::Hardlink { .. } => {
                let (from, target) = target_parent.as_ref().expect("set above for hard links");
                let from_name =
                    CString::new(file_name(target)).map_err(|e| Error::world("a name holds a NUL", e))?;
                return match rustix::fs::linkat(from, &*from_name, parent, &*name, AtFlags::empty()) {
                    Ok(()) => Ok(digest),
                    Err(Errno::NOENT) => Err(Error::user(format!(
                        "the archive links `{}` to `{}`, which is not in it",
                        shown.display(),
                        target.escape_ascii()
                    ))),
                    Err(error) => Err(error).named("link", &shown),
                };
            }
            _ if !unpack.is_whole() => return Ok(digest),
            EntryKind::Symlink { target } => {
                rustix::fs::symlinkat(target.as_slice(), parent, &*name).named("make the link", &shown)?;
            }
            EntryKind::CharDevice { major, minor } => {
                make_device(parent, &name, FileType::CharacterDevice, *major, *minor)
                    .named("make", &shown)?;
            }
            EntryKind::BlockDevice { major, minor } => {
                make_device(parent, &name, FileType::BlockDevice, *major, *minor).named("make", &shown)?;
            }
            EntryKind::Fifo => {
                rustix::fs::mknodat(parent, &*name, FileType::Fifo, Mode::from(0o600), 0)
                    .named("make", &shown)?;
            }
            EntryKind::Directory => unreachable!("directories are made above"),
        }
        if unpack.is_whole() {
            set_metadata(parent, &name, &unpack.on_disk(&Node::from_entry(entry, digest)))
                .named("set the attributes of", &shown)?;
        }
        Ok(digest)
    }

    /// Whether something is on the disk, and not in the tree alone.
    fn holds(&self, node: &Node) -> bool {
        self.unpack.is_whole() || matches!(node.kind, NodeKind::File { .. } | NodeKind::Hardlink { .. })
    }

    fn write_whiteout(&mut self, path: &[u8]) -> Result<(), Error> {
        if !self.unpack.is_whole() {
            return Ok(());
        }
        let shown = crate::error::host_path(path);
        let name = CString::new(file_name(path)).map_err(|e| Error::world("a name holds a NUL", e))?;
        let (_, parent) = self.parent(path).named("open the directory of", &shown)?;
        rustix::fs::mknodat(parent, &*name, FileType::CharacterDevice, Mode::empty(), 0)
            .named("mark as removed", &shown)
    }

    fn remove(&mut self, path: &[u8], node: &Node) -> Result<(), Error> {
        self.last_parent = None;
        if !self.holds(node) {
            return Ok(());
        }
        let shown = crate::error::host_path(path);
        let name = CString::new(file_name(path)).map_err(|e| Error::world("a name holds a NUL", e))?;
        let flags = if node.is_directory() { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        let (_, parent) = self.parent(path).named("open the directory of", &shown)?;
        rustix::fs::unlinkat(parent, &*name, flags).named("replace", &shown)
    }

    /// Opens the directory that a path stands in, making what is missing.
    fn parent(&mut self, path: &[u8]) -> Result<(Vec<u8>, BorrowedFd<'_>), Errno> {
        let directory = parent(path).unwrap_or_default().to_vec();
        if self.last_parent.as_ref().is_none_or(|(last, _)| *last != directory) {
            let fd = match open_beneath(self.root.as_fd(), &directory) {
                Err(Errno::NOENT) => {
                    self.make_directories(&directory)?;
                    open_beneath(self.root.as_fd(), &directory)?
                }
                other => other?,
            };
            self.last_parent = Some((directory.clone(), fd));
        }
        let (_, fd) = self.last_parent.as_ref().expect("set above");
        Ok((directory, fd.as_fd()))
    }

    fn parent_of(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        open_beneath(self.root.as_fd(), parent(path).unwrap_or_default())
    }

    fn make_directories(&self, path: &[u8]) -> Result<(), Errno> {
        for directory in ancestors(path).chain([path]).filter(|dir| !dir.is_empty()) {
            let above = self.parent_of(directory)?;
            match rustix::fs::mkdirat(&above, file_name(directory), Mode::from(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Gives directories their attributes: last and innermost first, so that a mode cannot lock us out and an entry
    /// made inside does not change the time.
    fn finish_directories(mut self, tree: &LayerTree) -> Result<(), Error> {
        if !self.unpack.is_whole() {
            return Ok(());
        }
        self.last_parent = None;
        for (path, node) in tree.nodes.iter().rev().filter(|(_, node)| node.is_directory()) {
            let shown = crate::error::host_path(path);
            if node.implicit {
                self.make_directories(path).named("make the directory", &shown)?;
            }
            set_directory(self.root.as_fd(), path, &self.unpack.on_disk(node))
                .named("set the attributes of", &shown)?;
        }
        Ok(())
    }
}

/// Gives a layer's implicit directories the attributes of the directories below them, in the tree and on the disk;
/// where the layer below has a link in such a place, what the layer put there moves to where the link leads.
///
/// # Errors
/// Fails where the disk does.
pub fn join_below(
    tree: &mut LayerTree,
    disk: Option<(&Path, Unpack)>,
    below: &StackedTree,
) -> Result<(), Error> {
    let root = disk
        .map(|(path, unpack)| {
            let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = rustix::fs::open(path, flags, Mode::empty()).named("open", path)?;
            Ok::<_, Error>(Disk { root, last_parent: None, unpack })
        })
        .transpose()?;
    let implicit = |tree: &LayerTree| -> Vec<Vec<u8>> {
        tree.nodes.iter().filter(|(_, node)| node.implicit).map(|(path, _)| path.clone()).collect()
    };
    for path in implicit(tree) {
        let Some(found) = below.lookup(&path) else { continue };
        if matches!(found.node.kind, NodeKind::Symlink { .. }) && tree.nodes.contains_key(&path) {
            let target = below
                .resolve(&path, LastComponent::Follow)
                .map_err(|e| Error::world(format!("cannot follow `{}`", path.escape_ascii()), e))?;
            relocate(tree, root.as_ref(), &path, &target)?;
        }
    }
    for path in implicit(tree) {
        let adopted = below.lookup(&path).map(|found| found.node).filter(|node| node.is_directory());
        let node = tree.nodes.get_mut(&path).expect("listed above");
        let opaque = node.opaque;
        if let Some(adopted) = adopted {
            *node = Node { opaque, ..adopted.clone() };
        }
        node.implicit = false;
        if let Some(disk) = root.as_ref().filter(|disk| disk.unpack.is_whole()) {
            let shown = crate::error::host_path(&path);
            set_directory(disk.root.as_fd(), &path, &disk.unpack.on_disk(node))
                .named("set the attributes of", &shown)?;
        }
    }
    Ok(())
}

/// Moves what stands under `from` to `to`, in the tree and on the disk.
fn relocate(tree: &mut LayerTree, disk: Option<&Disk>, from: &[u8], to: &[u8]) -> Result<(), Error> {
    let shown = crate::error::host_path(from);
    let moved: Vec<(Vec<u8>, Node)> =
        tree.below(from).map(|(path, node)| (path.clone(), node.clone())).collect();
    let new_path = |path: &[u8]| path.strip_prefix(from).map(|rest| [to, rest].concat());
    for (path, mut node) in moved {
        tree.nodes.remove(&path);
        let path_after = new_path(&path).expect("`below` gives paths under `from`");
        if let NodeKind::Hardlink { target } = &mut node.kind
            && let Some(after) = new_path(target)
        {
            *target = after;
        }
        if let Some(disk) = disk.filter(|disk| disk.holds(&node)) {
            let root = &disk.root;
            if node.is_directory() {
                disk.make_directories(&path_after).named("make", &shown)?;
                set_directory(root.as_fd(), &path_after, &disk.unpack.on_disk(&node))
                    .named("set the attributes of", &shown)?;
            } else {
                disk.make_directories(parent(&path_after).unwrap_or_default()).named("make", &shown)?;
                let old =
                    open_beneath(root.as_fd(), parent(&path).unwrap_or_default()).named("open", &shown)?;
                let new = disk.parent_of(&path_after).named("open", &shown)?;
                rustix::fs::renameat(old, file_name(&path), new, file_name(&path_after))
                    .named("move", &shown)?;
            }
        }
        tree.nodes.insert(path_after, node);
    }
    tree.nodes.remove(from);
    if let Some(disk) = disk {
        match remove_empty(disk.root.as_fd(), from) {
            Err(Errno::NOENT) if !disk.unpack.is_whole() => {}
            other => other.named("remove", &shown)?,
        }
    }
    tree.add_implicit_directories();
    Ok(())
}

/// Removes a directory and the directories in it.
fn remove_empty(root: BorrowedFd<'_>, path: &[u8]) -> Result<(), Errno> {
    let above = open_beneath(root, parent(path).unwrap_or_default())?;
    let fd = open_beneath(root, path)?;
    for entry in rustix::fs::Dir::read_from(&fd)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            remove_empty(root, &join(path, name))?;
        }
    }
    rustix::fs::unlinkat(above, file_name(path), AtFlags::REMOVEDIR)
}

/// Opens a directory below `root`, passing no symbolic link.
pub(crate) fn open_beneath(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    rustix::fs::openat2(
        root,
        path,
        OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
}

pub(super) fn make_device(
    parent: BorrowedFd<'_>,
    name: &CString,
    kind: FileType,
    major: u32,
    minor: u32,
) -> Result<(), Errno> {
    let device = rustix::fs::makedev(major, minor);
    match rustix::fs::mknodat(parent, &**name, kind, Mode::from(0o600), device) {
        Err(Errno::PERM) => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(parent, &**name, flags, Mode::from(0o600))?;
            let letter = if kind == FileType::BlockDevice { 'b' } else { 'c' };
            let text = format!("{letter} {major} {minor}");
            rustix::fs::fsetxattr(file, DEVICE_XATTR, text.as_bytes(), XattrFlags::empty())
        }
        other => other,
    }
}

/// Sets owner, mode, xattrs and time of something that is not a directory.
pub(super) fn set_metadata(parent: BorrowedFd<'_>, name: &CString, node: &Node) -> Result<(), Errno> {
    let symlink = matches!(node.kind, NodeKind::Symlink { .. });
    owner::give_at(parent, &**name, node.owner())?;
    if !symlink {
        rustix::fs::chmodat(parent, &**name, Mode::from(node.mode), AtFlags::empty())?;
        if !node.xattrs.is_empty() && matches!(node.kind, NodeKind::File { .. }) {
            // Opened again without following, for reading: the mode may forbid writing, and this does not care.
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let file = rustix::fs::openat(parent, &**name, flags, Mode::empty())?;
            set_xattrs(&file, node)?;
        }
    }
    rustix::fs::utimensat(parent, &**name, &times(node), AtFlags::SYMLINK_NOFOLLOW)
}

pub(super) fn set_directory(root: BorrowedFd<'_>, path: &[u8], node: &Node) -> Result<(), Errno> {
    let fd = open_beneath(root, path)?;
    owner::give(&fd, node.owner())?;
    rustix::fs::fchmod(&fd, Mode::from(node.mode))?;
    set_xattrs(&fd, node)?;
    if node.opaque {
        rustix::fs::fsetxattr(&fd, OPAQUE_XATTR, b"y", XattrFlags::empty())?;
    }
    rustix::fs::futimens(&fd, &times(node))
}

fn set_xattrs(fd: &OwnedFd, node: &Node) -> Result<(), Errno> {
    for (name, value) in &node.xattrs {
        match rustix::fs::fsetxattr(fd, name.as_slice(), value, XattrFlags::empty()) {
            // As containerd: a file system without such attributes does not stop the unpacking.
            Ok(()) | Err(Errno::NOTSUP) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn times(node: &Node) -> Timestamps {
    let time = Timespec { tv_sec: node.mtime.0, tv_nsec: node.mtime.1.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Copies everything to `out` and gives its BLAKE3.
pub(crate) fn digest_of(content: &mut dyn Read, out: &mut dyn Write) -> io::Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match content.read(&mut buffer) {
            Ok(0) => return Ok(*hasher.finalize().as_bytes()),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                out.write_all(&buffer[..n])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
