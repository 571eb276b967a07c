//! The files that a command may reach where no mount hides the others: Landlock (Linux 5.13).
//!
//! A directory that a supervisor hands into a chroot leads out of it; Landlock holds by file, whatever the way to it.
//! A domain also keeps its processes from tracing those outside, and since Linux 6.12 from signalling them.
//!
//! Man: landlock(7).

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// First versions of the interface that know a right or a scope.
const REFER_SINCE: i64 = 2;
const TRUNCATE_SINCE: i64 = 3;
const SCOPE_SINCE: i64 = 6;

const EXECUTE: u64 = 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIRECTORY: u64 = 1 << 3;
const WRITE_FILE: u64 = 1 << 1;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
/// Everything that the first version knows.
const FIRST: u64 = (1 << 13) - 1;

const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1;
const SCOPE_SIGNAL: u64 = 1 << 1;

const CREATE_RULESET_VERSION: libc::c_uint = 1;
const RULE_PATH_BENEATH: libc::c_uint = 1;

#[repr(C)]
struct RulesetAttributes {
    handled_files: u64,
    handled_network: u64,
    scoped: u64,
}

#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

/// What a command may do below a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everything.
    All,
    /// Read and write what is there, and start programs.
    Use,
}

/// The version of the interface that this kernel and container offer; none where Landlock is off.
pub(crate) fn version() -> Option<i64> {
    // SAFETY: asks for a number; no memory is passed.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<RulesetAttributes>(),
            0_usize,
            CREATE_RULESET_VERSION,
        )
    };
    (version > 0).then_some(version)
}

/// Whether signals to processes outside are kept in.
pub(crate) fn keeps_signals_in() -> bool {
    version().is_some_and(|version| version >= SCOPE_SINCE)
}

/// Confines this process, and all it starts, to places of the file system. Does nothing where Landlock is off.
///
/// Must have `no_new_privs` set or hold `CAP_SYS_ADMIN`.
pub(crate) fn confine(places: &[(&Path, Access)]) -> io::Result<()> {
    let Some(version) = version() else { return Ok(()) };
    let mut all = FIRST;
    if version >= REFER_SINCE {
        all |= REFER;
    } else {
        // The first version forbids all moves between directories, which no package installer can do without.
        return Ok(());
    }
    if version >= TRUNCATE_SINCE {
        all |= TRUNCATE;
    }
    let scoped = if version >= SCOPE_SINCE { SCOPE_SIGNAL | SCOPE_ABSTRACT_UNIX_SOCKET } else { 0 };
    let attributes = RulesetAttributes { handled_files: all, handled_network: 0, scoped };
    let size = if version >= SCOPE_SINCE { 24_usize } else { 8 };
    // SAFETY: `attributes` lives until the call returns and is at least `size` bytes long.
    let ruleset =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::from_ref(&attributes), size, 0) };
    if ruleset < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, and nobody else has it.
    let ruleset = unsafe { OwnedFd::from_raw_fd(i32::try_from(ruleset).unwrap_or(-1)) };
    for (place, access) in places {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let Ok(parent) = rustix::fs::open(*place, flags, Mode::empty()) else { continue };
        let is_directory = rustix::fs::fstat(&parent)
            .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir());
        let of_files = EXECUTE | READ_FILE | WRITE_FILE | (all & TRUNCATE);
        let allowed = match access {
            Access::All => all,
            Access::Use => of_files | READ_DIRECTORY,
        };
        let allowed = if is_directory { allowed } else { allowed & of_files };
        let rule = PathBeneath { allowed, parent: parent.as_raw_fd() };
        // SAFETY: `rule` lives until the call returns and is what the rule type says.
        let result = unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                ruleset.as_raw_fd(),
                RULE_PATH_BENEATH,
                std::ptr::from_ref(&rule),
                0,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: no memory is passed.
    let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
