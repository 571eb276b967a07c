//! Layer tars: their entries, and writing and reading them.

mod background;
mod header;
mod pax;
mod read;
mod write;

use std::collections::BTreeMap;

pub use crate::compression::Compression;
pub(crate) use header::is_header;
pub use read::{LayerReader, ReadLayerError, read_layer};
pub use write::{LayerWriter, WrittenLayer};
pub(crate) use write::{write_end, write_entry};

/// One entry of a layer: a path with its metadata. A regular file's content travels beside it.
///
/// Spec: OCI image-spec, layer.md.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path from the root, without a leading or final slash, without `.` or `..` parts; the root itself is empty.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky: at most 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of the last change of the content.
    pub mtime: Timestamp,
    /// Extended attributes, by full name (`security.capability`).
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file of that many bytes.
    File {
        /// Length of the content in bytes.
        size_bytes: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link with its text.
    Symlink {
        /// The text, taken as it stands.
        target: Vec<u8>,
    },
    /// A further name of an earlier entry of the same layer.
    Hardlink {
        /// Path of that entry, in the form of [`Entry::path`].
        target: Vec<u8>,
    },
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// A point in time, from the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Whole seconds, negative before 1970.
    pub seconds: i64,
    /// Nanoseconds after them, below 1,000,000,000.
    pub nanoseconds: u32,
}
