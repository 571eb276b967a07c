//! Which paths are served, and what they lead to.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::super::notify::memory::process_of;
use super::super::notify::{Answer, Call};
use super::super::place::in_memory;
use super::super::places::DEVICES;
use super::{Supervisor, parent_of};

/// The most links that are followed in one path, as in the kernel.
const MAX_LINKS: usize = 40;

/// What the command would see with mounts of its own.
const MOUNTS: &str = "overlay / overlay rw,relatime 0 0\n\
    proc /proc proc rw,nosuid,nodev,noexec,relatime 0 0\n\
    tmpfs /dev tmpfs rw,nosuid,size=65536k,mode=755 0 0\n\
    sysfs /sys sysfs ro,nosuid,nodev,noexec,relatime 0 0\n";
const MOUNTINFO: &str = "100 1 0:50 / / rw,relatime - overlay overlay rw\n\
    101 100 0:51 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw\n\
    102 100 0:52 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755\n\
    103 100 0:53 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs ro\n";
const MOUNTSTATS: &str = "device overlay mounted on / with fstype overlay\n\
    device proc mounted on /proc with fstype proc\n\
    device tmpfs mounted on /dev with fstype tmpfs\n\
    device sysfs mounted on /sys with fstype sysfs\n";

/// What a served path leads to.
#[derive(Debug)]
pub(super) enum Target {
    /// A name outside, none of whose links leads anywhere else.
    Outside(PathBuf),
    /// A link that only the kernel can follow, and what is behind it.
    Magic(PathBuf, PathBuf),
    /// A name in the command's root.
    Inside(PathBuf),
    /// A link with this text; the name outside has its attributes.
    Link(PathBuf, String),
    /// A text of our own.
    Text(&'static str),
    /// The secret of this number.
    Secret(usize),
    /// There is nothing.
    Missing,
}

impl Supervisor {
    /// What an absolute path leads to, where that is served; else the kernel's own idea of it is right.
    pub(super) fn target(&self, call: &Call, path: &[u8], follow: bool) -> Option<Target> {
        let mut path = clean(path);
        for _ in 0..MAX_LINKS {
            let through = self.links.iter().find(|(link, _)| {
                path.strip_prefix(link.as_slice())
                    .is_some_and(|rest| rest.starts_with(b"/") || rest.is_empty() && follow)
            });
            if let Some((link, target)) = through {
                path = clean(&[target, &path[link.len()..]].concat());
                continue;
            }
            return match self.classify(call, &path, follow)? {
                Target::Inside(inside) => {
                    path = clean(inside.as_os_str().as_bytes());
                    let served =
                        self.links.iter().any(|(link, _)| path.starts_with(link)) || is_served(&path);
                    if served {
                        continue;
                    }
                    Some(Target::Inside(inside))
                }
                other => Some(other),
            };
        }
        None
    }

    fn classify(&self, call: &Call, path: &[u8], follow: bool) -> Option<Target> {
        let outside = || Some(Target::Outside(PathBuf::from(std::ffi::OsString::from_vec(path.to_vec()))));
        let mut components = path.split(|byte| *byte == b'/').skip(1);
        let first = components.next()?;
        let rest: Vec<&[u8]> = components.collect();
        match first {
            b"proc" => Some(self.of_proc(call, &rest, follow)),
            b"sys" => outside(),
            b"dev" => match rest.as_slice() {
                [b"pts", ..] => outside(),
                [b"tty"] if !self.has_devices => Some(Target::Missing),
                [name]
                    if !self.has_devices
                        && DEVICES.iter().any(|(device, _, _)| device.as_bytes() == *name) =>
                {
                    outside()
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn of_proc(&self, call: &Call, rest: &[&[u8]], follow: bool) -> Target {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let process = || process_of(call.thread).unwrap_or(call.thread);
        let (base, below) = match rest {
            [] => return Target::Outside("/proc".into()),
            [b"self"] if !follow => return Target::Link("/proc/self".into(), process().to_string()),
            [b"thread-self"] if !follow => {
                let text = format!("{}/task/{}", process(), call.thread);
                return Target::Link("/proc/thread-self".into(), text);
            }
            [b"self", below @ ..] => (format!("/proc/{}", process()), below),
            [b"thread-self", below @ ..] => (format!("/proc/{}/task/{}", process(), call.thread), below),
            [b"mounts"] => return Target::Text(MOUNTS),
            [number, below @ ..] if number.iter().all(u8::is_ascii_digit) => {
                let Ok(pid) = text(number).parse::<i32>() else { return Target::Missing };
                // The command is to its RUN what process 1 is to a container.
                let pid = if pid == 1 { self.command } else { pid };
                if !self.is_ours(pid, call) {
                    return Target::Missing;
                }
                (format!("/proc/{pid}"), below)
            }
            other => {
                let names: Vec<String> = other.iter().map(|name| text(name)).collect();
                return Target::Outside(Path::new("/proc").join(names.join("/")));
            }
        };
        self.of_process(Path::new(&base), below, follow)
    }

    /// What is below the folder of a process or a thread.
    fn of_process(&self, base: &Path, below: &[&[u8]], follow: bool) -> Target {
        let joined = |names: &[&[u8]]| PathBuf::from(std::ffi::OsString::from_vec(names.join(&b'/')));
        match below {
            [b"task", thread, below @ ..] if !below.is_empty() => {
                self.of_process(&base.join("task").join(joined(&[*thread])), below, follow)
            }
            [b"mounts"] => Target::Text(MOUNTS),
            [b"mountinfo"] => Target::Text(MOUNTINFO),
            [b"mountstats"] => Target::Text(MOUNTSTATS),
            [b"root", rest @ ..] if follow || !rest.is_empty() => {
                Target::Inside(Path::new("/").join(joined(rest)))
            }
            [b"cwd", rest @ ..] if follow || !rest.is_empty() => {
                let Ok(directory) = std::fs::read_link(base.join("cwd")) else { return Target::Missing };
                match super::super::chroot::inside(&self.root, &directory) {
                    Some(inside) => Target::Inside(inside.join(joined(rest))),
                    None => Target::Outside(directory.join(joined(rest))),
                }
            }
            [b"exe", rest @ ..] if follow || !rest.is_empty() => {
                Target::Magic(base.join("exe"), joined(rest))
            }
            [kind @ (b"fd" | b"ns" | b"map_files"), name, rest @ ..] if follow || !rest.is_empty() => {
                Target::Magic(base.join(joined(&[*kind, *name])), joined(rest))
            }
            _ => Target::Outside(base.join(joined(below))),
        }
    }

    /// Opens what a path leads to. A link at its end is opened itself where `flags` have `NOFOLLOW`.
    pub(super) fn open(&self, target: &Target, flags: OFlags) -> io::Result<OwnedFd> {
        // openat2(2) is strict where others look away.
        let flags = OFlags::CLOEXEC
            | if flags.contains(OFlags::PATH) {
                flags & (OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY)
            } else {
                flags | OFlags::NOCTTY
            };
        let inside = |directory: &OwnedFd, path: &Path| {
            let path = path.strip_prefix("/").unwrap_or(path);
            let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            rustix::fs::openat2(directory, path, flags, Mode::empty(), resolve)
        };
        let plain = |path: &Path| {
            rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
        };
        Ok(match target {
            Target::Outside(path) | Target::Link(path, _) => plain(path)?,
            Target::Magic(path, rest) if rest.as_os_str().is_empty() => {
                rustix::fs::open(path, flags, Mode::empty())?
            }
            Target::Magic(path, rest) => {
                let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                inside(&rustix::fs::open(path, directory, Mode::empty())?, rest)?
            }
            Target::Inside(path) => inside(&self.root_handle, path)?,
            Target::Text(text) => self.reopen(&in_memory("mounts", text.as_bytes())?, flags)?,
            Target::Secret(number) => self.reopen(&self.secrets[*number].content, flags)?,
            Target::Missing => return Err(io::Error::from_raw_os_error(libc::ENOENT)),
        })
    }

    /// Opens a file in memory once more, as this thread, for reading only.
    fn reopen(&self, file: &OwnedFd, flags: OFlags) -> io::Result<OwnedFd> {
        if flags.intersects(OFlags::WRONLY | OFlags::RDWR | OFlags::TRUNC) {
            return Err(io::Error::from_raw_os_error(libc::EROFS));
        }
        let path = format!("/proc/{}/fd/{}", self.own_pid, file.as_raw_fd());
        Ok(rustix::fs::open(path, flags.difference(OFlags::NOFOLLOW), Mode::empty())?)
    }

    /// The text of a link, as the command would see it: without the way to its root.
    pub(super) fn link_text(&self, target: &Target) -> io::Result<Vec<u8>> {
        if let Target::Link(_, text) = target {
            return Ok(text.clone().into_bytes());
        }
        let link = self.open(target, OFlags::PATH | OFlags::NOFOLLOW)?;
        let text = rustix::fs::readlinkat(link.as_fd(), "", Vec::new())?.into_bytes();
        let root = self.root.as_os_str().as_bytes();
        Ok(match text.strip_prefix(root) {
            Some([]) => b"/".to_vec(),
            Some(rest) if rest.starts_with(b"/") => rest.to_vec(),
            _ if text.starts_with(b" (deleted)") => b"/".to_vec(),
            _ => text,
        })
    }

    /// The number of the secret that a path leads to, whatever the way there.
    pub(super) fn secret(&self, call: &Call, directory: i32, path: &[u8]) -> Option<usize> {
        if self.secrets.is_empty() {
            return None;
        }
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        let absolute =
            if path.is_absolute() { path.to_owned() } else { self.directory_of(call, directory)?.join(path) };
        let found = self.open(&Target::Inside(absolute), OFlags::PATH).ok()?;
        let place = std::fs::read_link(format!("/proc/{}/fd/{}", self.own_pid, found.as_raw_fd())).ok()?;
        let inside = super::super::chroot::inside(&self.root, &place)?;
        self.secrets.iter().position(|secret| secret.path == inside)
    }

    /// Lets a process enter a directory that is served: an empty one with its name stands in for it, and paths that
    /// start there are served as well.
    pub(super) fn enter(&self, path: &[u8], target: Option<&Target>) -> io::Result<Answer> {
        let path = clean(path);
        if is_served(&path) {
            self.has_entered.store(true, Ordering::Relaxed);
        }
        let Some(target) = target.filter(|_| is_served(&path)) else { return Ok(Answer::LetThrough) };
        self.open(target, OFlags::PATH | OFlags::DIRECTORY)?;
        let mut above = self.root_handle.try_clone()?;
        for name in crate::tree::components(&path) {
            match rustix::fs::mkdirat(&above, name, Mode::from(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            above = rustix::fs::openat(&above, name, flags, Mode::empty())?;
        }
        Ok(Answer::LetThrough)
    }

    /// The absolute path of one that starts in a directory that is served.
    pub(super) fn path_from_served(&self, call: &Call, directory: i32, path: &[u8]) -> Option<Vec<u8>> {
        let from = self.directory_of(call, directory)?;
        let from = from.as_os_str().as_bytes();
        is_served(from).then(|| [from, b"/", path].concat())
    }

    /// Where a caller's relative paths start, in its root.
    fn directory_of(&self, call: &Call, directory: i32) -> Option<PathBuf> {
        let link = match directory {
            libc::AT_FDCWD => format!("/proc/{}/cwd", call.thread),
            number => format!("/proc/{}/fd/{number}", call.thread),
        };
        super::super::chroot::inside(&self.root, &std::fs::read_link(link).ok()?)
    }

    /// Whether a process belongs to the command.
    fn is_ours(&self, pid: i32, call: &Call) -> bool {
        let mut current = pid;
        for _ in 0..1024 {
            if current == call.thread || current == self.own_pid {
                return current != pid || current == call.thread;
            }
            match parent_of(current) {
                Some(parent) if parent > 0 => current = parent,
                _ => return false,
            }
        }
        false
    }
}

/// Whether a path may be served; a cheap question for the many that are not.
fn is_served(path: &[u8]) -> bool {
    [&b"/proc"[..], b"/sys", b"/dev"].iter().any(|prefix| {
        path.strip_prefix(*prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    })
}

/// A path without empty components, `.` and `..`; links are not looked at.
pub(super) fn clean(path: &[u8]) -> Vec<u8> {
    let mut clean: Vec<u8> = Vec::with_capacity(path.len());
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => clean.truncate(clean.iter().rposition(|byte| *byte == b'/').unwrap_or(0)),
            name => {
                clean.push(b'/');
                clean.extend_from_slice(name);
            }
        }
    }
    if clean.is_empty() { b"/".to_vec() } else { clean }
}

#[cfg(test)]
mod tests {
    #[test]
    fn cleans() {
        for (path, expected) in [
            ("/", "/"),
            ("//proc/./self//", "/proc/self"),
            ("/a/../proc", "/proc"),
            ("/../..", "/"),
            ("/a/b/..", "/a"),
        ] {
            assert_eq!(super::clean(path.as_bytes()), expected.as_bytes());
        }
    }
}
