//! The store under `$KAIRN_ROOT`: blobs, unpacked snapshots, layer trees and step records.
//!
//! ```text
//! oci-layout, index.json, blobs/   an OCI image layout: the images built here, by tag
//! steps/<key>                      what a step gave (JSON)
//! trees/<chain id>                 the names in a layer
//! snapshots/<chain id>/            the layer unpacked, as overlayfs wants it
//! recorded/<chain id>/             the same, with owners in attributes (see `crate::owner`)
//! contexts/<chain id>/             build contexts from archives and URLs, unpacked
//! contents/<chain id>/             the layer's regular files alone, for builds without RUN
//! memories/<name>                  what was read of a context, with the files' attributes then
//! locks/<name>                     locks between builds; the kernel frees them when their holder dies
//! tmp/<random>/                    work in progress, removed by the next build when its holder is dead
//! ```
//! Everything is written under `tmp` and renamed into place, so a killed build leaves nothing half done, and any
//! number of builds may share a store.

mod memory;
mod records;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err as fs;
use kairn_image::Digest;
use kairn_image::layout::Layout;

pub use memory::ContextMemory;
pub use records::StepRecord;

use crate::error::{Error, Named as _};
use crate::owner;
use crate::snapshot::unpack::Unpack;
use crate::tree::LayerTree;

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
        for folder in
            ["steps", "trees", "snapshots", "recorded", "contexts", "contents", "memories", "locks", "tmp"]
        {
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
        let path = self.root.join("locks").join(name);
        let file = File::options().create(true).append(true).open(&path).named("open", &path)?;
        file.lock().named("lock", &path)?;
        Ok(StoreLock { _file: file })
    }

    /// The unpacked layer of a chain id, if there is one.
    pub fn snapshot(&self, unpack: Unpack, chain_id: &Digest) -> Option<PathBuf> {
        let path = self.snapshot_path(unpack, chain_id);
        path.is_dir().then_some(path)
    }

    /// Makes an unpacked layer the snapshot of a chain id; one that another build made first stays.
    ///
    /// # Errors
    /// Fails where the rename does.
    pub fn put_snapshot(&self, unpack: Unpack, chain_id: &Digest, unpacked: &Path) -> Result<PathBuf, Error> {
        let path = self.snapshot_path(unpack, chain_id);
        match fs::rename(unpacked, &path) {
            Ok(()) => Ok(path),
            Err(_) if path.is_dir() => Ok(path),
            Err(error) => Err(error.into()),
        }
    }

    /// The names in the layer of a chain id, if they are known.
    pub fn tree(&self, chain_id: &Digest) -> Option<LayerTree> {
        let bytes = fs::read(self.root.join("trees").join(chain_id.hex())).ok()?;
        postcard::from_bytes(&bytes).ok()
    }

    /// Keeps the names in the layer of a chain id.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn put_tree(&self, chain_id: &Digest, tree: &LayerTree) -> Result<(), Error> {
        let bytes =
            postcard::to_allocvec(tree).map_err(|e| Error::world("cannot encode a layer's tree", e))?;
        self.write_file(&self.root.join("trees").join(chain_id.hex()), &bytes)
    }

    fn snapshot_path(&self, unpack: Unpack, chain_id: &Digest) -> PathBuf {
        let folder = match unpack {
            Unpack::Snapshot => self.snapshots,
            Unpack::Context => "contexts",
            Unpack::Contents | Unpack::Archive => "contents",
        };
        self.root.join(folder).join(chain_id.hex())
    }

    /// Writes a whole file or nothing.
    fn write_file(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
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
