//! Transfers side by side: work that waits for a disk or a registry more than it computes.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::Error;

/// How many items are worked on at a time.
const AT_A_TIME: usize = 4;

/// Does some work for each item, a few at a time, and gives the results in no particular order.
///
/// # Errors
/// The first failure, which also keeps what has not begun from beginning.
pub(crate) fn each<I: Sync, T: Send>(
    items: &[I],
    work: &(dyn Fn(&I) -> Result<T, Error> + Sync),
) -> Result<Vec<T>, Error> {
    if let [item] = items {
        return work(item).map(|value| vec![value]);
    }
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Ok(Vec::with_capacity(items.len())));
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME.min(items.len()) {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = work(item);
                    let mut done = done.lock().expect("no holder of this lock panics");
                    match (result, &mut *done) {
                        (Ok(value), Ok(values)) => values.push(value),
                        (Err(error), Ok(_)) => {
                            next.store(items.len(), Ordering::Relaxed);
                            *done = Err(error);
                        }
                        (_, Err(_)) => {}
                    }
                }
            });
        }
    });
    done.into_inner().expect("no holder of this lock panics")
}
