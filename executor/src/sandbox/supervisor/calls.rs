//! The calls that are served: where their arguments are, and what they answer.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::atomic::Ordering;

use rustix::fs::OFlags;

use super::super::notify::{Answer, Call, SET_IDS, done, memory};
use super::Supervisor;
use super::paths::Target;

/// What a call asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Open {
        flags: u64,
    },
    /// `how` is the address of a structure.
    OpenHow {
        how: u64,
    },
    Stat {
        into: u64,
    },
    ExtendedStat {
        flags: i32,
        mask: u32,
        into: u64,
    },
    Access {
        mode: i32,
        flags: i32,
    },
    ReadLink {
        into: u64,
        size: u64,
    },
    FileSystem {
        into: u64,
    },
    Attribute,
    Execute,
    /// chdir(2).
    Enter,
}

/// A call that names a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Named {
    directory: i32,
    path: u64,
    /// Whether a link at the path's end is followed.
    follow: bool,
    question: Question,
}

/// The numbers of all calls that the filter has to report.
pub(in crate::sandbox) fn calls() -> Vec<libc::c_long> {
    let mut calls = vec![
        libc::SYS_openat,
        libc::SYS_openat2,
        libc::SYS_newfstatat,
        libc::SYS_statx,
        libc::SYS_faccessat,
        libc::SYS_faccessat2,
        libc::SYS_readlinkat,
        libc::SYS_execve,
        libc::SYS_statfs,
        libc::SYS_getxattr,
        libc::SYS_lgetxattr,
        libc::SYS_listxattr,
        libc::SYS_llistxattr,
        libc::SYS_uname,
        libc::SYS_chdir,
    ];
    calls.extend(SET_IDS);
    #[cfg(target_arch = "x86_64")]
    calls.extend([libc::SYS_open, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_readlink]);
    calls
}

impl Call {
    /// Takes a call that names a file apart.
    fn named(&self) -> Option<Named> {
        let argument = self.arguments;
        #[expect(clippy::cast_possible_truncation, reason = "the kernel looks at the low half only")]
        let number = |at: usize| argument[at] as i32;
        let at = |directory: usize, path: usize, follow: bool, question: Question| {
            Some(Named { directory: number(directory), path: argument[path], follow, question })
        };
        let here = |follow: bool, question: Question| {
            Some(Named { directory: libc::AT_FDCWD, path: argument[0], follow, question })
        };
        let follows = |flags: i32| flags & libc::AT_SYMLINK_NOFOLLOW == 0;
        let opens = |flags: u64| flags & (libc::O_NOFOLLOW as u64) == 0;
        match self.number {
            libc::SYS_openat => at(0, 1, opens(argument[2]), Question::Open { flags: argument[2] }),
            libc::SYS_openat2 => at(0, 1, true, Question::OpenHow { how: argument[2] }),
            libc::SYS_newfstatat => at(0, 1, follows(number(3)), Question::Stat { into: argument[2] }),
            libc::SYS_statx => {
                let (flags, mask) = (number(2), number(3).cast_unsigned());
                at(0, 1, follows(flags), Question::ExtendedStat { flags, mask, into: argument[4] })
            }
            libc::SYS_faccessat => at(0, 1, true, Question::Access { mode: number(2), flags: 0 }),
            libc::SYS_faccessat2 => {
                let flags = number(3);
                at(0, 1, follows(flags), Question::Access { mode: number(2), flags })
            }
            libc::SYS_readlinkat => {
                at(0, 1, false, Question::ReadLink { into: argument[2], size: argument[3] })
            }
            libc::SYS_execve => here(true, Question::Execute),
            libc::SYS_chdir => here(true, Question::Enter),
            libc::SYS_statfs => here(true, Question::FileSystem { into: argument[1] }),
            libc::SYS_getxattr | libc::SYS_listxattr => here(true, Question::Attribute),
            libc::SYS_lgetxattr | libc::SYS_llistxattr => here(false, Question::Attribute),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_open => here(opens(argument[1]), Question::Open { flags: argument[1] }),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_stat => here(true, Question::Stat { into: argument[1] }),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_lstat => here(false, Question::Stat { into: argument[1] }),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_access => here(true, Question::Access { mode: number(1), flags: 0 }),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_readlink => here(false, Question::ReadLink { into: argument[1], size: argument[2] }),
            _ => None,
        }
    }
}

impl Supervisor {
    /// Answers a call. `EPERM` means that this thread may not look into the caller.
    pub(super) fn answer(&self, call: &Call) -> io::Result<Answer> {
        if call.number == libc::SYS_uname {
            return self.host_name(call);
        }
        if SET_IDS.contains(&call.number) {
            self.memory.remember(call.thread);
            return Ok(Answer::LetThrough);
        }
        let Some(mut named) = call.named() else { return Ok(Answer::LetThrough) };
        let path = self.memory.read_path(call.thread, named.path)?;
        let has_entered = self.has_entered.load(Ordering::Relaxed);
        if path.is_empty() || !path.starts_with(b"/") && self.secrets.is_empty() && !has_entered {
            return Ok(Answer::LetThrough);
        }
        if let Question::OpenHow { how } = named.question {
            // Callers that restrict the way know what they do.
            let Some([flags, _, 0]) = self.memory.read_open_how(call.thread, how)? else {
                return Ok(Answer::LetThrough);
            };
            named.follow = flags & (libc::O_NOFOLLOW as u64) == 0;
            named.question = Question::Open { flags };
        }
        let absolute = if path.starts_with(b"/") {
            Some(path.clone())
        } else if has_entered {
            self.path_from_served(call, named.directory, &path)
        } else {
            None
        };
        let target = absolute.as_ref().and_then(|path| self.target(call, path, named.follow));
        if let (Question::Enter, Some(path)) = (named.question, &absolute) {
            return self.enter(path, target.as_ref());
        }
        let secret = || self.secret(call, named.directory, &path).map(Target::Secret);
        let Some(target) = target.or_else(secret) else { return Ok(Answer::LetThrough) };
        if !self.listener.is_valid(call) {
            return Ok(Answer::LetThrough);
        }
        self.answer_named(call, named, &path, &target).or_else(|error| {
            // What we may not open, the caller may not either; `EPERM` has another meaning here.
            if error.raw_os_error() == Some(libc::EPERM) {
                Ok(Answer::Error(libc::EPERM))
            } else {
                Err(error)
            }
        })
    }

    fn answer_named(&self, call: &Call, named: Named, path: &[u8], target: &Target) -> io::Result<Answer> {
        let end = if named.follow { OFlags::PATH } else { OFlags::PATH | OFlags::NOFOLLOW };
        match named.question {
            Question::Open { flags } => self.open_for(target, flags),
            Question::OpenHow { .. } | Question::Enter => Ok(Answer::LetThrough),
            Question::Stat { into } => {
                let file = self.open(target, end)?;
                // SAFETY: zeros are a valid value of a structure of numbers.
                let mut stat: libc::stat = unsafe { std::mem::zeroed() };
                // SAFETY: the call fills in `stat`, which lives until it returns; the path is empty.
                let result = unsafe {
                    libc::syscall(
                        libc::SYS_newfstatat,
                        file.as_raw_fd(),
                        c"".as_ptr(),
                        &raw mut stat,
                        libc::AT_EMPTY_PATH,
                    )
                };
                done(result)?;
                self.memory.write(call.thread, into, memory::bytes_of(&stat))?;
                Ok(Answer::Value(0))
            }
            Question::ExtendedStat { flags, mask, into } => {
                let file = self.open(target, end)?;
                // SAFETY: zeros are a valid value of a structure of numbers.
                let mut stat: libc::statx = unsafe { std::mem::zeroed() };
                let flags = (flags & !libc::AT_SYMLINK_NOFOLLOW) | libc::AT_EMPTY_PATH;
                // SAFETY: the call fills in `stat`, which lives until it returns; the path is empty.
                let result = unsafe {
                    libc::syscall(libc::SYS_statx, file.as_raw_fd(), c"".as_ptr(), flags, mask, &raw mut stat)
                };
                done(result)?;
                self.memory.write(call.thread, into, memory::bytes_of(&stat))?;
                Ok(Answer::Value(0))
            }
            Question::Access { mode, flags } => {
                let file = self.open(target, end)?;
                let flags = (flags & libc::AT_EACCESS) | libc::AT_EMPTY_PATH;
                // SAFETY: no memory but the empty path is passed.
                let result = unsafe {
                    libc::syscall(libc::SYS_faccessat2, file.as_raw_fd(), c"".as_ptr(), mode, flags)
                };
                done(result)?;
                Ok(Answer::Value(0))
            }
            Question::ReadLink { into, size } => {
                let mut text = self.link_text(target)?;
                text.truncate(usize::try_from(size).unwrap_or(usize::MAX));
                self.memory.write(call.thread, into, &text)?;
                Ok(Answer::Value(i64::try_from(text.len()).unwrap_or_default()))
            }
            Question::FileSystem { into } => {
                let file = self.open(target, end)?;
                // SAFETY: zeros are a valid value of a structure of numbers.
                let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
                // SAFETY: the call fills in `stat`, which lives until it returns.
                done(unsafe { libc::syscall(libc::SYS_fstatfs, file.as_raw_fd(), &raw mut stat) })?;
                self.memory.write(call.thread, into, memory::bytes_of(&stat))?;
                Ok(Answer::Value(0))
            }
            Question::Attribute => {
                self.open(target, end)?;
                Ok(Answer::Error(libc::ENOTSUP))
            }
            Question::Execute => self.execute(call, named, path, target),
        }
    }

    /// Opens for the caller.
    fn open_for(&self, target: &Target, flags: u64) -> io::Result<Answer> {
        #[expect(clippy::cast_possible_truncation, reason = "the kernel looks at the low half only")]
        let flags = OFlags::from_bits_retain(flags as u32);
        let close_on_exec = flags.contains(OFlags::CLOEXEC);
        // What is served is there or not: a shell that writes to a file also asks for its making.
        let mut ours = flags.difference(OFlags::CREATE | OFlags::EXCL);
        let patient = !flags.intersects(OFlags::NONBLOCK | OFlags::PATH);
        if patient {
            // A pipe that nobody writes to must not hold up the answers to all others.
            ours |= OFlags::NONBLOCK;
        }
        let file = self.open(target, ours)?;
        if patient {
            let set = rustix::fs::fcntl_getfl(&file)?.difference(OFlags::NONBLOCK);
            rustix::fs::fcntl_setfl(&file, set)?;
        }
        Ok(Answer::Descriptor { file, close_on_exec })
    }

    /// Starts a program by a link of /proc: the caller's path is replaced by that of a link to the program, which must
    /// not be longer.
    fn execute(&self, call: &Call, named: Named, path: &[u8], target: &Target) -> io::Result<Answer> {
        let program: OwnedFd = self.open(target, OFlags::PATH)?;
        let place = std::fs::read_link(format!("/proc/self/fd/{}", program.as_raw_fd()))?;
        let Some(inside) = super::super::chroot::inside(&self.root, &place) else {
            return Ok(Answer::Error(libc::EACCES));
        };
        let link = format!("{}/{}", super::super::place::LINK_FOLDER, self.next_link());
        if link.len() > path.len() || inside.as_os_str().as_bytes().ends_with(b" (deleted)") {
            return Ok(Answer::Error(libc::ENOENT));
        }
        std::os::unix::fs::symlink(&inside, self.root.join(&link[1..]))?;
        memory::overwrite(call.thread, named.path, &[link.as_bytes(), b"\0"].concat())?;
        Ok(Answer::LetThrough)
    }

    /// Says the host name that other rungs set.
    fn host_name(&self, call: &Call) -> io::Result<Answer> {
        // SAFETY: zeros are a valid value of a structure of characters.
        let mut names: libc::utsname = unsafe { std::mem::zeroed() };
        // SAFETY: the call fills in `names`, which lives until it returns.
        done(unsafe { libc::uname(&raw mut names) }.into())?;
        names.nodename = [0; 65];
        for (to, from) in names.nodename.iter_mut().zip(self.hostname.bytes().take(64)) {
            *to = from.cast_signed();
        }
        self.memory.write(call.thread, call.arguments[0], memory::bytes_of(&names))?;
        Ok(Answer::Value(0))
    }
}
