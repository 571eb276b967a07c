//! Owners of files, also those that the kernel cannot give: where a user namespace has no such id, the owner is
//! recorded in an attribute of the file.
//!
//! Only files and directories can carry it. Links and pipes have their owner in the layer's tree, and while a RUN
//! lasts with the supervisor ([`crate::sandbox`]).

use std::ffi::CStr;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Statx, StatxFlags, Uid, XattrFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::users::Owner;

/// Holds a recorded owner: `33 33`, user and group.
pub(crate) const OWNER_XATTR: &CStr = c"user.kairn.owner";

/// What tells a file from all others, also from those that were removed before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Birth {
    inode: u64,
    /// Seconds and nanoseconds of its making.
    made: (i64, u32),
}

impl Birth {
    /// Of what statx(2) says, asked for `BTIME`.
    pub(crate) fn of_stat(stat: &Statx) -> Self {
        Self { inode: stat.stx_ino, made: (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec) }
    }

    /// Of the file at a path; a link at its end is not followed.
    ///
    /// # Errors
    /// Those of statx(2).
    pub(crate) fn of_path(path: &Path) -> Result<Self, Errno> {
        let wanted = StatxFlags::INO | StatxFlags::BTIME;
        let stat = rustix::fs::statx(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW, wanted)?;
        Ok(Self::of_stat(&stat))
    }
}

/// Gives an open file to an owner.
///
/// # Errors
/// Those of fchown(2) and fsetxattr(2).
pub(crate) fn give(file: impl AsFd, owner: Owner) -> Result<(), Errno> {
    match rustix::fs::fchown(&file, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid))) {
        Err(Errno::INVAL) => {
            rustix::fs::fsetxattr(&file, OWNER_XATTR, to_text(owner).as_bytes(), XattrFlags::empty())
        }
        other => other,
    }
}

/// Gives a name in a directory to an owner; a link at its end is not followed.
///
/// # Errors
/// Those of fchownat(2) and fsetxattr(2).
pub(crate) fn give_at(
    directory: impl AsFd,
    name: impl rustix::path::Arg + Copy,
    owner: Owner,
) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    match rustix::fs::chownat(&directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::INVAL) => {}
        other => return other,
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(&directory, name, flags, Mode::empty()) {
        Ok(file) => {
            match rustix::fs::fsetxattr(&file, OWNER_XATTR, to_text(owner).as_bytes(), XattrFlags::empty()) {
                // A pipe.
                Err(Errno::PERM) => Ok(()),
                other => other,
            }
        }
        // A link, or a socket.
        Err(Errno::LOOP | Errno::NXIO) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Gives what stands at a path to an owner; a link at its end is not followed.
///
/// # Errors
/// As [`give_at`].
pub(crate) fn give_path(path: &Path, owner: Owner) -> Result<(), Errno> {
    give_at(rustix::fs::CWD, path, owner)
}

/// The recorded owner of an open file.
pub(crate) fn recorded(file: impl AsFd) -> Option<Owner> {
    let mut value = [0_u8; 32];
    let length = rustix::fs::fgetxattr(file, OWNER_XATTR, &mut value[..]).ok()?;
    of_text(&value[..length])
}

/// What the attribute holds for an owner.
pub(crate) fn to_text(owner: Owner) -> String {
    format!("{} {}", owner.uid, owner.gid)
}

/// The owner that an attribute holds.
pub(crate) fn of_text(value: &[u8]) -> Option<Owner> {
    let (uid, gid) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    Some(Owner { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
}

/// Whether this process's user namespace has one user and one group only, so that owners are recorded.
pub fn are_recorded() -> bool {
    let is_one = |kind: &str| {
        let map = std::fs::read_to_string(format!("/proc/self/{kind}_map")).unwrap_or_default();
        map.split_whitespace().nth(2) == Some("1") && map.lines().count() == 1
    };
    is_one("uid") && is_one("gid")
}
