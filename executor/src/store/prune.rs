//! Throwing away: what is too old, and the oldest of what is too much. Never what a running build uses.
//!
//! Whatever a build uses it touches, under a lock that pruning takes for itself while it decides. So what was not touched
//! since the oldest running build began is nobody's.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::usage::Item;
use super::{Kind, StepRecord, Store, StoreLock, now_s, remove_tree};
use crate::error::{Error, Named as _};

/// The lock that keeps pruning from taking anything, by its name among the locks.
const LOCK: &str = "prune";

/// How often pruning by itself looks.
const PAUSE: Duration = Duration::from_hours(1);

/// The same where the disk is short.
const SHORT_PAUSE: Duration = Duration::from_mins(1);

/// How much of a running build's beginning is not trusted, because clocks of files are coarse.
const SLACK_S: u64 = 2;

/// How much may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Longest time without use, in seconds.
    pub age_s: Option<u64>,
    /// Most bytes in all.
    pub size_bytes: Option<u64>,
    /// Bytes of the disk that are to be free.
    pub free_bytes: Option<u64>,
    /// Bytes that stay for all that: so small a store is not what fills the disk.
    pub reserve_bytes: u64,
}

/// What was thrown away.
#[derive(Clone, Debug, Default)]
pub struct Pruned {
    /// The items, oldest first.
    pub items: Vec<Item>,
}

impl Pruned {
    /// Bytes that are free now.
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(|item| item.size_bytes).sum()
    }
}

/// A build that is running; it ends when this is dropped.
#[derive(Debug)]
pub struct Running {
    path: std::path::PathBuf,
    _lock: File,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Store {
    /// Says that a build begins: what it uses from now on is not thrown away.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn running(&self) -> Result<Running, Error> {
        let _claim = self.claim()?;
        let locks = self.root().join("locks");
        // Processes of several containers may have one number.
        let file = tempfile::Builder::new()
            .prefix("running-")
            .tempfile_in(&locks)
            .map_err(|e| Error::world(format!("cannot make a file in `{}`", locks.display()), e))?;
        let (lock, path) = file
            .keep()
            .map_err(|e| Error::world(format!("cannot keep a file in `{}`", locks.display()), e))?;
        lock.lock().named("lock", &path)?;
        Ok(Running { path, _lock: lock })
    }

    /// Throws away what a budget does not allow; with `dry_run`, says only what that would be.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn prune(&self, budget: &Budget, dry_run: bool) -> Result<Pruned, Error> {
        let usage = self.usage()?;
        let total = usage.total_bytes();
        let mut items = usage.items;
        items.sort_by_key(|item| item.used_s);
        let mut excess = budget.size_bytes.map_or(0, |most| total.saturating_sub(most));
        if let Some(wanted) = budget.free_bytes {
            let spare = total.saturating_sub(budget.reserve_bytes);
            excess = excess.max(wanted.saturating_sub(self.free_bytes()).min(spare));
        }
        let oldest = budget.age_s.map_or(0, |age| now_s().saturating_sub(age));
        // Everything up to here took its time, and was no more than a look.
        let lock = self.alone()?;
        let in_use_since = self.oldest_running();
        let mut pruned = Pruned::default();
        let mut freed = 0;
        for item in items {
            let is_old = budget.age_s.is_some() && item.used_s <= oldest;
            // Documents are small, and what is left of a build without them is of no use.
            let is_excess = freed < excess && item.kind != Kind::Document;
            let is_free = item.used_s < in_use_since && !item.was_used_since();
            if is_free && (is_old || is_excess) {
                freed += item.size_bytes;
                pruned.items.push(item);
            }
        }
        if dry_run {
            return Ok(pruned);
        }
        // Moved away while nobody may look; removed when all may again.
        let work = self.work_dir()?;
        for (number, path) in pruned.items.iter().flat_map(|item| &item.paths).enumerate() {
            let _ = std::fs::rename(path, work.path().join(number.to_string()));
        }
        self.layout().drop_dead_names().map_err(|e| Error::world("cannot look at the names of images", e))?;
        drop(lock);
        drop(work);
        self.mark_evicted(oldest.min(in_use_since), budget.age_s.is_some())?;
        Ok(pruned)
    }

    /// Prunes at the end of a build: now and then, and only where a budget is passed.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn prune_now_and_then(&self, budget: &Budget) -> Result<Pruned, Error> {
        let stamp = self.root().join("stamps").join("pruned");
        let is_short = budget.free_bytes.is_some_and(|wanted| self.free_bytes() < wanted);
        let age = stamp.symlink_metadata().and_then(|meta| meta.modified()).ok();
        let pause = if is_short { SHORT_PAUSE } else { PAUSE };
        if age.is_some_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age < pause)) {
            return Ok(Pruned::default());
        }
        self.write_file(&stamp, b"")?;
        self.prune(budget, false)
    }

    /// Bytes of the disk that are free for us.
    pub fn free_bytes(&self) -> u64 {
        rustix::fs::statvfs(self.root()).map_or(u64::MAX, |disk| disk.f_bavail * disk.f_frsize)
    }

    /// Bytes of the whole disk.
    pub fn disk_bytes(&self) -> u64 {
        rustix::fs::statvfs(self.root()).map_or(u64::MAX, |disk| disk.f_blocks * disk.f_frsize)
    }

    /// Keeps all builds from beginning to use anything.
    fn alone(&self) -> Result<StoreLock, Error> {
        self.prune_lock(File::lock)
    }

    pub(super) fn prune_lock(&self, take: fn(&File) -> std::io::Result<()>) -> Result<StoreLock, Error> {
        let path = self.root().join("locks").join(LOCK);
        let file = File::options().create(true).append(true).open(&path).named("open", &path)?;
        take(&file).named("lock", &path)?;
        Ok(StoreLock { _file: file })
    }

    /// When the oldest running build began, in seconds from the Unix epoch; `u64::MAX` if none runs.
    ///
    /// What dead builds left is removed, and so are locks that nobody holds any more.
    fn oldest_running(&self) -> u64 {
        let mut oldest = u64::MAX;
        for entry in std::fs::read_dir(self.root().join("locks")).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(lock) = File::open(&path) else { continue };
            let name = entry.file_name();
            let is_running = name.as_encoded_bytes().starts_with(b"running-");
            if name == LOCK {
                continue;
            }
            if lock.try_lock().is_ok() {
                let _ = std::fs::remove_file(&path);
            } else if is_running
                && let Ok(began) =
                    lock.metadata().and_then(|meta| meta.created().or_else(|_| meta.modified()))
            {
                let began = began.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
                oldest = oldest.min(began.saturating_sub(SLACK_S));
            }
        }
        oldest
    }

    /// Notes in the records of steps that their layers are gone; records that are twice too old go as well.
    fn mark_evicted(&self, oldest: u64, removes_records: bool) -> Result<(), Error> {
        for entry in std::fs::read_dir(self.root().join("steps"))?.flatten() {
            let path = entry.path();
            let Ok(bytes) = std::fs::read(&path) else { continue };
            let Some(mut record) = StepRecord::unseal(&bytes) else {
                remove_tree(&path);
                continue;
            };
            if self.layout().has_blob(&record.descriptor.digest) || record.from.is_some() {
                continue;
            }
            let age = now_s().saturating_sub(oldest);
            let is_long_gone = record.evicted_s.is_some_and(|when| when + age.max(86_400) < now_s());
            if removes_records && is_long_gone {
                remove_tree(&path);
            } else if record.evicted_s.is_none() {
                record.evicted_s = Some(now_s());
                self.write_sealed(&path, &record.to_bytes()?)?;
            }
        }
        Ok(())
    }

    /// Throws a whole file or folder away, whoever looks at it.
    pub(super) fn discard(&self, path: &Path) -> Result<(), Error> {
        let work = self.work_dir()?;
        match std::fs::rename(path, work.path().join("discarded")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}
