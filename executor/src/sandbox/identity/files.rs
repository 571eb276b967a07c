//! Calls about files: who owns them, who makes them, and what is hidden of how that is recorded.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::io::Errno;

use super::super::notify::memory::bytes_of;
use super::super::notify::{Answer, Call, done};
use super::Identity;
use super::owners::Record;
use crate::owner::{OWNER_XATTR, to_text};
use crate::snapshot::DEVICE_XATTR;
use crate::users::Owner;

/// The calls that are reported, besides opening for making.
#[rustfmt::skip]
pub(super) const CALLS: &[libc::c_long] = &[
    libc::SYS_openat2, libc::SYS_mkdirat, libc::SYS_symlinkat, libc::SYS_mknodat,
    libc::SYS_fchown, libc::SYS_fchownat,
    libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx,
    libc::SYS_execve, libc::SYS_execveat,
    libc::SYS_setxattr, libc::SYS_lsetxattr, libc::SYS_fsetxattr,
    libc::SYS_getxattr, libc::SYS_lgetxattr, libc::SYS_fgetxattr,
    libc::SYS_removexattr, libc::SYS_lremovexattr, libc::SYS_fremovexattr,
    libc::SYS_listxattr, libc::SYS_llistxattr, libc::SYS_flistxattr,
    #[cfg(target_arch = "x86_64")] libc::SYS_creat,
    #[cfg(target_arch = "x86_64")] libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")] libc::SYS_symlink,
    #[cfg(target_arch = "x86_64")] libc::SYS_mknod,
    #[cfg(target_arch = "x86_64")] libc::SYS_chown,
    #[cfg(target_arch = "x86_64")] libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")] libc::SYS_stat,
    #[cfg(target_arch = "x86_64")] libc::SYS_lstat,
];

/// The calls that give a file another name.
#[rustfmt::skip]
pub(super) const RENAMING: &[libc::c_long] = &[
    libc::SYS_renameat2, libc::SYS_linkat,
    #[cfg(target_arch = "x86_64")] libc::SYS_renameat,
    #[cfg(target_arch = "x86_64")] libc::SYS_rename,
    #[cfg(target_arch = "x86_64")] libc::SYS_link,
];

/// How a call names a file.
#[derive(Clone, Copy)]
enum Name {
    /// By a path, from a directory.
    Path { directory: i32, path: u64, follow: bool, may_be_empty: bool },
    /// By a descriptor.
    Open(i32),
}

/// What a call asks.
#[derive(Clone, Copy)]
enum Question {
    Stat {
        into: u64,
    },
    ExtendedStat {
        flags: i32,
        mask: u32,
        into: u64,
    },
    Chown {
        uid: u32,
        gid: u32,
    },
    Make {
        flags: u64,
        mode: u64,
    },
    /// `how` is the address of a structure.
    MakeHow {
        how: u64,
    },
    MakeDirectory {
        mode: u64,
    },
    MakeLink {
        text: u64,
    },
    MakeNode {
        mode: u64,
        device: u64,
    },
    Execute,
    Attribute {
        name: u64,
        sets: bool,
    },
    Attributes {
        into: u64,
        size: u64,
    },
    Rename,
}

/// A file, as this process can name it.
struct Place {
    /// Relative to the outer /proc, or absolute in the command's root.
    path: CString,
    follow: bool,
    /// Keeps the directory open that the path starts from.
    _directory: Option<OwnedFd>,
}

#[expect(clippy::cast_possible_truncation, reason = "the kernel looks at the low half only")]
fn asked(call: &Call) -> Option<(Name, Question)> {
    let argument = call.arguments;
    let number = |at: usize| argument[at] as i32;
    let id = |at: usize| argument[at] as u32;
    let from = |directory: i32, path: usize, follow: bool, may_be_empty: bool| Name::Path {
        directory,
        path: argument[path],
        follow,
        may_be_empty,
    };
    let at = |path: usize, flags: i32| {
        let follow = flags & libc::AT_SYMLINK_NOFOLLOW == 0;
        from(number(0), path, follow, flags & libc::AT_EMPTY_PATH != 0)
    };
    let here = |follow: bool| from(libc::AT_FDCWD, 0, follow, false);
    let open = Name::Open(number(0));
    let chown = |at: usize| Question::Chown { uid: id(at), gid: id(at + 1) };
    let attribute = |sets: bool| Question::Attribute { name: argument[1], sets };
    let attributes = Question::Attributes { into: argument[1], size: argument[2] };
    Some(match call.number {
        libc::SYS_fstat => (open, Question::Stat { into: argument[1] }),
        libc::SYS_newfstatat => (at(1, number(3)), Question::Stat { into: argument[2] }),
        libc::SYS_statx => {
            let (flags, mask, into) = (number(2), id(3), argument[4]);
            (at(1, flags), Question::ExtendedStat { flags, mask, into })
        }
        libc::SYS_fchown => (open, chown(1)),
        libc::SYS_fchownat => (at(1, number(4)), chown(2)),
        libc::SYS_openat => {
            (from(number(0), 1, true, false), Question::Make { flags: argument[2], mode: argument[3] })
        }
        libc::SYS_openat2 => (from(number(0), 1, true, false), Question::MakeHow { how: argument[2] }),
        libc::SYS_mkdirat => {
            (from(number(0), 1, false, false), Question::MakeDirectory { mode: argument[2] })
        }
        libc::SYS_symlinkat => (from(number(1), 2, false, false), Question::MakeLink { text: argument[0] }),
        libc::SYS_mknodat => {
            let question = Question::MakeNode { mode: argument[2], device: argument[3] };
            (from(number(0), 1, false, false), question)
        }
        libc::SYS_execve => (here(true), Question::Execute),
        libc::SYS_execveat => (at(1, number(4)), Question::Execute),
        libc::SYS_setxattr | libc::SYS_removexattr => (here(true), attribute(true)),
        libc::SYS_lsetxattr | libc::SYS_lremovexattr => (here(false), attribute(true)),
        libc::SYS_fsetxattr | libc::SYS_fremovexattr => (open, attribute(true)),
        libc::SYS_getxattr => (here(true), attribute(false)),
        libc::SYS_lgetxattr => (here(false), attribute(false)),
        libc::SYS_fgetxattr => (open, attribute(false)),
        libc::SYS_listxattr => (here(true), attributes),
        libc::SYS_llistxattr => (here(false), attributes),
        libc::SYS_flistxattr => (open, attributes),
        libc::SYS_renameat2 | libc::SYS_linkat => (from(number(0), 1, false, false), Question::Rename),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_renameat => (from(number(0), 1, false, false), Question::Rename),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_rename | libc::SYS_link => (here(false), Question::Rename),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open => (here(true), Question::Make { flags: argument[1], mode: argument[2] }),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_creat => {
            let flags = (libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC).unsigned_abs().into();
            (here(true), Question::Make { flags, mode: argument[1] })
        }
        #[cfg(target_arch = "x86_64")]
        libc::SYS_mkdir => (here(false), Question::MakeDirectory { mode: argument[1] }),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_symlink => {
            (from(libc::AT_FDCWD, 1, false, false), Question::MakeLink { text: argument[0] })
        }
        #[cfg(target_arch = "x86_64")]
        libc::SYS_mknod => (here(false), Question::MakeNode { mode: argument[1], device: argument[2] }),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_chown => (here(true), chown(1)),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_lchown => (here(false), chown(1)),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_stat => (here(true), Question::Stat { into: argument[1] }),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_lstat => (here(false), Question::Stat { into: argument[1] }),
        _ => return None,
    })
}

impl Identity {
    pub(super) fn answer_about_file(&mut self, call: &Call) -> io::Result<Answer> {
        let Some((name, question)) = asked(call) else { return Ok(Answer::LetThrough) };
        // Most calls end here: the kernel's own answer is right.
        match question {
            Question::Attribute { name, .. } if !self.names_our_own(call, name)? => {
                return Ok(Answer::LetThrough);
            }
            Question::Attribute { sets, .. } => {
                return Ok(Answer::Error(if sets { libc::EPERM } else { libc::ENODATA }));
            }
            Question::Execute if !self.table.has_others() || self.table.of(call.thread).is_privileged() => {
                return Ok(Answer::LetThrough);
            }
            _ => {}
        }
        let Some(place) = self.place(call, name)? else { return Ok(Answer::LetThrough) };
        match question {
            Question::Stat { .. } | Question::ExtendedStat { .. } => {
                let record = self.owners.at(&place.path, place.follow);
                if record.is_empty() {
                    return Ok(Answer::LetThrough);
                }
                self.stat(call, &place, question, record)
            }
            Question::Chown { uid, gid } => self.chown(call, &place, uid, gid),
            Question::Make { flags, mode } => self.make(call, &place, flags, mode),
            Question::MakeHow { how } => match self.memory.read_open_how(call.thread, how)? {
                Some([flags, mode, 0]) if flags & (libc::O_CREAT as u64) != 0 => {
                    self.make(call, &place, flags, mode)
                }
                _ => Ok(Answer::LetThrough),
            },
            Question::MakeDirectory { mode } => self.make_directory(call, &place, mode),
            Question::MakeLink { text } => self.make_link(call, &place, text),
            Question::MakeNode { mode, device } => self.make_node(call, &place, mode, device),
            Question::Execute => self.execute(call, &place),
            Question::Attributes { into, size } => self.attributes(call, &place, into, size),
            Question::Rename => {
                // Where this fails, the call itself says why.
                let _ = self.owners.before_rename(&place.path);
                Ok(Answer::LetThrough)
            }
            Question::Attribute { .. } => Ok(Answer::LetThrough),
        }
    }

    /// Finds out how this process can name the file; nothing where the kernel's answer is right anyway.
    fn place(&self, call: &Call, name: Name) -> io::Result<Option<Place>> {
        let thread = call.thread;
        let (mut directory, mut follow) = (None, true);
        let path = match name {
            Name::Open(number) => format!("{thread}/fd/{number}").into_bytes(),
            Name::Path { directory: from, path, follow: follows, may_be_empty } => {
                // A null path means an empty one to some calls. (Linux 6.11.)
                let text = if path == 0 { Vec::new() } else { self.memory.read_path(thread, path)? };
                follow = follows;
                let start = match from {
                    libc::AT_FDCWD => format!("{thread}/cwd"),
                    number => format!("{thread}/fd/{number}"),
                };
                if text.is_empty() {
                    if !may_be_empty {
                        return Ok(None);
                    }
                    follow = true;
                    start.into_bytes()
                } else if let Some(own) =
                    text.strip_prefix(b"/proc/self/").or_else(|| text.strip_prefix(b"/proc/thread-self/"))
                {
                    [format!("{thread}/").as_bytes(), own].concat()
                } else if !text.starts_with(b"/") {
                    [start.as_bytes(), b"/", &text].concat()
                } else if self.is_chrooted {
                    let flags = OFlags::PATH | OFlags::CLOEXEC;
                    let root = rustix::fs::open(format!("{thread}/root"), flags, Mode::empty())?;
                    let above = crate::tree::parent(&text).unwrap_or_default();
                    let above: &[u8] = if above.is_empty() { b"." } else { above };
                    let opened =
                        rustix::fs::openat2(&root, above, flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
                    let own = [
                        format!("self/fd/{}/", opened.as_raw_fd()).as_bytes(),
                        crate::tree::file_name(&text),
                    ]
                    .concat();
                    directory = Some(opened);
                    own
                } else {
                    text
                }
            }
        };
        let Ok(path) = CString::new(path) else { return Ok(None) };
        Ok(Some(Place { path, follow, _directory: directory }))
    }

    fn names_our_own(&self, call: &Call, name: u64) -> io::Result<bool> {
        Ok(self.memory.read_path(call.thread, name)?.starts_with(b"user.kairn."))
    }

    /// The kernel's answer, with what is recorded.
    fn stat(&self, call: &Call, place: &Place, question: Question, record: Record) -> io::Result<Answer> {
        let no_follow = if place.follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
        match question {
            Question::Stat { into } => {
                // SAFETY: zeros are a valid value of a structure of numbers.
                let mut stat: libc::stat = unsafe { std::mem::zeroed() };
                // SAFETY: the call fills in `stat`, which lives until it returns, as does the path.
                let result =
                    unsafe { libc::fstatat(libc::AT_FDCWD, place.path.as_ptr(), &raw mut stat, no_follow) };
                done(result.into())?;
                if let Some(owner) = record.owner {
                    (stat.st_uid, stat.st_gid) = (owner.uid, owner.gid);
                }
                if let Some((kind, major, minor)) = record.device {
                    stat.st_mode = stat.st_mode & !libc::S_IFMT | kind;
                    stat.st_rdev = libc::makedev(major, minor);
                }
                self.memory.write(call.thread, into, bytes_of(&stat))?;
            }
            Question::ExtendedStat { flags, mask, into } => {
                // SAFETY: zeros are a valid value of a structure of numbers.
                let mut stat: libc::statx = unsafe { std::mem::zeroed() };
                let flags = flags & !(libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW) | no_follow;
                let path = place.path.as_ptr();
                // SAFETY: the call fills in `stat`, which lives until it returns, as does the path.
                let result = unsafe { libc::statx(libc::AT_FDCWD, path, flags, mask, &raw mut stat) };
                done(result.into())?;
                if let Some(owner) = record.owner {
                    (stat.stx_uid, stat.stx_gid) = (owner.uid, owner.gid);
                }
                if let Some((kind, major, minor)) = record.device {
                    let kind = u16::try_from(kind).unwrap_or_default();
                    stat.stx_mode = stat.stx_mode & 0o7777 | kind;
                    (stat.stx_rdev_major, stat.stx_rdev_minor) = (major, minor);
                }
                self.memory.write(call.thread, into, bytes_of(&stat))?;
            }
            _ => return Ok(Answer::LetThrough),
        }
        Ok(Answer::Value(0))
    }

    /// chown(2), by the rules of a machine with all ids.
    fn chown(&mut self, call: &Call, place: &Place, uid: u32, gid: u32) -> io::Result<Answer> {
        let follow = if place.follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        let flags = OFlags::PATH | OFlags::CLOEXEC | follow;
        let file = rustix::fs::open(place.path.as_c_str(), flags, Mode::empty())?;
        let before = self.owner_of(place)?;
        let or = |id: u32, before: u32| if id == u32::MAX { before } else { id };
        let after = Owner { uid: or(uid, before.uid), gid: or(gid, before.gid) };
        let who = self.table.of(call.thread);
        let may = who.is_privileged()
            || who.user.files == before.uid
                && after.uid == before.uid
                && (after.gid == before.gid || who.is_member(after.gid));
        if !may {
            return Ok(Answer::Error(libc::EPERM));
        }
        match self.owners.record(&file, after) {
            Ok(()) => Ok(Answer::Value(0)),
            Err(Errno::PERM) => Ok(Answer::Error(libc::EPERM)),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The owner of a file, recorded or not.
    fn owner_of(&self, place: &Place) -> io::Result<Owner> {
        if let Some(owner) = self.owners.at(&place.path, place.follow).owner {
            return Ok(owner);
        }
        let flags = if place.follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        let stat = rustix::fs::statat(rustix::fs::CWD, place.path.as_c_str(), flags)?;
        Ok(Owner { uid: stat.st_uid, gid: stat.st_gid })
    }

    /// Who will own what a thread makes at a place; nothing for root, which the kernel gives it to.
    fn owner_of_new(&self, call: &Call, place: &Place) -> Option<Owner> {
        let mut owner =
            if self.table.has_others() { self.table.of(call.thread).owner() } else { Owner::ROOT };
        let path = place.path.to_bytes();
        let end = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        let above = CString::new([&path[..end], b"."].concat()).ok()?;
        let stat = rustix::fs::statat(rustix::fs::CWD, above.as_c_str(), AtFlags::empty()).ok()?;
        if stat.st_mode & libc::S_ISGID != 0 {
            owner.gid = self.owners.at(&above, true).owner.map_or(stat.st_gid, |owner| owner.gid);
        }
        (owner != Owner::ROOT).then_some(owner)
    }

    /// open(2) of what may have to be made: where it is not there, it is made here, with its owner.
    fn make(&mut self, call: &Call, place: &Place, flags: u64, mode: u64) -> io::Result<Answer> {
        let Some(owner) = self.owner_of_new(call, place) else { return Ok(Answer::LetThrough) };
        #[expect(clippy::cast_possible_truncation, reason = "the kernel looks at the low half only")]
        let flags = OFlags::from_bits_retain(flags as u32);
        let mode = mode_of(call.thread, mode);
        let close_on_exec = flags.contains(OFlags::CLOEXEC);
        let text = to_text(owner);
        let name =
            |file: &OwnedFd| rustix::fs::fsetxattr(file, OWNER_XATTR, text.as_bytes(), XattrFlags::empty());
        if flags.contains(OFlags::TMPFILE) {
            let file = rustix::fs::open(place.path.as_c_str(), flags, mode)?;
            let _ = name(&file);
            return Ok(Answer::Descriptor { file, close_on_exec });
        }
        let making = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::open(place.path.as_c_str(), making, mode) else {
            return Ok(Answer::LetThrough);
        };
        let _ = name(&file);
        if !flags.contains(OFlags::EXCL) {
            return Ok(Answer::LetThrough);
        }
        let flags = flags.difference(OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW) | OFlags::CLOEXEC;
        let file = rustix::fs::open(format!("self/fd/{}", file.as_raw_fd()), flags, Mode::empty())?;
        Ok(Answer::Descriptor { file, close_on_exec })
    }

    fn make_directory(&mut self, call: &Call, place: &Place, mode: u64) -> io::Result<Answer> {
        let Some(owner) = self.owner_of_new(call, place) else { return Ok(Answer::LetThrough) };
        rustix::fs::mkdir(place.path.as_c_str(), mode_of(call.thread, mode))?;
        self.record(place, owner)
    }

    fn make_link(&mut self, call: &Call, place: &Place, text: u64) -> io::Result<Answer> {
        let Some(owner) = self.owner_of_new(call, place) else { return Ok(Answer::LetThrough) };
        let text = self.memory.read_path(call.thread, text)?;
        rustix::fs::symlink(text.as_slice(), place.path.as_c_str())?;
        self.record(place, owner)
    }

    /// mknod(2): a device is a file that says which.
    fn make_node(&mut self, call: &Call, place: &Place, mode: u64, device: u64) -> io::Result<Answer> {
        let owner = self.owner_of_new(call, place);
        #[expect(clippy::cast_possible_truncation, reason = "the kernel looks at the low half only")]
        let kind = mode as u32 & libc::S_IFMT;
        let letter = match kind {
            libc::S_IFCHR => 'c',
            libc::S_IFBLK => 'b',
            _ => {
                let Some(owner) = owner else { return Ok(Answer::LetThrough) };
                let mode = mode_of(call.thread, mode).bits() | kind;
                // SAFETY: no memory but the path is passed, which lives until the call returns.
                let made = unsafe { libc::mknod(place.path.as_ptr(), mode, device) };
                done(made.into())?;
                return self.record(place, owner);
            }
        };
        if !self.table.of(call.thread).is_privileged() {
            return Ok(Answer::Error(libc::EPERM));
        }
        let making = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open(place.path.as_c_str(), making, mode_of(call.thread, mode))?;
        let (major, minor) = (libc::major(device), libc::minor(device));
        let text = format!("{letter} {major} {minor}");
        rustix::fs::fsetxattr(&file, DEVICE_XATTR, text.as_bytes(), XattrFlags::empty())?;
        owner.map_or(Ok(Answer::Value(0)), |owner| self.record(place, owner))
    }

    /// Records the owner of what was just made.
    fn record(&mut self, place: &Place, owner: Owner) -> io::Result<Answer> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(place.path.as_c_str(), flags, Mode::empty())?;
        self.owners.record(&file, owner)?;
        Ok(Answer::Value(0))
    }

    /// execve(2) by another user than root, to whom a program's setuid bit means something.
    fn execute(&mut self, call: &Call, place: &Place) -> io::Result<Answer> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open(place.path.as_c_str(), flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        let mut start = [0_u8; 2];
        let is_script = rustix::io::pread(&file, &mut start, 0)? == 2 && &start == b"#!";
        let is_program = stat.st_mode & libc::S_IFMT == libc::S_IFREG && stat.st_mode & 0o111 != 0;
        let owner = self.owner_of(place)?;
        let user = (stat.st_mode & libc::S_ISUID != 0).then_some(owner.uid);
        let group = (stat.st_mode & libc::S_ISGID != 0).then_some(owner.gid);
        if is_program && !is_script && (user.is_some() || group.is_some()) {
            let credentials = self.table.of(call.thread).after_exec(user, group);
            self.table.set(call.thread, credentials)?;
        }
        Ok(Answer::LetThrough)
    }

    /// listxattr(2), without our own.
    fn attributes(&self, call: &Call, place: &Place, into: u64, size: u64) -> io::Result<Answer> {
        if self.owners.at(&place.path, place.follow).is_empty() {
            return Ok(Answer::LetThrough);
        }
        let mut names = vec![0_u8; 64 * 1024];
        let path = place.path.as_c_str();
        let length = if place.follow {
            rustix::fs::listxattr(path, &mut names[..])?
        } else {
            rustix::fs::llistxattr(path, &mut names[..])?
        };
        let shown: Vec<u8> = names[..length]
            .split_inclusive(|byte| *byte == 0)
            .filter(|name| !name.starts_with(b"user.kairn."))
            .flatten()
            .copied()
            .collect();
        if size != 0 {
            if size < shown.len() as u64 {
                return Ok(Answer::Error(libc::ERANGE));
            }
            self.memory.write(call.thread, into, &shown)?;
        }
        Ok(Answer::Value(i64::try_from(shown.len()).unwrap_or_default()))
    }
}

/// The permission bits that a thread's umask leaves.
fn mode_of(thread: i32, mode: u64) -> Mode {
    let status = std::fs::read_to_string(format!("{thread}/status")).unwrap_or_default();
    let umask =
        status.lines().find_map(|line| u32::from_str_radix(line.strip_prefix("Umask:")?.trim(), 8).ok());
    let bits = u32::try_from(mode & 0o7777).unwrap_or_default();
    Mode::from(bits & !umask.unwrap_or(0o022))
}
