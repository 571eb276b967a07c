//! A directory's names with what tells whether a file has been touched, so that no content has to be read for it.
//!
//! Every change of a file or of its attributes changes its inode's change time, which no program can set
//! (inode(7)); a name that leads to another file has another inode. So what has kept both is what it was.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::read::open_root;
use crate::error::{Error, Named as _, host_path};
use crate::tree::{join, parent};

/// What tells whether a file has been touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    /// Seconds and nanoseconds of the last change of anything about it.
    changed: (i64, u64),
    size_bytes: i64,
    mode: u32,
    uid: u32,
    gid: u32,
}

impl Stamp {
    fn of(stat: &Stat) -> Self {
        Self {
            inode: stat.st_ino,
            changed: (stat.st_ctime, stat.st_ctime_nsec),
            size_bytes: stat.st_size,
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
        }
    }

    fn is_directory(&self) -> bool {
        FileType::from_raw_mode(self.mode) == FileType::Directory
    }
}

/// What stood in a directory when it was looked at.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// In the order of the paths.
    names: Vec<(Vec<u8>, Stamp)>,
}

/// The difference between two looks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Names that are new or may have changed.
    pub changed: Vec<Vec<u8>>,
    /// Names that are gone, and whose directory is not.
    pub removed: Vec<Vec<u8>>,
}

impl Seen {
    /// What is different in a later look.
    pub fn changes(&self, after: &Self) -> Changes {
        let mut changes = Changes::default();
        let mut before = self.names.iter().peekable();
        for (path, stamp) in &after.names {
            while let Some((gone, _)) = before.next_if(|(old, _)| old < path) {
                after.note_removal(gone, &mut changes);
            }
            match before.next_if(|(old, _)| old == path) {
                Some((_, old)) if old == stamp => {}
                _ => changes.changed.push(path.clone()),
            }
        }
        for (gone, _) in before {
            after.note_removal(gone, &mut changes);
        }
        changes
    }

    fn note_removal(&self, path: &[u8], changes: &mut Changes) {
        let directory = parent(path).unwrap_or_default();
        if directory.is_empty() || self.get(directory).is_some_and(Stamp::is_directory) {
            changes.removed.push(path.to_vec());
        }
    }

    fn get(&self, path: &[u8]) -> Option<&Stamp> {
        let at = self.names.binary_search_by(|(name, _)| name.as_slice().cmp(path)).ok()?;
        Some(&self.names[at].1)
    }

    /// Whether nothing was seen, or nobody looked.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The time of the last change of anything.
    pub fn newest(&self) -> (i64, u64) {
        self.names.iter().map(|(_, stamp)| stamp.changed).max().unwrap_or_default()
    }

    /// Looks at some names once more.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn look_again<'a>(
        &mut self,
        root: &Path,
        names: impl Iterator<Item = &'a Vec<u8>>,
    ) -> Result<(), Error> {
        for name in names {
            let Ok(at) = self.names.binary_search_by(|(path, _)| path.cmp(name)) else { continue };
            let host = root.join(host_path(name));
            self.names[at].1 = Stamp::of(&rustix::fs::lstat(&host).named("look at", &host)?);
        }
        Ok(())
    }
}

/// Looks at everything below a directory; on all cores.
///
/// # Errors
/// Fails where something cannot be read; the error names it.
pub fn walk(root: &Path) -> Result<Seen, Error> {
    let handle = open_root(root)?;
    let mut names = walk_directory(&handle, b"").map_err(|(path, errno)| {
        let host = root.join(host_path(&path));
        Error::world(format!("cannot look at `{}`", host.display()), std::io::Error::from(errno))
    })?;
    names.par_sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    Ok(Seen { names })
}

type Names = Vec<(Vec<u8>, Stamp)>;

fn walk_directory(handle: &OwnedFd, path: &[u8]) -> Result<Names, (Vec<u8>, Errno)> {
    let at = |errno| (path.to_vec(), errno);
    let mut names = Names::new();
    let mut directories = Vec::new();
    for entry in rustix::fs::Dir::read_from(handle).map_err(at)? {
        let entry = entry.map_err(at)?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let stat = rustix::fs::statat(handle, name, AtFlags::SYMLINK_NOFOLLOW).map_err(at)?;
        let stamp = Stamp::of(&stat);
        if stamp.is_directory() {
            directories.push(name.to_owned());
        }
        names.push((join(path, name.to_bytes()), stamp));
    }
    let below: Vec<Names> = directories
        .par_iter()
        .map(|name| {
            let path = join(path, name.to_bytes());
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
            match rustix::fs::openat(handle.as_fd(), name, flags, Mode::empty()) {
                Ok(handle) => walk_directory(&handle, &path),
                Err(errno) => Err((path, errno)),
            }
        })
        .collect::<Result<_, _>>()?;
    names.extend(below.into_iter().flatten());
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_what_was_touched() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for directory in ["keep", "gone", "gone/deep", "turned"] {
            std::fs::create_dir(root.join(directory)).unwrap();
        }
        for file in ["keep/a", "keep/b", "gone/deep/c", "turned/d", "back"] {
            std::fs::write(root.join(file), "x").unwrap();
        }
        let before = walk(root).unwrap();
        assert_eq!(before.changes(&walk(root).unwrap()), Changes::default());
        // The clock of the disk ticks every few milliseconds.
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::remove_dir_all(root.join("gone")).unwrap();
        std::fs::remove_dir_all(root.join("turned")).unwrap();
        std::fs::write(root.join("turned"), "file").unwrap();
        let time = std::fs::metadata(root.join("back")).unwrap().modified().unwrap();
        std::fs::write(root.join("back"), "y").unwrap();
        std::fs::File::options().write(true).open(root.join("back")).unwrap().set_modified(time).unwrap();
        let changes = before.changes(&walk(root).unwrap());
        assert_eq!(changes.changed, [b"back".to_vec(), b"turned".to_vec()]);
        assert_eq!(changes.removed, [b"gone".to_vec()]);
    }
}
