//! Layers put onto a plain directory, one after another: a root file system where nothing can be mounted.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::read::{Reading, Verdict, open_file, open_root, scan};
use super::unpack::{make_device, open_beneath, set_directory, set_metadata};
use crate::error::{Error, Named as _, host_path};
use crate::tree::{LayerTree, Node, NodeKind, file_name, parent};

/// Files below this size are copied by hand, in bytes: for these, asking the kernel to copy costs more than it saves.
const SMALL_FILE_BYTES: usize = 64 * 1024;

/// Puts a layer onto a root. `files` is the layer unpacked; no link of either is ever followed.
///
/// # Errors
/// Fails where the disk does.
pub fn apply(tree: &LayerTree, files: BorrowedFd<'_>, root: BorrowedFd<'_>) -> Result<(), Error> {
    let named = || tree.nodes.iter().filter(|(path, _)| !path.is_empty());
    let is_link = |node: &Node| matches!(node.kind, NodeKind::Hardlink { .. });
    make(named().filter(|(_, node)| !is_link(node)), root)?;
    // Most of the time goes into files, which do not need each other.
    let contents: Vec<(&Vec<u8>, &Node)> =
        named().filter(|(_, node)| matches!(node.kind, NodeKind::File { .. })).collect();
    let by_directory: Vec<&[(&Vec<u8>, &Node)]> =
        contents.chunk_by(|(a, _), (b, _)| parent(a) == parent(b)).collect();
    by_directory.into_par_iter().try_for_each(|group| copy_files(group, files, root))?;
    make(named().filter(|(_, node)| is_link(node)), root)?;
    // Innermost first, so that what was put inside does not change a time.
    for (path, node) in tree.nodes.iter().rev().filter(|(_, node)| node.is_directory()) {
        let node = Node { opaque: false, ..node.clone() };
        set_directory(root, path, &node).named("set the attributes of", &host_path(path))?;
    }
    Ok(())
}

/// Makes names in order, but for the contents of files, for which it makes room.
fn make<'a>(nodes: impl Iterator<Item = (&'a Vec<u8>, &'a Node)>, root: BorrowedFd<'_>) -> Result<(), Error> {
    let mut last_parent: Option<(&[u8], OwnedFd)> = None;
    for (path, node) in nodes {
        let shown = host_path(path);
        let directory = parent(path).unwrap_or_default();
        if last_parent.as_ref().is_none_or(|(last, _)| *last != directory) {
            last_parent =
                Some((directory, open_beneath(root, directory).named("open the directory of", &shown)?));
        }
        let (_, parent) = last_parent.as_ref().expect("set above");
        let name = CString::new(file_name(path)).map_err(|e| Error::world("a name holds a NUL", e))?;
        put(node, &name, parent.as_fd(), root).named("make", &shown)?;
        let has_own = !matches!(
            node.kind,
            NodeKind::Directory | NodeKind::Whiteout | NodeKind::Hardlink { .. } | NodeKind::File { .. }
        );
        if has_own {
            set_metadata(parent.as_fd(), &name, node).named("set the attributes of", &shown)?;
        }
    }
    Ok(())
}

/// Copies files that are in one directory.
fn copy_files(group: &[(&Vec<u8>, &Node)], files: BorrowedFd<'_>, root: BorrowedFd<'_>) -> Result<(), Error> {
    let Some((first, _)) = group.first() else { return Ok(()) };
    let directory = parent(first).unwrap_or_default();
    let open = |at| open_beneath(at, directory).named("open", &host_path(directory));
    let (from, to) = (open(files)?, open(root)?);
    let mut buffer = vec![0; SMALL_FILE_BYTES];
    for (path, node) in group {
        let shown = host_path(path);
        let name = CString::new(file_name(path)).map_err(|e| Error::world("a name holds a NUL", e))?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let to_file = rustix::fs::openat(&to, &*name, flags, Mode::from(0o600)).named("make", &shown)?;
        let mut from_file = open_file(from.as_fd(), file_name(path))?;
        copy(&mut from_file, &mut File::from(to_file), node, &mut buffer)
            .map_err(|e| Error::world(format!("cannot copy `{}`: {e}", shown.display()), e))?;
        set_metadata(to.as_fd(), &name, node).named("set the attributes of", &shown)?;
    }
    Ok(())
}

/// Copies a file's bytes: small ones by hand, of large ones the kernel shares the blocks where the disk can.
fn copy(from: &mut File, to: &mut File, node: &Node, buffer: &mut [u8]) -> std::io::Result<()> {
    let is_small =
        matches!(node.kind, NodeKind::File { size_bytes, .. } if size_bytes < SMALL_FILE_BYTES as u64);
    if !is_small {
        return std::io::copy(from, to).map(drop);
    }
    loop {
        match from.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => to.write_all(&buffer[..read])?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Copies a root file system, or any directory, with everything about it.
///
/// # Errors
/// Fails where the disk does.
pub fn copy_directory(from: &Path, to: &Path) -> Result<(), Error> {
    use std::os::unix::fs::MetadataExt as _;
    fs_err::create_dir(to)?;
    let all = scan(from, Reading::Root, &|_, _| Verdict::Keep)?;
    apply(&all.tree, open_root(from)?.as_fd(), open_root(to)?.as_fd())?;
    let metadata = fs_err::metadata(from)?;
    fs_err::os::unix::fs::chown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    fs_err::set_permissions(to, metadata.permissions())?;
    Ok(())
}

/// Makes everything but a regular file, for which it makes room.
fn put(node: &Node, name: &CString, parent: BorrowedFd<'_>, root: BorrowedFd<'_>) -> Result<(), Errno> {
    if node.is_directory() && !node.opaque && is_directory(parent, name) {
        return Ok(());
    }
    remove(parent, name)?;
    match &node.kind {
        NodeKind::Directory => rustix::fs::mkdirat(parent, &**name, Mode::from(0o700)),
        NodeKind::Symlink { target } => rustix::fs::symlinkat(target.as_slice(), parent, &**name),
        NodeKind::Hardlink { target } => {
            let above = open_beneath(root, crate::tree::parent(target).unwrap_or_default())?;
            rustix::fs::linkat(above, file_name(target), parent, &**name, AtFlags::empty())
        }
        NodeKind::CharDevice(major, minor) => {
            make_device(parent, name, FileType::CharacterDevice, *major, *minor)
        }
        NodeKind::BlockDevice(major, minor) => {
            make_device(parent, name, FileType::BlockDevice, *major, *minor)
        }
        NodeKind::Fifo => rustix::fs::mknodat(parent, &**name, FileType::Fifo, Mode::from(0o600), 0),
        NodeKind::File { .. } | NodeKind::Whiteout => Ok(()),
    }
}

fn is_directory(parent: BorrowedFd<'_>, name: &CString) -> bool {
    rustix::fs::statat(parent, &**name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Removes a name with all that is in it; one that is not there is no error.
fn remove(parent: BorrowedFd<'_>, name: &std::ffi::CStr) -> Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&directory)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            remove(directory.as_fd(), entry.file_name())?;
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}
