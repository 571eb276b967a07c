//! Who owns a file, as far as that is recorded.

use std::collections::HashMap;
use std::ffi::CStr;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Statx, StatxFlags, Uid, XattrFlags};
use rustix::io::Errno;

use crate::owner::{Birth, OWNER_XATTR, of_text, to_text};
use crate::snapshot::DEVICE_XATTR;
use crate::snapshot::read::parse_device;
use crate::snapshot::unpack::open_beneath;
use crate::tree::{NodeKind, file_name, parent};
use crate::users::Owner;

/// What is recorded of a file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Record {
    pub(super) owner: Option<Owner>,
    /// Type bits of a mode, major and minor number.
    pub(super) device: Option<(u32, u32, u32)>,
}

impl Record {
    pub(super) fn is_empty(self) -> bool {
        self.owner.is_none() && self.device.is_none()
    }
}

/// The owners of what cannot carry an attribute: links, pipes, sockets.
#[derive(Debug)]
pub(super) struct Owners {
    /// Of the image, by inode: these live as long as the RUN.
    lower: HashMap<u64, Owner>,
    /// Made or changed by the RUN.
    upper: HashMap<Birth, Owner>,
    /// The directory that receives what the RUN writes.
    upper_handle: OwnedFd,
}

impl Owners {
    pub(super) fn new(upper_handle: OwnedFd, lower: &[(u64, Owner)]) -> Self {
        Self { lower: lower.iter().copied().collect(), upper: HashMap::new(), upper_handle }
    }

    /// What is left to know when the RUN is over.
    pub(super) fn into_upper(self) -> Vec<(Birth, Owner)> {
        self.upper.into_iter().collect()
    }

    /// What is recorded of the file at a path, which is followed to its end or not. Most files have no record.
    pub(super) fn at(&self, path: &CStr, follow: bool) -> Record {
        let mut names = [0_u8; 4096];
        let length = if follow {
            rustix::fs::listxattr(path, &mut names[..])
        } else {
            rustix::fs::llistxattr(path, &mut names[..])
        };
        let mut record = Record::default();
        for name in names[..length.unwrap_or_default()].split_inclusive(|byte| *byte == 0) {
            let mut value = [0_u8; 64];
            let mut read = |name: &CStr| {
                let length = if follow {
                    rustix::fs::getxattr(path, name, &mut value[..])
                } else {
                    rustix::fs::lgetxattr(path, name, &mut value[..])
                };
                length.map(|length| value[..length].to_vec()).unwrap_or_default()
            };
            if name == OWNER_XATTR.to_bytes_with_nul() {
                record.owner = of_text(&read(OWNER_XATTR));
            } else if name == DEVICE_XATTR.to_bytes_with_nul() {
                record.device = match parse_device(&read(DEVICE_XATTR)) {
                    Some(NodeKind::CharDevice(major, minor)) => Some((libc::S_IFCHR, major, minor)),
                    Some(NodeKind::BlockDevice(major, minor)) => Some((libc::S_IFBLK, major, minor)),
                    _ => None,
                };
            }
        }
        if record.owner.is_none() && !(self.lower.is_empty() && self.upper.is_empty()) {
            let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
            let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
            if let Ok(stat) = rustix::fs::statx(rustix::fs::CWD, path, flags, wanted) {
                record.owner = self.remembered(&stat);
            }
        }
        record
    }

    /// The owner of what cannot carry an attribute.
    pub(super) fn remembered(&self, stat: &Statx) -> Option<Owner> {
        let upper = self.upper.get(&Birth::of_stat(stat));
        upper.or_else(|| self.lower.get(&stat.stx_ino).filter(|_| !carries_attributes(stat))).copied()
    }

    /// Records the owner of a file, which is open as a mere path.
    pub(super) fn record(&mut self, file: &OwnedFd, owner: Owner) -> Result<(), Errno> {
        // The kernel does what goes with it: a copy in the upper directory, a change time, no more setuid bit.
        let (uid, gid) = (Some(Uid::ROOT), Some(Gid::ROOT));
        rustix::fs::chownat(file, c"", uid, gid, AtFlags::EMPTY_PATH)?;
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let stat = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, wanted)?;
        if carries_attributes(&stat) {
            let path = format!("self/fd/{}", file.as_raw_fd());
            let done = if owner == Owner::ROOT {
                match rustix::fs::removexattr(&path, OWNER_XATTR) {
                    Err(Errno::NODATA) => Ok(()),
                    other => other,
                }
            } else {
                rustix::fs::setxattr(&path, OWNER_XATTR, to_text(owner).as_bytes(), XattrFlags::empty())
            };
            if done != Err(Errno::NOTSUP) {
                return done;
            }
        }
        self.upper.insert(Birth::of_stat(&stat), owner);
        // By the overlay's number it is known as long as the kernel remembers it, by the disk's for ever.
        if let Some(stat) = self.on_disk(file) {
            self.upper.insert(Birth::of_stat(&stat), owner);
        }
        Ok(())
    }

    /// What an open file of the root is in the directory that receives what the RUN writes.
    fn on_disk(&self, file: &OwnedFd) -> Option<Statx> {
        let path = rustix::fs::readlink(format!("self/fd/{}", file.as_raw_fd()), Vec::new()).ok()?;
        let path = path.to_bytes().strip_prefix(b"/")?;
        let above = open_beneath(self.upper_handle.as_fd(), parent(path)?).ok()?;
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        rustix::fs::statx(above, file_name(path), AtFlags::SYMLINK_NOFOLLOW, wanted).ok()
    }

    /// Sees to it that a link of the image keeps its owner when it gets another name.
    pub(super) fn before_rename(&mut self, path: &CStr) -> Result<(), Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty())?;
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let stat = rustix::fs::statx(&file, c"", AtFlags::EMPTY_PATH, wanted)?;
        let owner = if carries_attributes(&stat) { None } else { self.lower.get(&stat.stx_ino).copied() };
        match owner {
            Some(owner) if !self.upper.contains_key(&Birth::of_stat(&stat)) => self.record(&file, owner),
            _ => Ok(()),
        }
    }
}

fn carries_attributes(stat: &Statx) -> bool {
    matches!(FileType::from_raw_mode(u32::from(stat.stx_mode)), FileType::RegularFile | FileType::Directory)
}
