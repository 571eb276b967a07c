//! Layers on the disk: unpacked into overlayfs's form, and captured from an overlay's upper directory.
//!
//! overlayfs in a user namespace (`userxattr`) marks a removed name by a character device 0:0 and an opaque directory
//! by `user.overlay.opaque`. A device node that a user namespace may not make stands as an empty file that carries
//! `user.kairn.device`; capturing turns it back.

pub mod apply;
pub mod capture;
mod changes;
pub mod read;
pub mod unpack;
pub mod walk;
pub mod write;

use std::ffi::CStr;

/// Marks an opaque directory.
pub(crate) const OPAQUE_XATTR: &CStr = c"user.overlay.opaque";

/// Marks a file that stands for a device node: `c 1 3` or `b 8 0`.
pub(crate) const DEVICE_XATTR: &CStr = c"user.kairn.device";

/// Whether an extended attribute belongs in a layer.
///
/// overlayfs's and our own marks do not, nor do those that the machine sets (`security.selinux`).
pub(crate) fn belongs_in_layer(name: &[u8]) -> bool {
    name == b"security.capability"
        || name.starts_with(b"user.")
            && !name.starts_with(b"user.overlay.")
            && !name.starts_with(b"user.kairn.")
}
