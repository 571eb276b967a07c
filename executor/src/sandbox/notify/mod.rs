//! Calls that a filter ([`super::seccomp`]) reports, and their answers.
//!
//! Man: seccomp_unotify(2).

#![allow(unsafe_code)]

pub(super) mod memory;

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

const RECEIVE: libc::c_ulong = 0xc050_2100;
const SEND: libc::c_ulong = 0xc018_2101;
const IS_VALID: libc::c_ulong = 0x4008_2102;
const ADD_DESCRIPTOR: libc::c_ulong = 0x4018_2103;
const SET_FLAGS: libc::c_ulong = 0x4008_2104;
const SYNC_WAKE_UP: libc::c_ulong = 1;

/// Calls that set ids.
pub(super) const SET_IDS: [libc::c_long; 8] = [
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
];

/// A call that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    id: u64,
    /// The calling thread.
    pub(super) thread: i32,
    /// The call's number.
    pub(super) number: libc::c_long,
    /// Its arguments.
    pub(super) arguments: [u64; 6],
}

/// What a caller gets.
#[derive(Debug)]
pub(super) enum Answer {
    /// The kernel does the call.
    LetThrough,
    /// The call's result.
    Value(i64),
    /// The call fails.
    Error(i32),
    /// The call gives a descriptor.
    Descriptor {
        /// What it leads to.
        file: OwnedFd,
        /// Whether exec closes it.
        close_on_exec: bool,
    },
}

/// Where a filter's calls come from and their answers go to.
#[derive(Debug)]
pub(super) struct Listener(OwnedFd);

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Listener {
    /// Takes the supervisor's end of a filter.
    pub(super) fn new(listener: OwnedFd) -> Self {
        // The caller is woken on our processor, which halves the way there and back. (Linux 6.6; else nothing.)
        // SAFETY: a call on our own descriptor that passes a number.
        unsafe { libc::ioctl(listener.as_raw_fd(), SET_FLAGS, SYNC_WAKE_UP) };
        Self(listener)
    }

    /// The next call; none when every process under the filter is gone.
    pub(super) fn receive(&self) -> Option<Call> {
        loop {
            let mut fds = [rustix::event::PollFd::new(&self.0, rustix::event::PollFlags::IN)];
            match rustix::event::poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return None,
                Ok(_) => {}
            }
            if !fds[0].revents().contains(rustix::event::PollFlags::IN) {
                return None;
            }
            match self.take() {
                Ok(Some(call)) => return Some(call),
                Ok(None) => {}
                Err(_) => return None,
            }
        }
    }

    /// The call that waits now; none where its caller died meanwhile.
    pub(super) fn take(&self) -> io::Result<Option<Call>> {
        // SAFETY: all zeros is a valid value, and what the kernel asks for.
        let mut received: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: `received` is what this request fills in, and lives until it returns.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), RECEIVE, &raw mut received) };
        if result == 0 {
            return Ok(Some(Call {
                id: received.id,
                thread: received.pid.cast_signed(),
                number: libc::c_long::from(received.data.nr),
                arguments: received.data.args,
            }));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::EINTR) => Ok(None),
            _ => Err(error),
        }
    }

    /// Whether the caller still waits: its number has not been given to another process.
    pub(super) fn is_valid(&self, call: &Call) -> bool {
        let id = call.id;
        // SAFETY: `id` lives until the request returns.
        unsafe { libc::ioctl(self.0.as_raw_fd(), IS_VALID, &raw const id) == 0 }
    }

    pub(super) fn reply(&self, call: &Call, answer: io::Result<Answer>) {
        let answer = answer.unwrap_or_else(|error| match error.raw_os_error() {
            Some(libc::EPERM) | None => Answer::LetThrough,
            Some(code) => Answer::Error(code),
        });
        let mut response = libc::seccomp_notif_resp { id: call.id, val: 0, error: 0, flags: 0 };
        match answer {
            Answer::LetThrough => {
                response.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE.try_into().unwrap_or(1);
            }
            Answer::Value(value) => response.val = value,
            Answer::Error(code) => response.error = -code,
            Answer::Descriptor { file, close_on_exec } => match self.hand_over(call, &file, close_on_exec) {
                Ok(number) => response.val = number,
                Err(error) => response.error = -error.raw_os_error().unwrap_or(libc::EIO),
            },
        }
        // The caller may have died meanwhile, which is its own affair.
        // SAFETY: `response` is what this request reads, and lives until it returns.
        unsafe { libc::ioctl(self.0.as_raw_fd(), SEND, &raw mut response) };
    }

    /// Puts a descriptor into the caller, and gives its number there.
    fn hand_over(&self, call: &Call, file: &OwnedFd, close_on_exec: bool) -> io::Result<i64> {
        let flags = if close_on_exec { libc::O_CLOEXEC.cast_unsigned() } else { 0 };
        let mut request = libc::seccomp_notif_addfd {
            id: call.id,
            flags: 0,
            srcfd: file.as_raw_fd().cast_unsigned(),
            newfd: 0,
            newfd_flags: flags,
        };
        // SAFETY: `request` is what this request reads, and lives until it returns.
        let number = unsafe { libc::ioctl(self.0.as_raw_fd(), ADD_DESCRIPTOR, &raw mut request) };
        if number < 0 { Err(io::Error::last_os_error()) } else { Ok(number.into()) }
    }
}

/// The error that a system call left behind, where its result says so.
pub(super) fn done(result: i64) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
