//! Files, directories and links below a folder of this machine, each whole or not at all.
//!
//! A stage may hold anything: its names are joined to the folder one by one, past no link, and what is no plain file is
//! left out. What is there already stays, but for files and links of the same names.

use std::ffi::OsStr;
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use kairn_compiler::graph::Artifact;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::Source;
use crate::error::{Error, Named as _, host_path};
use crate::snapshot::read::{open_file, open_root};
use crate::tree::{Found, NodeKind, components, file_name, join, parent};

/// What was written.
pub(super) struct Copied {
    pub(super) dest: PathBuf,
    pub(super) files: usize,
    pub(super) size_bytes: u64,
    /// Names that cannot stand there, and why.
    pub(super) left_out: Vec<String>,
}

/// Copies what is at a resolved path, which is there, to the artifact's place.
pub(super) fn write(source: &Source<'_>, path: &[u8], artifact: &Artifact) -> Result<Copied, Error> {
    let (folder, name) = place(artifact);
    fs_err::create_dir_all(&folder)?;
    let dest = if name.is_empty() { folder.clone() } else { folder.join(host_path(&name)) };
    let root = open_root(&folder)?;
    let copied = Copied { dest, files: 0, size_bytes: 0, left_out: Vec::new() };
    let mut writer = Writer { source, root, shown: folder, copied };
    match source.tree.lookup(path) {
        Some(found) if !found.node.is_directory() => writer.put(&name, &[], path, found)?,
        _ => writer.put_all(&name, path)?,
    }
    Ok(writer.copied)
}

/// The folder that an artifact goes into, and its name there; no name for all that is in a stage.
fn place(artifact: &Artifact) -> (PathBuf, Vec<u8>) {
    let dest = &artifact.dest;
    let is_folder = dest.as_os_str().as_bytes().ends_with(b"/") || dest.is_dir();
    match (is_folder, dest.file_name()) {
        (false, Some(name)) => {
            let folder = dest.parent().filter(|folder| !folder.as_os_str().is_empty());
            (folder.unwrap_or(Path::new(".")).to_owned(), name.as_bytes().to_vec())
        }
        _ => (dest.clone(), file_name(artifact.path.as_bytes()).to_vec()),
    }
}

struct Writer<'a> {
    source: &'a Source<'a>,
    root: OwnedFd,
    /// The name of the root.
    shown: PathBuf,
    copied: Copied,
}

impl Writer<'_> {
    /// Writes a directory with everything in it.
    fn put_all(&mut self, name: &[u8], path: &[u8]) -> Result<(), Error> {
        match self.source.tree.lookup(path) {
            // All that is in a stage, into a folder that is there.
            _ if name.is_empty() => {}
            Some(found) => self.put(name, &[], path, found)?,
            // A stage's root need not be in any layer.
            None => make_directory(self.root.as_fd(), OsStr::from_bytes(name), 0o755, &self.copied.dest)?,
        }
        let cut = if path.is_empty() { 0 } else { path.len() + 1 };
        for (below, found) in self.source.tree.walk(path) {
            self.put(name, &below[cut..], below, found)?;
        }
        Ok(())
    }

    /// Writes one name: `inside` is its path in the artifact, `path` that in the stage.
    fn put(&mut self, name: &[u8], inside: &[u8], path: &[u8], found: Found<'_>) -> Result<(), Error> {
        let target = if inside.is_empty() { name.to_vec() } else { join(name, inside) };
        let shown = self.shown.join(host_path(&target));
        let Some((link, node)) = self.source.tree.link_target(found) else { return Ok(()) };
        let directory = self.open(parent(&target).unwrap_or_default(), &shown)?;
        let last = OsStr::from_bytes(file_name(&target));
        let kind = match &node.kind {
            NodeKind::Directory => return make_directory(directory.as_fd(), last, node.mode, &shown),
            NodeKind::File { .. } => {
                let root = (self.source.root)(found.layer)?;
                let mut content = open_file(root.as_fd(), link.unwrap_or(path))?;
                self.copied.size_bytes +=
                    make_file(directory.as_fd(), last, node.mode, &mut content, &shown)?;
                self.copied.files += 1;
                return Ok(());
            }
            NodeKind::Symlink { target } if stays_inside(inside, target) => {
                self.copied.files += 1;
                return make_link(directory.as_fd(), last, target, &shown);
            }
            NodeKind::Symlink { .. } => "a link that leads out",
            NodeKind::CharDevice(..) | NodeKind::BlockDevice(..) => "a device",
            NodeKind::Fifo => "a pipe",
            NodeKind::Hardlink { .. } | NodeKind::Whiteout => return Ok(()),
        };
        self.copied.left_out.push(format!("`/{}` ({kind})", path.escape_ascii()));
        Ok(())
    }

    /// Opens a directory below the root, passing no link.
    fn open(&self, path: &[u8], shown: &Path) -> Result<OwnedFd, Error> {
        let path = if path.is_empty() { b"." } else { path };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve).named("write", shown)
    }
}

/// Whether a link's text leads to something in the artifact that the link itself is in.
fn stays_inside(link: &[u8], target: &[u8]) -> bool {
    let mut depth = components(parent(link).unwrap_or_default()).count();
    let goes_out = components(target).any(|name| {
        let climbs = name == b"..";
        let goes_out = climbs && depth == 0;
        depth = if climbs { depth.saturating_sub(1) } else { depth + 1 };
        goes_out
    });
    !target.starts_with(b"/") && !goes_out
}

fn make_directory(folder: BorrowedFd<'_>, name: &OsStr, mode: u32, shown: &Path) -> Result<(), Error> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => return Ok(()),
        Ok(_) => rustix::fs::unlinkat(folder, name, AtFlags::empty()).named("replace", shown)?,
        Err(Errno::NOENT) => {}
        Err(error) => return Err(error).named("look at", shown),
    }
    let mode = Mode::from_raw_mode(mode & 0o777 | 0o700);
    rustix::fs::mkdirat(folder, name, mode).named("make the directory", shown)
}

/// Writes a file beside its place and renames it into it; gives its length in bytes.
fn make_file(
    folder: BorrowedFd<'_>,
    name: &OsStr,
    mode: u32,
    content: &mut File,
    shown: &Path,
) -> Result<u64, Error> {
    let temporary = temporary_name();
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(mode & 0o777 | 0o600);
    let handle = rustix::fs::openat(folder, &temporary, flags, mode).named("write", shown)?;
    let written = std::io::copy(content, &mut File::from(handle)).named("write", shown);
    move_into_place(folder, &temporary, name, written, shown)
}

fn make_link(folder: BorrowedFd<'_>, name: &OsStr, target: &[u8], shown: &Path) -> Result<(), Error> {
    let temporary = temporary_name();
    let made = rustix::fs::symlinkat(target, folder, &temporary).named("make the link", shown);
    move_into_place(folder, &temporary, name, made, shown)
}

fn move_into_place<T>(
    folder: BorrowedFd<'_>,
    temporary: &str,
    name: &OsStr,
    written: Result<T, Error>,
    shown: &Path,
) -> Result<T, Error> {
    let moved = written.and_then(|value| {
        rustix::fs::renameat(folder, temporary, folder, name).named("write", shown)?;
        Ok(value)
    });
    if moved.is_err() {
        let _ = rustix::fs::unlinkat(folder, temporary, AtFlags::empty());
    }
    moved
}

/// A name that nobody has: each state of a hasher is another one.
fn temporary_name() -> String {
    format!(".kairn-{}-{:016x}", std::process::id(), RandomState::new().hash_one(()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::sync::{Arc, mpsc};

    use super::super::{copy_out, of_directory, of_upper};
    use super::*;
    use crate::events::{EventKind, Events};

    fn artifact(path: &str, dest: PathBuf) -> Artifact {
        Artifact { stage: "test".to_owned(), step: 0.into(), path: path.to_owned(), dest }
    }

    /// Everything below a folder: contents of files, targets of links.
    fn listing(folder: &Path) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        let mut pending = vec![folder.to_owned()];
        while let Some(next) = pending.pop() {
            for entry in std::fs::read_dir(next).expect("a folder") {
                let path = entry.expect("an entry").path();
                let name = path.strip_prefix(folder).expect("it is below").display().to_string();
                if let Ok(target) = std::fs::read_link(&path) {
                    all.insert(name, format!("-> {}", target.display()));
                } else if path.is_dir() {
                    all.insert(format!("{name}/"), String::new());
                    pending.push(path);
                } else {
                    all.insert(name, std::fs::read_to_string(&path).expect("a text"));
                }
            }
        }
        all
    }

    fn shown(listing: &BTreeMap<String, String>) -> Vec<String> {
        listing.iter().map(|(name, content)| format!("{name} {content}").trim_end().to_owned()).collect()
    }

    #[test]
    fn files_go_to_their_place_and_nowhere_else() {
        let (stage, host) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let (root, host) = (stage.path(), host.path());
        std::fs::create_dir_all(root.join("out/deep")).expect("a folder");
        std::fs::write(root.join("out/report"), "ok").expect("a file");
        std::fs::write(root.join("out/deep/tool"), "tool").expect("a file");
        std::fs::set_permissions(root.join("out/deep/tool"), std::fs::Permissions::from_mode(0o6755))
            .expect("a mode");
        std::fs::hard_link(root.join("out/report"), root.join("out/again")).expect("a link");
        symlink("../report", root.join("out/deep/near")).expect("a link");
        symlink("../../etc", root.join("out/deep/far")).expect("a link");
        symlink("/etc/passwd", root.join("out/absolute")).expect("a link");
        symlink("/out", root.join("latest")).expect("a link");
        symlink("/../../../../etc", root.join("outside")).expect("a link");
        let view = of_directory(root).expect("a view");
        let layer = |at: usize| Ok(Arc::clone(&view.roots[at]));
        let source = Source { tree: &view.tree, root: &layer };
        let (sender, receiver) = mpsc::channel();
        let events = Events::new(sender);
        // A link that stands where a directory has to be is not followed.
        std::fs::create_dir_all(host.join("other/latest")).expect("a folder");
        symlink("/", host.join("other/latest/deep")).expect("a link");
        let copy = |path: &str, dest: &str| {
            copy_out(&artifact(path, host.join(dest)), &source, &events).expect("a copy")
        };
        assert!(copy("/out", "new").is_some_and(|written| written.files == 4 && written.size_bytes == 8));
        assert!(copy("/latest", "other/").is_some());
        assert!(copy("/out/report", "a/b/name").is_some());
        assert!(copy("/out/report", "other").is_some());
        assert!(copy("/missing", "other").is_none());
        for dest in ["all", "all-in/", "all"] {
            assert!(copy("/", dest).is_some_and(|written| written.files == 5), "{dest}");
            assert_eq!(
                std::fs::read_to_string(host.join(dest).join("out/deep/tool")).expect("a file"),
                "tool"
            );
            assert!(!host.join(dest).join("latest").exists());
            std::fs::remove_file(host.join(dest).join("out/deep/tool")).expect("a file");
        }
        std::fs::remove_dir_all(host.join("all")).expect("a folder");
        std::fs::remove_dir_all(host.join("all-in")).expect("a folder");
        assert!(copy("/outside/passwd", "other").is_none());
        let tree = ["again ok", "deep/", "deep/near -> ../report", "deep/tool tool", "report ok"];
        let below = |folder: &str| tree.map(|line| format!("{folder}/{line}")).to_vec();
        let mut expected =
            vec!["a/".to_owned(), "a/b/".to_owned(), "a/b/name ok".to_owned(), "new/".to_owned()];
        expected.extend(below("new"));
        expected.extend(["other/".to_owned(), "other/latest/".to_owned()]);
        expected.extend(below("other/latest"));
        expected.push("other/report ok".to_owned());
        assert_eq!(shown(&listing(host)), expected);
        let mode = host.join("new/deep/tool").metadata().expect("a file").permissions().mode();
        assert_eq!(mode & 0o7777, 0o755);
        drop(events);
        let notices = receiver.iter().filter_map(|event| match event.kind {
            EventKind::Notice(text) => Some(text),
            _ => None,
        });
        let first = notices.into_iter().next();
        assert_eq!(
            first.as_deref(),
            Some("left out of the artifact `/out`: `/out/absolute` (a link that leads out), and 1 more")
        );
    }

    #[test]
    fn what_a_command_removed_is_not_there() {
        let (stage, host) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let (lower, upper) = (stage.path().join("lower"), stage.path().join("upper"));
        for folder in ["lower/out/old", "lower/out/kept", "upper/out/old"] {
            std::fs::create_dir_all(stage.path().join(folder)).expect("a folder");
        }
        for file in ["lower/out/old/gone", "lower/out/kept/one", "lower/out/both", "upper/out/old/new"] {
            std::fs::write(stage.path().join(file), file).expect("a file");
        }
        std::fs::write(upper.join("out/both"), "upper").expect("a file");
        let opaque = crate::snapshot::OPAQUE_XATTR;
        rustix::fs::setxattr(upper.join("out/old"), opaque, b"y", rustix::fs::XattrFlags::empty())
            .expect("temporary files can have attributes of users");
        let view = of_upper(of_directory(&lower).expect("a view"), &upper).expect("a view");
        let layer = |at: usize| Ok(Arc::clone(&view.roots[at]));
        let source = Source { tree: &view.tree, root: &layer };
        let events = Events::new(mpsc::channel().0);
        let copied = copy_out(&artifact("/out", host.path().join("x")), &source, &events).expect("a copy");
        assert!(copied.is_some_and(|written| written.files == 3));
        let expected = [
            "x/",
            "x/both upper",
            "x/kept/",
            "x/kept/one lower/out/kept/one",
            "x/old/",
            "x/old/new upper/out/old/new",
        ];
        assert_eq!(shown(&listing(host.path())), expected);
    }
}
