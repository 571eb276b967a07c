//! The filter of system calls that a command runs under.
//!
//! Two things are done by it, on any rung: calls that only wait for the disk are answered at once (the layer is what is
//! kept, not the directory), and on the rungs that need one, a supervisor answers the calls that name it.
//!
//! Man: seccomp(2), seccomp_unotify(2). seccompiler, the usual package, cannot ask for notifications.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

/// Calls that make data durable.
const SYNC: [libc::c_long; 6] = [
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync,
    libc::SYS_syncfs,
    libc::SYS_sync_file_range,
    libc::SYS_msync,
];

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Calls by x32 numbers have this bit set; they answer that there is no such call.
const X32_BIT: u32 = 0x4000_0000;

const RET_ALLOW: u32 = 0x7fff_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_NOTIFY: u32 = 0x7fc0_0000;

/// Calls that reach files past every filter.
const UNFILTERED: [libc::c_long; 1] = [libc::SYS_io_uring_setup];

/// Where the first argument's low half lies in what a filter sees.
const ARGUMENTS_AT: u32 = 16;

const LOAD_WORD: u16 = 0x20;
const JUMP_SET: u16 = 0x45;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

const SET_MODE_FILTER: libc::c_uint = 1;
const FLAG_NEW_LISTENER: libc::c_ulong = 1 << 3;
const FLAG_WAIT_KILLABLE: libc::c_ulong = 1 << 5;

/// What the filter does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Whether calls that wait for the disk are answered at once.
    pub(crate) without_sync: bool,
    /// Calls that a supervisor answers.
    pub(crate) notified: Vec<Notified>,
}

/// A call that a supervisor answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notified {
    /// Its number.
    pub(crate) call: libc::c_long,
    /// An argument, counted from 0, and a mask: only calls with one of these bits set are reported.
    pub(crate) with_bits: Option<(u32, u32)>,
}

impl From<libc::c_long> for Notified {
    fn from(call: libc::c_long) -> Self {
        Self { call, with_bits: None }
    }
}

impl Filter {
    /// Puts this process, and all it starts, under the filter. Gives the supervisor's end, where one is asked for.
    ///
    /// Must hold `CAP_SYS_ADMIN` in its user namespace, or have `no_new_privs` set.
    pub(crate) fn install(&self) -> io::Result<Option<OwnedFd>> {
        if !self.without_sync && self.notified.is_empty() {
            return Ok(None);
        }
        let program = self.program();
        let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let filter = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
        if self.notified.is_empty() {
            return set(0, &filter).map(|_| None);
        }
        // Without the second flag a signal makes a call start over, for ever where signals are frequent. (Linux 5.19.)
        let listener = match set(FLAG_NEW_LISTENER | FLAG_WAIT_KILLABLE, &filter) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => set(FLAG_NEW_LISTENER, &filter)?,
            other => other?,
        };
        // SAFETY: the kernel has just made this descriptor for us, and nobody else has it.
        Ok(Some(unsafe { OwnedFd::from_raw_fd(listener) }))
    }

    fn program(&self) -> Vec<libc::sock_filter> {
        let sync: &[libc::c_long] = if self.without_sync { &SYNC } else { &[] };
        let mut program = vec![
            instruction(LOAD_WORD, 0, 0, 4),
            // Other architectures' calls, which have other numbers, are let through.
            instruction(JUMP_EQUAL, 1, 0, ARCHITECTURE),
            instruction(RETURN, 0, 0, RET_ALLOW),
            instruction(LOAD_WORD, 0, 0, 0),
            instruction(JUMP_GREATER_EQUAL, 0, 1, X32_BIT),
            instruction(RETURN, 0, 0, RET_ERRNO | libc::ENOSYS.cast_unsigned()),
        ];
        let unfiltered: &[libc::c_long] = if self.notified.is_empty() { &[] } else { &UNFILTERED };
        let no_such_call = RET_ERRNO | libc::ENOSYS.cast_unsigned();
        let number = |call: libc::c_long| u32::try_from(call).unwrap_or(u32::MAX);
        let answers = sync.iter().map(|call| (call, RET_ERRNO));
        for (call, answer) in answers.chain(unfiltered.iter().map(|call| (call, no_such_call))) {
            program.push(instruction(JUMP_EQUAL, 0, 1, number(*call)));
            program.push(instruction(RETURN, 0, 0, answer));
        }
        for Notified { call, with_bits } in &self.notified {
            if let Some((argument, mask)) = with_bits {
                program.push(instruction(JUMP_EQUAL, 0, 4, number(*call)));
                program.push(instruction(LOAD_WORD, 0, 0, ARGUMENTS_AT + 8 * argument));
                program.push(instruction(JUMP_SET, 0, 1, *mask));
                program.push(instruction(RETURN, 0, 0, RET_NOTIFY));
                program.push(instruction(RETURN, 0, 0, RET_ALLOW));
            } else {
                program.push(instruction(JUMP_EQUAL, 0, 1, number(*call)));
                program.push(instruction(RETURN, 0, 0, RET_NOTIFY));
            }
        }
        program.push(instruction(RETURN, 0, 0, RET_ALLOW));
        program
    }
}

fn instruction(code: u16, if_true: u8, if_false: u8, value: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt: if_true, jf: if_false, k: value }
}

fn set(flags: libc::c_ulong, filter: &libc::sock_fprog) -> io::Result<i32> {
    // SAFETY: `filter` points to a program that lives until the call returns; the kernel copies it.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, std::ptr::from_ref(filter)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(i32::try_from(result).unwrap_or(-1)) }
}
