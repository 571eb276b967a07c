//! Directories of the host read as trees, and files opened below them.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

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
pub type Filter<'a> = &'a dyn Fn(&str, bool) -> Verdict;

/// A directory that has been read.
#[derive(Debug, Default)]
pub struct Scan {
    /// Its names. Contents are not read: their digests are zeros.
    pub tree: LayerTree,
    /// Sockets, which no layer can hold.
    pub sockets: Vec<Vec<u8>>,
}

/// Reads the names below a directory.
///
/// # Errors
/// Fails where something cannot be read; the error names it.
pub fn scan(root: &Path, reading: Reading, filter: Filter<'_>) -> Result<Scan, Error> {
    let fd = open_root(root)?;
    let mut scanner = Scanner { root, reading, scan: Scan::default(), links: BTreeMap::new() };
    let mut tentative = Vec::new();
    let mut pending = vec![Vec::new()];
    while let Some(directory) = pending.pop() {
        let shown = root.join(host_path(&directory));
        let handle = super::unpack::open_beneath(fd.as_fd(), &directory).named("open", &shown)?;
        for entry in rustix::fs::Dir::read_from(&handle).named("read", &shown)? {
            let entry = entry.named("read", &shown)?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let path = join(&directory, name.to_bytes());
            let stat = match rustix::fs::statat(&handle, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                other => other.named("look at", &root.join(host_path(&path)))?,
            };
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            match filter(&String::from_utf8_lossy(&path), is_directory) {
                Verdict::Skip => continue,
                Verdict::Descend if !is_directory => continue,
                Verdict::Descend => tentative.push(path.clone()),
                Verdict::Keep => {}
            }
            scanner.add(path.clone(), &stat)?;
            if is_directory {
                pending.push(path);
            }
        }
    }
    scanner.join_links();
    tentative.sort_unstable();
    for directory in tentative.iter().rev() {
        if scanner.scan.tree.below(directory).next().is_none() {
            scanner.scan.tree.nodes.remove(directory);
        }
    }
    Ok(scanner.scan)
}

/// Reads some names below a root file system; those that are not there are left out.
///
/// # Errors
/// As [`scan`].
pub fn scan_names<'a>(root: &Path, names: impl Iterator<Item = &'a [u8]>) -> Result<Scan, Error> {
    let mut scanner = Scanner { root, reading: Reading::Root, scan: Scan::default(), links: BTreeMap::new() };
    for name in names {
        let host = root.join(host_path(name));
        match rustix::fs::lstat(&host) {
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            other => scanner.add(name.to_vec(), &other.named("look at", &host)?)?,
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

struct Scanner<'a> {
    root: &'a Path,
    reading: Reading,
    scan: Scan,
    links: BTreeMap<(u64, u64), Vec<Vec<u8>>>,
}

impl Scanner<'_> {
    fn add(&mut self, path: Vec<u8>, stat: &Stat) -> Result<(), Error> {
        let host = self.root.join(host_path(&path));
        let mut node = Node {
            kind: NodeKind::Fifo,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or_default()),
            xattrs: BTreeMap::new(),
            opaque: false,
            implicit: false,
        };
        let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        node.kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                if stat.st_nlink > 1 {
                    self.links.entry((stat.st_dev, stat.st_ino)).or_default().push(path.clone());
                }
                NodeKind::File {
                    size_bytes: u64::try_from(stat.st_size).unwrap_or_default(),
                    content: [0; 32],
                }
            }
            FileType::Directory => NodeKind::Directory,
            FileType::Symlink => {
                let target = rustix::fs::readlink(&host, Vec::new()).named("read the link", &host)?;
                NodeKind::Symlink { target: target.into_bytes() }
            }
            FileType::CharacterDevice
                if self.reading == Reading::OverlayUpper && (major, minor) == (0, 0) =>
            {
                NodeKind::Whiteout
            }
            FileType::CharacterDevice => NodeKind::CharDevice(major, minor),
            FileType::BlockDevice => NodeKind::BlockDevice(major, minor),
            FileType::Fifo => NodeKind::Fifo,
            FileType::Socket | FileType::Unknown => {
                self.scan.sockets.push(path);
                return Ok(());
            }
        };
        if matches!(node.kind, NodeKind::File { .. } | NodeKind::Directory) {
            self.xattrs(&host, &mut node)?;
        }
        if node.kind == NodeKind::Whiteout {
            node = Node::whiteout();
        }
        self.scan.tree.nodes.insert(path, node);
        Ok(())
    }

    fn xattrs(&self, host: &Path, node: &mut Node) -> Result<(), Error> {
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
            } else if self.reading == Reading::OverlayUpper && name == OPAQUE_XATTR {
                node.opaque |= node.is_directory() && xattr(host, name)?.is_some_and(|value| value == b"y");
            } else if self.reading != Reading::Plain && name == DEVICE_XATTR {
                let value = xattr(host, name)?.unwrap_or_default();
                if let Some(kind) = parse_device(&value) {
                    node.kind = kind;
                }
            } else if self.reading != Reading::Plain
                && name == OWNER_XATTR
                && let Some(owner) = owner::of_text(&xattr(host, name)?.unwrap_or_default())
            {
                (node.uid, node.gid) = (owner.uid, owner.gid);
            }
        }
        Ok(())
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
