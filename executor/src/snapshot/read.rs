//! Directories of the host read as trees, and files opened below them.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::{DEVICE_XATTR, OPAQUE_XATTR, belongs_in_layer};
use crate::error::{Error, Named as _, host_path};
use crate::owner::{self, OWNER_XATTR};
use crate::tree::{LayerTree, Node, NodeKind, join};

/// What a filter says of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is there.
    Keep,
    /// It is not there, nor is anything in it.
    Skip,
    /// It is not there itself, but something in it may be.
    Descend,
}

/// What a directory is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The files as they are.
    Plain,
    /// A root file system: files that stand for devices become devices.
    Root,
    /// An overlay's upper directory: besides, its marks become whiteouts and opaque directories.
    OverlayUpper,
}

/// Says of each name (relative, with slashes) whether it is there.
pub type Filter<'a> = &'a (dyn Fn(&str, bool) -> Verdict + Sync);

/// A directory that has been read.
#[derive(Debug, Default)]
pub struct Scan {
    /// Its names. Contents are not read: their digests are zeros.
    pub tree: LayerTree,
    /// Sockets, which no layer can hold.
    pub sockets: Vec<Vec<u8>>,
}

/// Says what a name was when it was last read, if its attributes say that it is still that.
pub type Remembered<'a> = &'a (dyn Fn(&[u8], &Stat) -> Option<Node> + Sync);

/// Reads the names below a directory, on all cores.
///
/// # Errors
/// Fails where something cannot be read; the error names it.
pub fn scan(root: &Path, reading: Reading, filter: Filter<'_>) -> Result<Scan, Error> {
    scan_again(root, reading, filter, &|_, _| None, &mut |_, _| ())
}

/// As [`scan`], but asks `remembered` before it reads more of a name than its attributes, and tells `seen` of each, in the order of
/// the paths.
///
/// # Errors
/// As [`scan`].
pub fn scan_again(
    root: &Path,
    reading: Reading,
    filter: Filter<'_>,
    remembered: Remembered<'_>,
    seen: &mut dyn FnMut(&[u8], &Stat),
) -> Result<Scan, Error> {
    let fd = open_root(root)?;
    let walk = Walk { root, fd: fd.as_fd(), reading, filter, remembered };
    let mut scanner = Scanner::default();
    let mut tentative = Vec::new();
    let mut found = walk.below(&[])?;
    found.par_sort_unstable_by(|a, b| a.path.cmp(&b.path));
    for Found { path, is_tentative, stat, node } in found {
        seen(&path, &stat);
        if is_tentative {
            tentative.push(path.clone());
        }
        scanner.add(path, several_names(&stat), node);
    }
    scanner.join_links();
    for directory in tentative.iter().rev() {
        if scanner.scan.tree.below(directory).next().is_none() {
            scanner.scan.tree.nodes.remove(directory);
        }
    }
    Ok(scanner.scan)
}

/// A walk through a directory.
struct Walk<'a> {
    root: &'a Path,
    fd: BorrowedFd<'a>,
    reading: Reading,
    filter: Filter<'a>,
    remembered: Remembered<'a>,
}

/// What a walk found.
struct Found {
    path: Vec<u8>,
    /// Set for a directory that counts only if something in it does.
    is_tentative: bool,
    stat: Stat,
    /// None for a socket.
    node: Option<Node>,
}

impl Walk<'_> {
    fn below(&self, directory: &[u8]) -> Result<Vec<Found>, Error> {
        let shown = self.root.join(host_path(directory));
        let handle = super::unpack::open_beneath(self.fd, directory).named("open", &shown)?;
        let mut all = Vec::new();
        let mut pending = Vec::new();
        for entry in rustix::fs::Dir::read_from(&handle).named("read", &shown)? {
            let entry = entry.named("read", &shown)?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let path = join(directory, name.to_bytes());
            let stat = match rustix::fs::statat(&handle, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                other => other.named("look at", &self.root.join(host_path(&path)))?,
            };
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            let verdict = (self.filter)(&String::from_utf8_lossy(&path), is_directory);
            if verdict == Verdict::Skip || (verdict == Verdict::Descend && !is_directory) {
                continue;
            }
            if is_directory {
                pending.push(path.clone());
            }
            let node = match (self.remembered)(&path, &stat) {
                Some(node) => Some(node),
                None => read_node(self.root, self.reading, &path, &stat)?,
            };
            let is_tentative = verdict == Verdict::Descend;
            all.push(Found { path, is_tentative, stat, node });
        }
        drop(handle);
        let below: Vec<Vec<Found>> =
            pending.par_iter().map(|path| self.below(path)).collect::<Result<_, _>>()?;
        all.extend(below.into_iter().flatten());
        Ok(all)
    }
}

/// Device and inode of a file that has several names.
fn several_names(stat: &Stat) -> Option<(u64, u64)> {
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    (is_file && stat.st_nlink > 1).then_some((stat.st_dev, stat.st_ino))
}

/// Reads some names below a root file system; those that are not there are left out.
///
/// # Errors
/// As [`scan`].
pub fn scan_names<'a>(root: &Path, names: impl Iterator<Item = &'a [u8]>) -> Result<Scan, Error> {
    let mut scanner = Scanner::default();
    for name in names {
        let host = root.join(host_path(name));
        match rustix::fs::lstat(&host) {
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            other => {
                let stat = other.named("look at", &host)?;
                let node = read_node(root, Reading::Root, name, &stat)?;
                scanner.add(name.to_vec(), several_names(&stat), node);
            }
        }
    }
    scanner.join_links();
    Ok(scanner.scan)
}

/// Opens the directory that paths are read below.
///
/// # Errors
/// Fails where it is missing or no directory.
pub fn open_root(root: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open(root, flags, Mode::empty()).named("open", root)
}

/// Opens a regular file below `root` for reading, passing no symbolic link.
///
/// # Errors
/// Fails where it cannot be opened, or is no regular file.
pub fn open_file(root: BorrowedFd<'_>, path: &[u8]) -> Result<File, Error> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let shown = host_path(path);
    let fd = rustix::fs::openat2(root, path, flags, Mode::empty(), resolve).named("open", &shown)?;
    let file = File::from(fd);
    if !file.metadata().named("look at", &shown)?.is_file() {
        return Err(Error::user(format!("`{}` changed while it was being read", shown.display())));
    }
    Ok(file)
}

#[derive(Default)]
struct Scanner {
    scan: Scan,
    links: BTreeMap<(u64, u64), Vec<Vec<u8>>>,
}

/// Reads what a name is; none for a socket.
fn read_node(root: &Path, reading: Reading, path: &[u8], stat: &Stat) -> Result<Option<Node>, Error> {
    let host = root.join(host_path(path));
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            NodeKind::File { size_bytes: u64::try_from(stat.st_size).unwrap_or_default(), content: [0; 32] }
        }
        FileType::Directory => NodeKind::Directory,
        FileType::Symlink => {
            let target = rustix::fs::readlink(&host, Vec::new()).named("read the link", &host)?;
            NodeKind::Symlink { target: target.into_bytes() }
        }
        FileType::CharacterDevice if reading == Reading::OverlayUpper && (major, minor) == (0, 0) => {
            return Ok(Some(Node::whiteout()));
        }
        FileType::CharacterDevice => NodeKind::CharDevice(major, minor),
        FileType::BlockDevice => NodeKind::BlockDevice(major, minor),
        FileType::Fifo => NodeKind::Fifo,
        FileType::Socket | FileType::Unknown => return Ok(None),
    };
    let mut node = Node {
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or_default()),
        xattrs: BTreeMap::new(),
        opaque: false,
        implicit: false,
    };
    if matches!(node.kind, NodeKind::File { .. } | NodeKind::Directory) {
        read_xattrs(reading, &host, &mut node)?;
    }
    Ok(Some(node))
}

fn read_xattrs(reading: Reading, host: &Path, node: &mut Node) -> Result<(), Error> {
    let mut names = vec![0_u8; 1024];
    let length = match rustix::fs::llistxattr(host, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::RANGE) => {
            names.resize(64 * 1024, 0);
            rustix::fs::llistxattr(host, &mut names[..]).named("list the attributes of", host)?
        }
        Err(Errno::NOTSUP | Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error).named("list the attributes of", host),
    };
    for name in names[..length].split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        if belongs_in_layer(name.to_bytes()) {
            if let Some(value) = xattr(host, name)? {
                node.xattrs.insert(name.to_bytes().to_vec(), value);
            }
        } else if reading == Reading::OverlayUpper && name == OPAQUE_XATTR {
            node.opaque |= node.is_directory() && xattr(host, name)?.is_some_and(|value| value == b"y");
        } else if reading != Reading::Plain && name == DEVICE_XATTR {
            let value = xattr(host, name)?.unwrap_or_default();
            if let Some(kind) = parse_device(&value) {
                node.kind = kind;
            }
        } else if reading != Reading::Plain
            && name == OWNER_XATTR
            && let Some(owner) = owner::of_text(&xattr(host, name)?.unwrap_or_default())
        {
            (node.uid, node.gid) = (owner.uid, owner.gid);
        }
    }
    Ok(())
}

impl Scanner {
    fn add(&mut self, path: Vec<u8>, file: Option<(u64, u64)>, node: Option<Node>) {
        let Some(node) = node else {
            self.scan.sockets.push(path);
            return;
        };
        if let Some(file) = file {
            self.links.entry(file).or_default().push(path.clone());
        }
        self.scan.tree.nodes.insert(path, node);
    }

    /// Makes all names of a file but the first into hard links to it.
    fn join_links(&mut self) {
        for (_, mut names) in std::mem::take(&mut self.links) {
            names.sort_unstable();
            let Some((first, others)) = names.split_first() else { continue };
            for name in others {
                if let Some(node) = self.scan.tree.nodes.get_mut(name)
                    && matches!(node.kind, NodeKind::File { .. })
                {
                    node.kind = NodeKind::Hardlink { target: first.clone() };
                }
            }
        }
    }
}

fn xattr(host: &Path, name: &CStr) -> Result<Option<Vec<u8>>, Error> {
    let mut value = vec![0_u8; 64 * 1024];
    match rustix::fs::lgetxattr(host, name, &mut value[..]) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(Errno::NODATA | Errno::NOENT) => Ok(None),
        Err(error) => Err(error).named("read an attribute of", host),
    }
}

/// The device that [`DEVICE_XATTR`] holds.
pub(crate) fn parse_device(value: &[u8]) -> Option<NodeKind> {
    let text = std::str::from_utf8(value).ok()?;
    let mut words = text.split(' ');
    let letter = words.next()?;
    let major = words.next()?.parse().ok()?;
    let minor = words.next()?.parse().ok()?;
    match letter {
        "c" => Some(NodeKind::CharDevice(major, minor)),
        "b" => Some(NodeKind::BlockDevice(major, minor)),
        _ => None,
    }
}
