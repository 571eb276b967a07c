//! Work that may not take longer than it is given.

use std::sync::mpsc;
use std::time::Duration;

/// The slowest transfer that is waited for, in bytes a second.
const SLOWEST: u64 = 128 * 1024;

/// The longest wait for one blob, whatever its size is said to be.
const LONGEST: Duration = Duration::from_hours(1);

/// How long a transfer of some bytes is waited for.
pub(super) fn for_bytes(bytes: u64) -> Duration {
    Duration::from_secs(30 + bytes / SLOWEST).min(LONGEST)
}

/// Does some work on a thread of its own, and gives up waiting for it after `limit`. The thread then ends by itself.
pub(super) fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = sender.send(work());
    });
    receiver.recv_timeout(limit).ok()
}
