//! Places in a root file system that something is put on for the time of a RUN.

use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;

/// Device nodes of every container, by name and number.
pub(super) const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Links in /dev.
pub(super) const DEV_LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// A mount that the machine refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) what: String,
    pub(crate) error: std::io::Error,
}

pub(crate) type Result<T> = std::result::Result<T, Refusal>;

pub(crate) trait Trying<T> {
    fn trying(self, what: &str) -> Result<T>;
}

impl<T> Trying<T> for rustix::io::Result<T> {
    fn trying(self, what: &str) -> Result<T> {
        self.map_err(|errno| Refusal { what: what.to_owned(), error: errno.into() })
    }
}

/// What a place has to be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
}

/// Finds and makes places. What it makes leaves no trace in the directories around it.
pub(crate) struct Places {
    /// The root directory.
    pub(super) root: OwnedFd,
    /// What had to be made, outermost first.
    pub(super) stubs: Vec<PathBuf>,
}

impl Places {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { root, stubs: Vec::new() }
    }

    /// Opens a place in the image to mount on, following links inside the image only, and makes it if it is missing.
    pub(super) fn target(&mut self, path: &str, kind: Kind) -> Result<OwnedFd> {
        let wanted = if kind == Kind::Directory { OFlags::DIRECTORY } else { OFlags::empty() };
        match self.open(path, wanted) {
            Err(Errno::NOENT) => self.make(path, kind).trying(&format!("make /{path} in the image"))?,
            other => return other.trying(&format!("open /{path} of the image")),
        }
        self.open(path, wanted).trying(&format!("open /{path} of the image"))
    }

    fn make(&mut self, path: &str, kind: Kind) -> rustix::io::Result<()> {
        let mut resolved = PathBuf::new();
        let mut pending: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut links = 0;
        while let Some(component) = pending.pop() {
            match component.as_str() {
                "" | "." => continue,
                ".." => {
                    resolved.pop();
                    continue;
                }
                _ => {}
            }
            let here = resolved.join(&component);
            let directory = self.open(resolved.to_str().unwrap_or_default(), OFlags::DIRECTORY)?;
            match rustix::fs::readlinkat(&directory, component.as_str(), Vec::new()) {
                Ok(link) => {
                    links += 1;
                    if links > 40 {
                        return Err(Errno::LOOP);
                    }
                    let link = link.into_string().map_err(|_| Errno::ILSEQ)?;
                    if link.starts_with('/') {
                        resolved.clear();
                    }
                    pending.extend(link.split('/').rev().map(str::to_owned));
                    continue;
                }
                Err(Errno::NOENT) if pending.is_empty() && kind == Kind::File => {
                    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                    let times = times_of(&directory)?;
                    rustix::fs::openat(&directory, component.as_str(), flags, Mode::from(0o644))?;
                    self.made(here.clone(), &directory, &times)?;
                }
                Err(Errno::NOENT) => {
                    let times = times_of(&directory)?;
                    rustix::fs::mkdirat(&directory, component.as_str(), Mode::from(0o755))?;
                    self.made(here.clone(), &directory, &times)?;
                }
                Err(Errno::INVAL) => {}
                Err(error) => return Err(error),
            }
            resolved = here;
        }
        Ok(())
    }

    pub(super) fn open(&self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { "." } else { path };
        let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)
    }

    /// Remembers a place, and gives the directory that it stands in its time back.
    fn made(&mut self, place: PathBuf, directory: &OwnedFd, times: &Timestamps) -> rustix::io::Result<()> {
        self.stubs.push(place);
        set_times(directory, times)
    }
}

/// The path that leads to an open file whatever its name is now.
pub(super) fn magic(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// The times of a directory, open as a mere path or not.
pub(super) fn times_of(directory: &OwnedFd) -> rustix::io::Result<Timestamps> {
    let stat = rustix::fs::fstat(directory)?;
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    Ok(Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    })
}

/// Sets the times of a directory, open as a mere path or not.
pub(super) fn set_times(directory: &OwnedFd, times: &Timestamps) -> rustix::io::Result<()> {
    rustix::fs::utimensat(directory, c".", times, rustix::fs::AtFlags::empty())
}

/// Removes the places that had to be made and that are still empty, innermost first. The directories they stood in
/// keep their times.
pub(super) fn remove_stubs(root: &Path, stubs: &[PathBuf]) {
    for stub in stubs.iter().rev() {
        let path = root.join(stub);
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Some(directory) =
            path.parent().and_then(|above| rustix::fs::open(above, flags, Mode::empty()).ok())
        else {
            continue;
        };
        let Ok(metadata) = path.symlink_metadata() else { continue };
        let Ok(times) = times_of(&directory) else { continue };
        if metadata.is_dir() {
            let _ = std::fs::remove_dir(&path);
        } else if metadata.is_file() && metadata.len() == 0 {
            let _ = std::fs::remove_file(&path);
        }
        let _ = set_times(&directory, &times);
    }
}
