//! Answers a command's calls about ids and owners, where its user namespace has one id only.
//!
//! To the kernel everything is root's. What the command hears is what it would hear as a container's root: files have
//! the owners that were given to them ([`owners`]), and threads the ids that they took ([`credentials`]). What a user
//! other than root may do is not denied: rights are the kernel's, and it knows root only.
//!
//! The thread that answers has the command's root as its root, and the outer /proc, where the command's threads are, as
//! its working directory: so a caller's `here/file` is `THREAD/cwd/here/file`.
//!
//! Man: seccomp_unotify(2), user_namespaces(7).

#![allow(unsafe_code)]

mod credentials;
mod files;
mod owners;

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::process::Pid;

use super::OneId;
use super::notify::memory::{Memory, bytes_of};
use super::notify::{Answer, Call, Listener, SET_IDS};
use super::seccomp::Notified;
use crate::owner::Birth;
use crate::users::Owner;
use credentials::{BASE_SLACK, Table};
use owners::Owners;

/// The most groups that a process may have, as in the kernel.
const MAX_GROUPS: u64 = 65_536;

/// Calls that ask for ids.
const GET_IDS: [libc::c_long; 7] = [
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
];

/// The calls that the filter has to report; links that are renamed only where one has an owner to keep.
pub(super) fn calls(one_id: &OneId) -> Vec<Notified> {
    let makes = libc::O_CREAT.cast_unsigned() | (libc::O_TMPFILE & !libc::O_DIRECTORY).cast_unsigned();
    let opening = |call, argument| Notified { call, with_bits: Some((argument, makes)) };
    let mut calls = vec![opening(libc::SYS_openat, 2)];
    #[cfg(target_arch = "x86_64")]
    calls.push(opening(libc::SYS_open, 1));
    let others = [libc::SYS_setgroups, libc::SYS_prctl, libc::SYS_chroot];
    let all = SET_IDS.iter().chain(&GET_IDS).chain(&others).chain(files::CALLS);
    calls.extend(all.copied().map(Notified::from));
    if !one_id.links.is_empty() {
        calls.extend(files::RENAMING.iter().copied().map(Notified::from));
    }
    calls
}

/// Everything that an answer needs.
pub(super) struct Identity {
    /// Where the calls come from.
    pub(super) listener: Listener,
    memory: Memory,
    table: Table,
    owners: Owners,
    /// Whether a thread has taken another root directory.
    is_chrooted: bool,
}

/// Makes this process ready to answer: before the command starts, while /proc is still the machine's.
pub(super) fn prepare() -> rustix::io::Result<()> {
    rustix::process::chdir("/proc")?;
    rustix::process::umask(rustix::fs::Mode::empty());
    Ok(())
}

/// Lets this process, and what it starts, be root to those who answer.
pub(super) fn be_root() {
    // SAFETY: sets an attribute of this process.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, BASE_SLACK, 0, 0, 0) };
}

impl Identity {
    /// Makes one for the command of an init; `upper` is the directory that receives what the command writes.
    pub(super) fn new(listener: OwnedFd, init: Pid, upper: OwnedFd, one_id: &OneId) -> io::Result<Self> {
        rustix::process::chroot(Path::new(&format!("{}/root", init.as_raw_nonzero())))?;
        Ok(Self {
            listener: Listener::new(listener),
            memory: Memory::default(),
            table: Table::new(),
            owners: Owners::new(upper, &one_id.links),
            is_chrooted: false,
        })
    }

    /// Answers the call that waits; fails when nobody is left to call.
    pub(super) fn serve(&mut self) -> io::Result<()> {
        if let Some(call) = self.listener.take()? {
            let answer = self.answer(&call);
            self.listener.reply(&call, answer);
        }
        Ok(())
    }

    /// The owners of links that the command made.
    pub(super) fn into_owners(self) -> Vec<(Birth, Owner)> {
        self.owners.into_upper()
    }

    fn answer(&mut self, call: &Call) -> io::Result<Answer> {
        let thread = call.thread;
        match call.number {
            number if SET_IDS.contains(&number) => {
                match self.table.of(thread).changed(number, &call.arguments) {
                    Ok((credentials, answer)) => {
                        self.table.set(thread, credentials)?;
                        Ok(Answer::Value(answer.into()))
                    }
                    Err(code) => Ok(Answer::Error(code)),
                }
            }
            number if GET_IDS.contains(&number) => self.ids(call),
            libc::SYS_setgroups => self.set_groups(call),
            libc::SYS_prctl if call.arguments[0] == u64::from(libc::PR_SET_TIMERSLACK.unsigned_abs()) => {
                Ok(Answer::Value(0))
            }
            libc::SYS_chroot => {
                self.is_chrooted = true;
                Ok(Answer::LetThrough)
            }
            _ => self.answer_about_file(call),
        }
    }

    fn ids(&self, call: &Call) -> io::Result<Answer> {
        let who = self.table.of(call.thread);
        let three = |ids: credentials::Ids| {
            for (at, id) in [ids.real, ids.effective, ids.saved].iter().enumerate() {
                self.memory.write(call.thread, call.arguments[at], bytes_of(id))?;
            }
            Ok(Answer::Value(0))
        };
        let one = |id: u32| Ok(Answer::Value(id.into()));
        match call.number {
            libc::SYS_getuid => one(who.user.real),
            libc::SYS_geteuid => one(who.user.effective),
            libc::SYS_getgid => one(who.group.real),
            libc::SYS_getegid => one(who.group.effective),
            libc::SYS_getresuid => three(who.user),
            libc::SYS_getresgid => three(who.group),
            _ => {
                let (room, count) = (call.arguments[0] & u64::from(u32::MAX), who.groups.len() as u64);
                if room != 0 && room < count {
                    return Ok(Answer::Error(libc::EINVAL));
                }
                if room != 0 && count != 0 {
                    let bytes: Vec<u8> = who.groups.iter().flat_map(|group| group.to_ne_bytes()).collect();
                    self.memory.write(call.thread, call.arguments[1], &bytes)?;
                }
                Ok(Answer::Value(i64::try_from(count).unwrap_or_default()))
            }
        }
    }

    fn set_groups(&mut self, call: &Call) -> io::Result<Answer> {
        let mut credentials = self.table.of(call.thread).clone();
        if !credentials.is_privileged() {
            return Ok(Answer::Error(libc::EPERM));
        }
        let count = call.arguments[0] & u64::from(u32::MAX);
        if count > MAX_GROUPS {
            return Ok(Answer::Error(libc::EINVAL));
        }
        let mut bytes = vec![0; usize::try_from(count * 4).unwrap_or_default()];
        if !bytes.is_empty() && self.memory.read(call.thread, call.arguments[1], &mut bytes)? < bytes.len() {
            return Ok(Answer::Error(libc::EFAULT));
        }
        let group = |bytes: &[u8]| bytes.try_into().map(u32::from_ne_bytes).unwrap_or_default();
        credentials.groups = bytes.chunks_exact(4).map(group).collect();
        self.table.set(call.thread, credentials)?;
        Ok(Answer::Value(0))
    }
}
