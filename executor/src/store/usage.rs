//! What is in the store, how large it is, and when it was last used.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use kairn_image::{Digest, Index, Manifest, media_type};

use super::{BuildRecord, ImageReport, Place, StepRecord, Store, unseal};
use crate::error::Error;
use crate::pull::Resolution;
use crate::tree::{LayerTree, NodeKind};

/// Something that is thrown away as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// Its name among its kind: a digest, the id of a mount, a name.
    pub name: String,
    /// Bytes that throwing it away frees.
    pub size_bytes: u64,
    /// When it was last used, in seconds from the Unix epoch.
    pub used_s: u64,
    /// The step that made it, for a layer.
    pub place: Option<Place>,
    /// The images that have it, by name.
    pub images: BTreeSet<String>,
    /// Files and folders.
    pub(super) paths: Vec<PathBuf>,
}

impl Item {
    /// Whether somebody used it after it was looked at.
    pub(super) fn was_used_since(&self) -> bool {
        self.paths.iter().any(|path| {
            let path = if self.kind == Kind::Mount { path.join("id") } else { path.clone() };
            path.symlink_metadata().is_ok_and(|meta| seconds(&meta) > self.used_s)
        })
    }
}

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A layer that a step made.
    Layer,
    /// A layer of a base image.
    Base,
    /// An unpacked layer.
    Unpacked,
    /// A cache mount.
    Mount,
    /// What servers gave: files, repositories, contexts.
    Source,
    /// Documents: manifests, configs, lists, records, names.
    Document,
}

impl Kind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::Base => "base",
            Self::Unpacked => "unpacked",
            Self::Mount => "mount",
            Self::Source => "source",
            Self::Document => "document",
        }
    }
}

/// All that is in a store.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// The items, in no order.
    pub items: Vec<Item>,
}

impl Usage {
    /// Bytes of all items.
    pub fn total_bytes(&self) -> u64 {
        self.items.iter().map(|item| item.size_bytes).sum()
    }
}

/// Bytes of a layer's files, unpacked.
pub(super) fn unpacked_bytes(tree: &LayerTree) -> u64 {
    let sizes = tree.nodes.values().map(|node| match node.kind {
        NodeKind::File { size_bytes, .. } => size_bytes.next_multiple_of(4096),
        NodeKind::Directory => 4096,
        _ => 0,
    });
    sizes.sum()
}

/// A file of the store.
struct Found {
    name: String,
    path: PathBuf,
    size_bytes: u64,
    used_s: u64,
}

impl Store {
    /// Looks at everything in the store.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn usage(&self) -> Result<Usage, Error> {
        let builds = self.all_builds();
        let mut usage = Usage::default();
        self.add_blobs(&builds, &mut usage)?;
        for folder in ["snapshots", "recorded", "contents", "contexts"] {
            self.add_unpacked(folder, &mut usage)?;
        }
        self.add_mounts(&mut usage)?;
        for folder in ["http", "git"] {
            for found in list(&self.root().join(folder))? {
                let size_bytes = folder_bytes(&found.path);
                usage.items.push(Item {
                    size_bytes,
                    ..item(
                        Kind::Source,
                        format!("{folder} {}", &found.name[..found.name.len().min(12)]),
                        found,
                    )
                });
            }
        }
        for folder in ["trees", "memories", "resolved"] {
            for found in list(&self.root().join(folder))? {
                usage.items.push(item(Kind::Document, format!("{folder} {}", found.name), found));
            }
        }
        Ok(usage)
    }

    /// Records by the digest of their layer, and blobs.
    fn add_blobs(&self, builds: &[BuildRecord], usage: &mut Usage) -> Result<(), Error> {
        let mut images_of: BTreeMap<Digest, BTreeSet<String>> = BTreeMap::new();
        for (build, image) in
            builds.iter().flat_map(|build| build.images.iter().map(move |image| (build, image)))
        {
            for key in &image.keys {
                images_of.entry(*key).or_default().insert(name_of(build, image));
            }
        }
        let mut layers: BTreeMap<String, Item> = BTreeMap::new();
        let mut documents: BTreeSet<String> = BTreeSet::new();
        for found in list(&self.root().join("steps"))? {
            let bytes = std::fs::read(&found.path).unwrap_or_default();
            let Some(record) = StepRecord::unseal(&bytes) else { continue };
            documents.extend(record.lists.values().map(|list| list.digest.hex()));
            let hex = record.descriptor.digest.hex();
            let layer = layers.entry(hex.clone()).or_insert_with(|| Item {
                kind: Kind::Layer,
                name: record.descriptor.digest.to_string(),
                size_bytes: 0,
                used_s: 0,
                place: Some(record.place.clone()),
                images: BTreeSet::new(),
                paths: Vec::new(),
            });
            layer.used_s = layer.used_s.max(found.used_s);
            let key: Option<Digest> = format!("sha256:{}", found.name).parse().ok();
            layer.images.extend(key.and_then(|key| images_of.get(&key)).into_iter().flatten().cloned());
        }
        let (base_layers, manifests) = self.named_images(builds);
        documents.extend(manifests);
        for found in list(&self.root().join("blobs/sha256"))? {
            if let Some(layer) = layers.get_mut(&found.name) {
                layer.size_bytes += found.size_bytes;
                layer.used_s = layer.used_s.max(found.used_s);
                layer.paths.push(found.path);
            } else {
                let kind = if documents.contains(&found.name) { Kind::Document } else { Kind::Base };
                let images = base_layers.get(&found.name).cloned().unwrap_or_default();
                let name = format!("sha256:{}", found.name);
                usage.items.push(Item { images, ..item(kind, name, found) });
            }
        }
        usage.items.extend(layers.into_values().filter(|layer| !layer.paths.is_empty()));
        Ok(())
    }

    /// Layers of the images whose names are known, and their manifests and configs; by their blobs' names.
    fn named_images(&self, builds: &[BuildRecord]) -> (BTreeMap<String, BTreeSet<String>>, BTreeSet<String>) {
        let mut layers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut documents = BTreeSet::new();
        let made = builds.iter().flat_map(|build| build.images.iter().map(move |image| (build, image)));
        let mut named: Vec<(String, Digest)> =
            made.map(|(build, image)| (name_of(build, image), image.digest)).collect();
        for found in list(&self.root().join("resolved")).unwrap_or_default() {
            let bytes = std::fs::read(&found.path).unwrap_or_default();
            let resolution: Option<Resolution> =
                unseal(&bytes).and_then(|bytes| serde_json::from_slice(bytes).ok());
            named.extend(resolution.map(|resolution| (resolution.reference, resolution.manifest)));
        }
        for tagged in self.layout().index().map(|index| index.manifests).unwrap_or_default() {
            let name = tagged.annotations.get(kairn_image::layout::REF_NAME).cloned().unwrap_or_default();
            named.push((name, tagged.digest));
        }
        while let Some((name, digest)) = named.pop() {
            let bytes = std::fs::read(self.layout().blob_path(&digest)).unwrap_or_default();
            if let Some(members) = members(&bytes) {
                documents.insert(digest.hex());
                named.extend(members.into_iter().map(|member| (name.clone(), member)));
                continue;
            }
            let Ok(manifest) = Manifest::from_bytes(&bytes) else { continue };
            documents.extend([digest.hex(), manifest.config.digest.hex()]);
            for layer in &manifest.layers {
                layers.entry(layer.digest.hex()).or_default().insert(name.clone());
            }
        }
        (layers, documents)
    }

    fn add_unpacked(&self, folder: &str, usage: &mut Usage) -> Result<(), Error> {
        for found in list(&self.root().join(folder))? {
            let stamp = self.root().join("stamps").join(format!("{folder}.{}", found.name));
            let used_s = stamp.symlink_metadata().map_or(found.used_s, |meta| seconds(&meta));
            let known = std::fs::read_to_string(&stamp).ok().and_then(|text| text.trim().parse().ok());
            let size_bytes = known.unwrap_or_else(|| folder_bytes(&found.path));
            let mut item = item(Kind::Unpacked, format!("{folder} {}", found.name), found);
            (item.used_s, item.size_bytes) = (used_s, size_bytes);
            item.paths.push(stamp);
            usage.items.push(item);
        }
        Ok(())
    }

    fn add_mounts(&self, usage: &mut Usage) -> Result<(), Error> {
        for found in list(&self.root().join("cache-mounts"))? {
            let id = std::fs::read_to_string(found.path.join("id")).unwrap_or_else(|_| found.name.clone());
            let used_s = found.path.join("id").symlink_metadata().map_or(found.used_s, |meta| seconds(&meta));
            let size_bytes = folder_bytes(&found.path);
            usage.items.push(Item { size_bytes, used_s, ..item(Kind::Mount, id, found) });
        }
        Ok(())
    }
}

/// What an image is called: by its tag, or else by the context that it was built from.
/// The manifests that an index lists; nothing for what is no index.
fn members(bytes: &[u8]) -> Option<Vec<Digest>> {
    let index = Index::from_bytes(bytes).ok()?;
    let is_index = index.media_type.as_deref().is_some_and(media_type::is_index);
    is_index.then(|| index.manifests.into_iter().map(|manifest| manifest.digest).collect())
}

fn name_of(build: &BuildRecord, image: &ImageReport) -> String {
    image.tags.first().cloned().unwrap_or_else(|| {
        let context = build.project.lines().next().unwrap_or_default();
        let folder = context.rsplit('/').next().unwrap_or_default();
        format!("{folder} (stage {}, no tag)", image.name)
    })
}

fn item(kind: Kind, name: String, found: Found) -> Item {
    Item {
        kind,
        name,
        size_bytes: found.size_bytes,
        used_s: found.used_s,
        place: None,
        images: BTreeSet::new(),
        paths: vec![found.path],
    }
}

fn seconds(meta: &std::fs::Metadata) -> u64 {
    u64::try_from(meta.mtime()).unwrap_or(0)
}

/// The names in a folder of the store; none where it is not there.
fn list(folder: &Path) -> Result<Vec<Found>, Error> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        // Another kairn may remove it meanwhile.
        let Ok(meta) = entry.metadata() else { continue };
        let Ok(name) = entry.file_name().into_string() else { continue };
        let size_bytes = meta.blocks() * 512;
        found.push(Found { name, path: entry.path(), size_bytes, used_s: seconds(&meta) });
    }
    Ok(found)
}

/// Bytes of a folder with all that is in it.
fn folder_bytes(folder: &Path) -> u64 {
    let Ok(meta) = folder.symlink_metadata() else { return 0 };
    let own = meta.blocks() * 512;
    if !meta.is_dir() {
        return own;
    }
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    own + entries.map(|entry| folder_bytes(&entry.path())).sum::<u64>()
}
