//! Cache mounts in shared caches, so that a machine that lives for one build finds its package caches again.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kairn_image::Digest;
use kairn_image::layer::Compression;

use super::export::Exporter;
use super::import::Remotes;
use super::index::MountEntry;
use crate::error::{Error, Named as _};
use crate::events::{EventKind, Events};
use crate::materialize::Digesting;
use crate::snapshot::read::{Reading, Scan, Verdict, open_file, open_root, scan};
use crate::snapshot::unpack::{Unpack, unpack};
use crate::snapshot::write::write_layer_as;
use crate::store::{Store, now_ms};
use crate::tree::{LayerTree, file_name, hash_node};

/// How long a mount that another build uses is waited for at the end of a build.
const PATIENCE: Duration = Duration::from_secs(10);

/// How archives of mounts are compressed: they are written more often than read, and are large.
const COMPRESSION: Compression = Compression::Zstd { level: 3 };

/// The cache mounts that a build used: ids and folders by name.
#[derive(Debug, Default)]
pub struct UsedMounts(Mutex<BTreeMap<String, (String, PathBuf)>>);

impl UsedMounts {
    /// Notes that a RUN uses a mount; `folder` has its `lock` and its `files`.
    pub fn note(&self, name: &str, id: &str, folder: &Path) {
        let mut used = self.0.lock().expect("no holder of this lock panics");
        used.entry(name.to_owned()).or_insert_with(|| (id.to_owned(), folder.to_owned()));
    }

    /// Writes what they hold to the shared caches that want it. What cannot be written is said, and no error.
    pub fn export(&self, exporter: &Exporter, store: &Store, events: &Events) {
        if !exporter.wants_mounts() {
            return;
        }
        for (name, (id, folder)) in &*self.0.lock().expect("no holder of this lock panics") {
            match keep(id, folder, store) {
                Ok(Some(mount)) => exporter.mount(name, &mount),
                Ok(None) => {
                    let text = format!("the cache mount `{id}` is in use by another build, and is not kept");
                    events.build(EventKind::Warning(text));
                }
                Err(error) => {
                    let text = format!("the cache mount `{id}` is not kept: {error}");
                    events.build(EventKind::Warning(text));
                }
            }
        }
    }
}

/// What is known of the last archive of a mount.
#[derive(serde::Serialize, serde::Deserialize)]
struct Kept {
    /// Digest of names, sizes and times then.
    fingerprint: String,
    mount: MountEntry,
}

/// Makes an archive of a mount, unless the last one is as good; none where somebody else has the mount.
fn keep(id: &str, folder: &Path, store: &Store) -> Result<Option<MountEntry>, Error> {
    let path = folder.join("lock");
    let lock = File::options().create(true).append(true).open(&path).named("open", &path)?;
    let end = Instant::now() + PATIENCE;
    while lock.try_lock().is_err() {
        if Instant::now() > end {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let files = folder.join("files");
    let Scan { mut tree, .. } = scan(&files, Reading::Root, &|_: &str, _| Verdict::Keep)?;
    if let Some(name) = tree.nodes.keys().find(|path| file_name(path).starts_with(b".wh.")) {
        let name = name.escape_ascii();
        return Err(Error::user(format!(
            "it has a file `{name}`, and such names mean something in archives"
        )));
    }
    let fingerprint = fingerprint(&tree);
    let record = folder.join("kept");
    let known: Option<Kept> = std::fs::read(&record).ok().and_then(|text| serde_json::from_slice(&text).ok());
    if let Some(known) = known.filter(|known| known.fingerprint == fingerprint)
        && store.layout().has_blob(&known.mount.blob.digest)
    {
        return Ok(Some(known.mount));
    }
    let root = open_root(&files)?;
    let layer = write_layer_as(&mut tree, store, COMPRESSION, &mut |path, _| {
        open_file(root.as_fd(), path).map(|file| Box::new(file) as Box<dyn std::io::Read>)
    })?;
    let mount =
        MountEntry { id: id.to_owned(), blob: layer.descriptor, diff_id: layer.diff_id, made_ms: now_ms() };
    remember(folder, fingerprint, mount.clone(), store)?;
    Ok(Some(mount))
}

fn remember(folder: &Path, fingerprint: String, mount: MountEntry, store: &Store) -> Result<(), Error> {
    let text = serde_json::to_vec(&Kept { fingerprint, mount })
        .map_err(|e| Error::world("cannot encode a cache mount's record", e))?;
    store.write_file(&folder.join("kept"), &text)
}

/// Digests what shows without reading files: names, attributes, sizes and times.
fn fingerprint(tree: &LayerTree) -> String {
    let mut hasher = blake3::Hasher::new();
    for (path, node) in &tree.nodes {
        let mut node = node.clone();
        if let crate::tree::NodeKind::File { content, .. } = &mut node.kind {
            *content = [0; 32];
        }
        hash_node(&mut hasher, path, &node);
        hasher.update(&node.mtime.0.to_le_bytes());
        hasher.update(&node.mtime.1.to_le_bytes());
    }
    hasher.finalize().to_string()
}

/// Fills a new mount with what a shared cache has of it; says whether one had something.
///
/// # Errors
/// Fails where the disk does. A cache that fails leaves the mount empty.
pub fn restore(
    name: &str,
    into: &Path,
    remotes: &Remotes,
    store: &Arc<Store>,
    events: &Events,
) -> Result<bool, Error> {
    let Some((mount, source)) = remotes.mount(name) else { return Ok(false) };
    let problem = match remotes.fetch(&source, &mount.blob, store) {
        Err(problem) => problem,
        Ok(()) => match unpack_mount(&mount, into, store) {
            Ok(()) => {
                let mebibytes = mount.blob.size / (1024 * 1024);
                let text = format!("cache mount `{}` from `{}` ({mebibytes} MiB)", mount.id, source.name());
                events.build(EventKind::Transfer(text));
                return Ok(true);
            }
            Err(error) => error.to_string(),
        },
    };
    events.build(EventKind::Warning(format!("the cache mount `{}` starts empty: {problem}", mount.id)));
    crate::store::remove_tree(into);
    fs_err::create_dir(into)?;
    Ok(false)
}

fn unpack_mount(mount: &MountEntry, into: &Path, store: &Store) -> Result<(), Error> {
    let unreadable = |e: std::io::Error| Error::world("cannot read the archive", e);
    let blob = store.layout().open_blob(&mount.blob.digest).map_err(unreadable)?;
    let plain = kairn_image::compression::decompress(blob).map_err(unreadable)?;
    let mut plain = Digesting::new(plain);
    unpack(&mut plain, into, Unpack::Snapshot)?;
    let found: Digest = plain.finish().map_err(unreadable)?;
    if found != mount.diff_id {
        return Err(Error::world(
            format!("its archive holds {found}, and should hold {}", mount.diff_id),
            std::io::Error::from(std::io::ErrorKind::InvalidData),
        ));
    }
    Ok(())
}
