//! Layers on demand: names where names are needed, files where files are needed.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use kairn_image::Digest;
use kairn_image::compression::decompress;
use kairn_image::layer::read_layer;

use crate::build::Settings;
use crate::copy::View;
use crate::error::Error;
use crate::parallel::each;
use crate::pull::Puller;
use crate::pull::lost_in;
use crate::snapshot::read::{open_file, open_root};
use crate::snapshot::unpack::{self, Unpack};
use crate::state::{Origin, State, StateLayer};
use crate::store::Store;
use crate::tree::{LastComponent, LayerTree, NodeKind, StackedTree};

/// The most bytes of a file that [`Materializer::read_file`] takes.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Gives the names and the files of states.
#[derive(Debug)]
pub struct Materializer {
    store: Arc<Store>,
    puller: Arc<Puller>,
    /// How layers are unpacked: with everything, or where no RUN needs that, without owners, which anybody can.
    unpack: Unpack,
    trees: Mutex<BTreeMap<Digest, Arc<LayerTree>>>,
}

impl Materializer {
    /// Makes one that keeps what it unpacks in the build's store.
    pub fn new(settings: &Settings, unpack: Unpack) -> Self {
        let (store, puller) = (Arc::clone(&settings.store), Arc::clone(&settings.puller));
        Self { store, puller, unpack, trees: Mutex::default() }
    }

    /// Remembers the names of a layer that was just made.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn put_tree(&self, chain_id: &Digest, tree: LayerTree) -> Result<(), Error> {
        self.store.put_tree(chain_id, &tree)?;
        self.trees.lock().expect("no holder of this lock panics").insert(*chain_id, Arc::new(tree));
        Ok(())
    }

    /// The names of a state. Layers that nobody has looked into yet are fetched and read, not unpacked.
    ///
    /// # Errors
    /// Fails where a layer cannot be fetched or read.
    pub fn tree(&self, state: &State) -> Result<StackedTree, Error> {
        let missing: Vec<usize> = (0..state.layers.len())
            .filter(|index| self.known_tree(&state.layers[*index]).is_none())
            .collect();
        if !missing.is_empty() {
            self.puller.demand(missing.iter().map(|index| &state.layers[*index]))?;
            let _lock = self.lock(state)?;
            let fresh = self.read_layers(state, &missing)?;
            self.join(state, fresh)?;
        }
        let layers = state
            .layers
            .iter()
            .map(|layer| self.known_tree(layer).ok_or_else(|| lost(layer)))
            .collect::<Result<_, _>>()?;
        Ok(StackedTree { layers })
    }

    /// Whether the names of a state are known without fetching or reading any layer.
    pub fn has_tree(&self, state: &State) -> bool {
        state.layers.iter().all(|layer| self.known_tree(layer).is_some())
    }

    /// The unpacked layers of a state, base first.
    ///
    /// # Errors
    /// Fails where a layer cannot be fetched, read or unpacked.
    pub fn snapshots(&self, state: &State) -> Result<Vec<PathBuf>, Error> {
        self.snapshots_from(state, 0)
    }

    /// The unpacked layers of a state but the lowest `first`.
    ///
    /// # Errors
    /// As [`Self::snapshots`].
    pub fn snapshots_from(&self, state: &State, first: usize) -> Result<Vec<PathBuf>, Error> {
        let missing = |layer: &StateLayer| self.store.snapshot(self.unpack, &layer.chain_id).is_none();
        self.puller.demand(state.layers[first..].iter().filter(|layer| missing(layer)))?;
        if state.layers[first..].iter().any(missing) {
            let _lock = self.lock(state)?;
            let wanted: Vec<usize> =
                (first..state.layers.len()).filter(|at| missing(&state.layers[*at])).collect();
            let work = self.store.work_dir()?;
            let fresh = each(&wanted, &|&index| {
                let into = work.path().join(index.to_string());
                fs_err::create_dir(&into)?;
                Ok((index, self.read_layer(&state.layers[index], Some(&into))?))
            })?;
            // The layers below that are only known by their snapshots must be known by their names as well.
            let below: Vec<usize> = (0..state.layers.len())
                .filter(|at| !wanted.contains(at) && self.known_tree(&state.layers[*at]).is_none())
                .collect();
            let mut all = self.read_layers(state, &below)?;
            all.extend(fresh);
            self.join(state, all)?;
        }
        state.layers[first..]
            .iter()
            .map(|layer| self.store.snapshot(self.unpack, &layer.chain_id).ok_or_else(|| lost(layer)))
            .collect()
    }

    /// One unpacked layer of a state; the others are fetched only where it cannot be unpacked without their names.
    ///
    /// # Errors
    /// As [`Self::snapshots`].
    pub fn snapshot_of(&self, state: &State, index: usize) -> Result<PathBuf, Error> {
        let layers = state.layers[..=index].to_vec();
        let only = self.snapshots_from(&State { content: state.content, layers }, index)?.pop();
        Ok(only.expect("as many snapshots as layers are asked for"))
    }

    /// The names of a state with the folders of its layers' contents.
    ///
    /// # Errors
    /// As [`Self::snapshots`].
    pub fn view(&self, state: &State) -> Result<View, Error> {
        let snapshots = self.snapshots(state)?;
        let roots = snapshots.iter().map(|path| open_root(path).map(Arc::new)).collect::<Result<_, _>>()?;
        Ok(View { tree: self.tree(state)?, roots })
    }

    /// The text of a file of a state; empty where there is none.
    ///
    /// # Errors
    /// As [`Self::snapshots`].
    pub fn read_file(&self, state: &State, path: &str) -> Result<String, Error> {
        use std::os::fd::AsFd as _;
        let tree = self.tree(state)?;
        let resolved = tree.resolve(path.as_bytes(), LastComponent::Follow)?;
        let Some(found) = tree.lookup(&resolved) else { return Ok(String::new()) };
        if !matches!(found.node.kind, NodeKind::File { .. } | NodeKind::Hardlink { .. }) {
            return Ok(String::new());
        }
        let layer = &state.layers[found.layer];
        let mut bytes = Vec::new();
        if let Some(snapshot) = self.store.snapshot(self.unpack, &layer.chain_id) {
            let root = open_root(&snapshot)?;
            let file = open_file(root.as_fd(), &resolved)?;
            file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
        } else {
            // One small file is no reason to unpack a layer.
            self.puller.ensure_blob(layer)?;
            let digest = &layer.descriptor.digest;
            let blob = self
                .store
                .layout()
                .open_blob(digest)
                .map_err(|e| Error::world(format!("cannot open the layer {digest}"), e))?;
            read_layer::<Error>(blob, &mut |entry, content| {
                if entry.path == resolved {
                    bytes.clear();
                    content.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
                }
                Ok(())
            })?;
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn lock(&self, state: &State) -> Result<crate::store::StoreLock, Error> {
        let name = state.layers.first().map_or_else(String::new, |layer| layer.chain_id.hex());
        self.store.lock(&format!("layers-{name}"))
    }

    fn known_tree(&self, layer: &StateLayer) -> Option<Arc<LayerTree>> {
        let mut trees = self.trees.lock().expect("no holder of this lock panics");
        if let Some(tree) = trees.get(&layer.chain_id) {
            return Some(Arc::clone(tree));
        }
        let tree = Arc::new(self.store.tree(&layer.chain_id)?);
        trees.insert(layer.chain_id, Arc::clone(&tree));
        Some(tree)
    }

    /// Reads the names of some layers, each by itself.
    fn read_layers(&self, state: &State, indexes: &[usize]) -> Result<BTreeMap<usize, Raw>, Error> {
        let read = |&index: &usize| Ok((index, self.read_layer(&state.layers[index], None)?));
        Ok(each(indexes, &read)?.into_iter().collect())
    }

    /// Reads one layer by itself, checking that its uncompressed bytes are what the config says.
    fn read_layer(&self, layer: &StateLayer, into: Option<&Path>) -> Result<Raw, Error> {
        self.puller.ensure_blob(layer)?;
        let digest = &layer.descriptor.digest;
        let unreadable = |e| Error::world(format!("cannot read the layer {digest}"), e);
        let blob = self
            .store
            .layout()
            .open_blob(digest)
            .map_err(|e| Error::world(format!("cannot open the layer {digest}"), e))?;
        let mut plain = Digesting::new(decompress(blob).map_err(unreadable)?);
        let tree = match into {
            Some(into) => unpack::unpack(&mut plain, into, self.unpack)?,
            None => unpack::index(&mut plain)?,
        };
        let found = plain.finish().map_err(unreadable)?;
        if found != layer.diff_id && matches!(layer.origin, Some(Origin::Cache { .. })) {
            return Err(lost_in(layer, &format!("it holds {found}, and should hold {}", layer.diff_id)));
        }
        if found != layer.diff_id {
            return Err(Error::world(
                format!("the layer {digest} holds {found}, but its image says {}", layer.diff_id),
                std::io::Error::from(std::io::ErrorKind::InvalidData),
            )
            .with_help("the image is damaged at the registry: push it again"));
        }
        Ok(Raw { tree, disk: into.map(Path::to_owned) })
    }

    /// Joins layers that were read by themselves with what is below them, base first, and keeps them.
    fn join(&self, state: &State, mut fresh: BTreeMap<usize, Raw>) -> Result<(), Error> {
        let mut below = StackedTree::default();
        for (index, layer) in state.layers.iter().enumerate() {
            if let Some(mut raw) = fresh.remove(&index) {
                unpack::join_below(
                    &mut raw.tree,
                    raw.disk.as_deref().map(|disk| (disk, self.unpack)),
                    &below,
                )?;
                let disk = raw.disk;
                self.put_tree(&layer.chain_id, raw.tree)?;
                if let Some(disk) = &disk {
                    self.store.put_snapshot(self.unpack, &layer.chain_id, disk)?;
                }
            }
            below.layers.push(self.known_tree(layer).ok_or_else(|| lost(layer))?);
        }
        Ok(())
    }
}

/// A layer read by itself.
struct Raw {
    tree: LayerTree,
    disk: Option<PathBuf>,
}

fn lost(layer: &StateLayer) -> Error {
    lost_in(layer, "it vanished from the store")
}

/// Digests what is read through it.
pub(crate) struct Digesting<R> {
    inner: R,
    hasher: sha2::Sha256,
}

impl<R: Read> Digesting<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, hasher: sha2::Sha256::default() }
    }

    /// Reads to the end, and gives the digest of everything.
    pub(crate) fn finish(mut self) -> std::io::Result<Digest> {
        std::io::copy(&mut self, &mut std::io::sink())?;
        Ok(Digest::from_sha256(self.hasher))
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        use sha2::Digest as _;
        let n = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        Ok(n)
    }
}
