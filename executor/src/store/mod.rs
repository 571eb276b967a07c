//! The store under `$KAIRN_ROOT`: blobs, unpacked snapshots, layer trees and step records.
//!
//! ```text
//! oci-layout, index.json, blobs/   an OCI image layout: the images built here, by tag
//! steps/<key>                      what a step gave (a digest, JSON)
//! trees/<chain id>                 the names in a layer
//! snapshots/<chain id>/            the layer unpacked, as overlayfs wants it
//! recorded/<chain id>/             the same, with owners in attributes (see `crate::owner`)
//! contexts/<chain id>/             build contexts from archives and URLs, unpacked
//! contents/<chain id>/             the layer's regular files alone, for builds without RUN
//! memories/<name>                  what was read of a context, with the files' attributes then
//! resolved/<name>                  what an image's name was when a registry was last asked
//! builds/<time>-<random>           what builds did, step by step
//! cache-mounts/<name>/<n>/         cache mounts: `files`, and locks
//! http/<name>/, git/<name>         what servers gave
//! stamps/<folder>.<chain id>       when an unpacked layer was last used (its time), and its size (its text)
//! locks/<name>                     locks between builds; the kernel frees them when their holder dies
//! tmp/<random>/                    work in progress, removed by the next build when its holder is dead
//! ```
//! Everything is written under `tmp` and renamed into place, so a killed build leaves nothing half done, and any
//! number of builds may share a store.

mod history;
mod memory;
mod prune;
mod records;
mod usage;
mod verify;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err as fs;
use kairn_image::layout::Layout;
use kairn_image::{Digest, Platform};

pub use history::{BuildRecord, ImageReport, StepReport, Verdict};
pub use memory::ContextMemory;
pub use prune::{Budget, Pruned, Running};
pub(crate) use records::now_ms;
pub use records::{Place, StepRecord, now_s};
pub use usage::{Item, Kind, Usage};
pub use verify::Verified;

use crate::error::{Error, Named as _};
use crate::owner;
use crate::pull::Resolution;
use crate::snapshot::unpack::Unpack;
use crate::tree::LayerTree;

const FOLDERS: [&str; 13] = [
    "builds",
    "cache-mounts",
    "contents",
    "contexts",
    "locks",
    "memories",
    "recorded",
    "resolved",
    "snapshots",
    "stamps",
    "steps",
    "tmp",
    "trees",
];

/// The store of one `$KAIRN_ROOT`.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    layout: Arc<Layout>,
    /// Where unpacked layers are.
    snapshots: &'static str,
}

/// A directory for work in progress; removed when dropped.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
    _lock: File,
}

/// A lock between builds, held until it is dropped.
#[derive(Debug)]
pub struct StoreLock {
    _file: File,
}

impl Store {
    /// Opens the store, making it where there is none, and removes what dead builds left.
    ///
    /// # Errors
    /// Fails where the folder cannot be made or written.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let help = "point `--kairn-root` (or `KAIRN_ROOT`) at a folder that you may write";
        for folder in FOLDERS {
            fs::create_dir_all(root.join(folder)).map_err(|e| Error::from(e).with_help(help))?;
        }
        let layout = Layout::open(root)
            .map_err(|e| {
                Error::world(format!("cannot open the store `{}`", root.display()), e).with_help(help)
            })?
            .with_temporary_folder(root.join("tmp"));
        let snapshots = if owner::are_recorded() { "recorded" } else { "snapshots" };
        let store = Self { root: root.to_owned(), layout: Arc::new(layout), snapshots };
        store.remove_dead_work()?;
        Ok(store)
    }

    /// The folder of the store.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The blobs and the tags.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Makes a directory for work in progress.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn work_dir(&self) -> Result<WorkDir, Error> {
        let tmp = self.root.join("tmp");
        loop {
            let path = tempfile::Builder::new()
                .prefix("")
                .rand_bytes(10)
                .tempdir_in(&tmp)
                .map_err(|e| Error::world(format!("cannot make a folder in `{}`", tmp.display()), e))?
                .keep();
            let lock = File::create(path.join("lock")).named("create", &path.join("lock"));
            // Another build may take the folder for a dead one's until the lock is held; then another is made.
            match lock {
                Ok(lock) if lock.try_lock().is_ok() && path.join("lock").exists() => {
                    return Ok(WorkDir { path, _lock: lock });
                }
                Err(error) if path.exists() => return Err(error),
                _ => {}
            }
        }
    }

    /// Takes the lock of a name, waiting for other builds that hold it.
    ///
    /// # Errors
    /// Fails where the lock file cannot be made.
    pub fn lock(&self, name: &str) -> Result<StoreLock, Error> {
        use std::os::unix::fs::MetadataExt as _;
        let path = self.root.join("locks").join(name);
        loop {
            let file = File::options().create(true).append(true).open(&path).named("open", &path)?;
            file.lock().named("lock", &path)?;
            // Pruning removes locks that nobody holds; then somebody else may hold another file of that name.
            let own = file.metadata().named("look at", &path)?.ino();
            if path.symlink_metadata().is_ok_and(|meta| meta.ino() == own) {
                return Ok(StoreLock { _file: file });
            }
        }
    }

    /// The folder of a cache mount, by the name that its id and attributes give. It stays until this build is over.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn mount_folder(&self, name: &str, id: &str) -> Result<PathBuf, Error> {
        let _claim = self.claim()?;
        let folder = self.root.join("cache-mounts").join(name);
        fs::create_dir_all(&folder)?;
        let path = folder.join("id");
        if path.is_file() {
            self.touch(&path);
        } else {
            self.write_file(&path, id.as_bytes())?;
        }
        Ok(folder)
    }

    /// Keeps pruning from taking anything until it is dropped: for a look whether something is there, and its use.
    ///
    /// What is touched under it stays until this build is over.
    fn claim(&self) -> Result<StoreLock, Error> {
        self.prune_lock(File::lock_shared)
    }

    /// Says that something is in use now. That it cannot be said does no harm.
    #[expect(clippy::unused_self, reason = "whoever touches something has a store")]
    pub(crate) fn touch(&self, path: &Path) {
        use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        };
        let _ = rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
    }

    /// Whether a blob is here. It then stays until this build is over.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        let path = self.layout.blob_path(digest);
        let Ok(_claim) = self.claim() else { return false };
        let is_here = path.is_file();
        if is_here {
            self.touch(&path);
        }
        is_here
    }

    /// The unpacked layer of a chain id, if there is one. It then stays until this build is over.
    pub fn snapshot(&self, unpack: Unpack, chain_id: &Digest) -> Option<PathBuf> {
        let path = self.snapshot_path(unpack, chain_id);
        let _claim = self.claim().ok()?;
        let is_here = path.is_dir();
        if is_here {
            self.touch(&self.stamp_path(unpack, chain_id));
        }
        is_here.then_some(path)
    }

    fn stamp_path(&self, unpack: Unpack, chain_id: &Digest) -> PathBuf {
        self.root.join("stamps").join(format!("{}.{}", self.snapshot_folder(unpack), chain_id.hex()))
    }

    /// What an image's name was when a registry was last asked.
    pub(crate) fn resolution(&self, canonical: &str, platform: &Platform) -> Option<Resolution> {
        let bytes = std::fs::read(self.resolution_path(canonical, platform)).ok()?;
        serde_json::from_slice(unseal(&bytes)?).ok()
    }

    /// Keeps what an image's name is.
    pub(crate) fn put_resolution(
        &self,
        canonical: &str,
        platform: &Platform,
        resolution: &Resolution,
    ) -> Result<(), Error> {
        let path = self.resolution_path(canonical, platform);
        let bytes = serde_json::to_vec(resolution)
            .map_err(|e| Error::world("cannot encode what an image's name is", e))?;
        if std::fs::read(&path).is_ok_and(|known| unseal(&known) == Some(&bytes[..])) {
            self.touch(&path);
            return Ok(());
        }
        self.write_sealed(&path, &bytes)
    }

    fn resolution_path(&self, canonical: &str, platform: &Platform) -> PathBuf {
        let name = Digest::of(format!("{canonical}\0{platform}").as_bytes());
        self.root.join("resolved").join(name.hex())
    }

    /// Makes an unpacked layer the snapshot of a chain id; one that another build made first stays.
    ///
    /// # Errors
    /// Fails where the rename does.
    pub fn put_snapshot(&self, unpack: Unpack, chain_id: &Digest, unpacked: &Path) -> Result<PathBuf, Error> {
        let path = self.snapshot_path(unpack, chain_id);
        let _claim = self.claim()?;
        let size_bytes = self.tree(chain_id).map_or(0, |tree| usage::unpacked_bytes(&tree));
        self.write_file(&self.stamp_path(unpack, chain_id), size_bytes.to_string().as_bytes())?;
        match fs::rename(unpacked, &path) {
            Ok(()) => Ok(path),
            Err(_) if path.is_dir() => Ok(path),
            Err(error) => Err(error.into()),
        }
    }

    /// The names in the layer of a chain id, if they are known.
    pub fn tree(&self, chain_id: &Digest) -> Option<LayerTree> {
        let path = self.root.join("trees").join(chain_id.hex());
        let bytes = std::fs::read(&path).ok()?;
        self.touch(&path);
        postcard::from_bytes(unseal(&bytes)?).ok()
    }

    /// Keeps the names in the layer of a chain id.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn put_tree(&self, chain_id: &Digest, tree: &LayerTree) -> Result<(), Error> {
        let bytes =
            postcard::to_allocvec(tree).map_err(|e| Error::world("cannot encode a layer's tree", e))?;
        self.write_sealed(&self.root.join("trees").join(chain_id.hex()), &bytes)
    }

    fn snapshot_path(&self, unpack: Unpack, chain_id: &Digest) -> PathBuf {
        self.root.join(self.snapshot_folder(unpack)).join(chain_id.hex())
    }

    fn snapshot_folder(&self, unpack: Unpack) -> &'static str {
        match unpack {
            Unpack::Snapshot => self.snapshots,
            Unpack::Context => "contexts",
            Unpack::Contents | Unpack::Archive => "contents",
        }
    }

    /// Writes a whole file or nothing, with a digest of its bytes before them.
    pub(crate) fn write_sealed(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        self.write_file(path, &[blake3::hash(bytes).as_bytes(), bytes].concat())
    }

    /// Writes a whole file or nothing.
    pub(crate) fn write_file(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let tmp = self.root.join("tmp");
        let mut file = tempfile::NamedTempFile::new_in(&tmp).named("make a file in", &tmp)?;
        file.write_all(bytes).named("write", file.path())?;
        file.persist(path).map_err(|e| e.error).named("rename to", path)?;
        Ok(())
    }

    /// Removes the work of builds that are gone: theirs are the folders whose lock nobody holds.
    fn remove_dead_work(&self) -> Result<(), Error> {
        for entry in fs::read_dir(self.root.join("tmp"))? {
            let path = entry?.path();
            let Ok(lock) = File::open(path.join("lock")) else {
                // A folder in the moment before its lock is made, or a file in the moment before its rename.
                let old =
                    path.symlink_metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
                if old.is_some_and(|age| age.as_secs() > 3600) {
                    remove_tree(&path);
                }
                continue;
            };
            if lock.try_lock().is_ok() {
                remove_tree(&path);
            }
        }
        Ok(())
    }
}

/// The bytes of a file that has their digest before them; none where it is damaged.
fn unseal(bytes: &[u8]) -> Option<&[u8]> {
    let (digest, bytes) = bytes.split_first_chunk::<32>()?;
    (blake3::hash(bytes).as_bytes() == digest).then_some(bytes)
}

impl WorkDir {
    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        remove_tree(&self.path);
    }
}

/// Removes a file or a directory with all it holds, also where modes forbid it; what stays is tried again by a later
/// build.
pub(crate) fn remove_tree(path: &Path) {
    if std::fs::remove_dir_all(path).is_ok() || std::fs::remove_file(path).is_ok() {
        return;
    }
    // overlayfs leaves a work directory that nobody may enter.
    make_enterable(path);
    let _ = std::fs::remove_dir_all(path);
}

fn make_enterable(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    if !path.symlink_metadata().is_ok_and(|m| m.is_dir()) {
        return;
    }
    let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700));
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        make_enterable(&entry.path());
    }
}
