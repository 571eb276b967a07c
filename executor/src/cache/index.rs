//! The document of a shared cache: entries by key. A JSON object, since other programs may want to read it.

use std::collections::{BTreeMap, BTreeSet};

use kairn_image::backend::Document;
use kairn_image::{Descriptor, Digest, media_type};
use serde::{Deserialize, Serialize};

use crate::store::StepRecord;

/// Version of the document: another one is not read.
const VERSION: u32 = 1;

/// Most entries of a document; beyond them the oldest are left out.
const MAX_ENTRIES: usize = 20_000;

/// The list of what a shared cache has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheIndex {
    version: u32,
    /// Steps by key.
    #[serde(default)]
    pub entries: BTreeMap<Digest, Entry>,
    /// Cache mounts by the name of their directory.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<String, MountEntry>,
}

/// What a step gave, and where its layer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What it gave.
    #[serde(flatten)]
    pub record: StepRecord,
    /// The layer's blob as the place has it, which may be compressed otherwise than the image wants it; none where only
    /// the result is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<Descriptor>,
}

/// The content of a cache mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountEntry {
    /// The mount's id, for people.
    pub id: String,
    /// An archive of it.
    pub blob: Descriptor,
    /// Digest of the archive, uncompressed.
    pub diff_id: Digest,
    /// When it was kept, in milliseconds from the Unix epoch.
    pub made_ms: u64,
}

impl Default for CacheIndex {
    fn default() -> Self {
        Self { version: VERSION, entries: BTreeMap::new(), mounts: BTreeMap::new() }
    }
}

impl CacheIndex {
    /// Reads a document. Entries that cannot be right are left out, and counted.
    ///
    /// # Errors
    /// Says why the document as a whole cannot be read.
    pub fn parse(bytes: &[u8]) -> Result<(Self, usize), String> {
        #[derive(Deserialize)]
        struct Raw {
            version: u32,
            #[serde(default)]
            entries: BTreeMap<String, serde_json::Value>,
            #[serde(default)]
            mounts: BTreeMap<String, serde_json::Value>,
        }
        let raw: Raw = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if raw.version != VERSION {
            return Err(format!("it is of version {}, and this kairn reads version {VERSION}", raw.version));
        }
        let mut index = Self::default();
        let all = raw.entries.len() + raw.mounts.len();
        for (key, value) in raw.entries {
            let entry = serde_json::from_value(value).ok().filter(Entry::is_possible);
            if let (Ok(key), Some(entry)) = (key.parse(), entry) {
                index.entries.insert(key, entry);
            }
        }
        for (name, value) in raw.mounts {
            let is_name = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
            if let Some(entry) = serde_json::from_value(value).ok().filter(|_| is_name) {
                index.mounts.insert(name, entry);
            }
        }
        let wrong = all - index.entries.len() - index.mounts.len();
        Ok((index, wrong))
    }

    /// Joins documents, without what cannot be read of them.
    pub fn joined(documents: &[Vec<u8>]) -> Self {
        super::import::join(documents).0
    }

    /// Takes over what another document has; of two results of one key the one with a layer counts, then the older.
    pub fn merge(&mut self, other: Self) {
        for (key, entry) in other.entries {
            let rank = |entry: &Entry| (entry.stored.is_none(), entry.record.made_s, entry.record.diff_id);
            match self.entries.get(&key) {
                Some(known) if rank(known) <= rank(&entry) => {}
                _ => drop(self.entries.insert(key, entry)),
            }
        }
        for (name, mount) in other.mounts {
            match self.mounts.get(&name) {
                Some(known) if known.made_ms >= mount.made_ms => {}
                _ => drop(self.mounts.insert(name, mount)),
            }
        }
        self.bound();
    }

    /// Forgets where blobs are that are missing: of their steps, only the results are known.
    pub fn forget(&mut self, missing: &BTreeSet<Digest>) {
        for entry in self.entries.values_mut() {
            entry.stored = entry.stored.take().filter(|stored| !missing.contains(&stored.digest));
            entry.record.lists.retain(|_, list| !missing.contains(&list.digest));
        }
        self.mounts.retain(|_, mount| !missing.contains(&mount.blob.digest));
    }

    fn bound(&mut self) {
        if self.entries.len() > MAX_ENTRIES {
            let mut times: Vec<u64> = self.entries.values().map(|entry| entry.record.made_s).collect();
            times.sort_unstable();
            let oldest_kept = times[times.len() - MAX_ENTRIES];
            self.entries.retain(|_, entry| entry.record.made_s >= oldest_kept);
        }
    }

    /// The document, with the blobs that must be kept for it.
    pub fn to_document(&self) -> Document {
        let layers = self.entries.values().filter_map(|entry| entry.stored.clone());
        let lists = self.entries.values().flat_map(|entry| entry.record.lists.values().cloned());
        let mounts = self.mounts.values().map(|mount| mount.blob.clone());
        let blobs: BTreeMap<Digest, Descriptor> =
            layers.chain(lists).chain(mounts).map(|blob| (blob.digest, blob)).collect();
        let bytes = serde_json::to_vec(self).expect("text keys and plain values always serialise");
        Document { bytes, blobs: blobs.into_values().collect() }
    }
}

impl Entry {
    /// Whether the entry can be right: its blobs are layers of a size that layers have.
    fn is_possible(&self) -> bool {
        let is_layer = |blob: &Descriptor| {
            let known = [media_type::OCI_LAYER, media_type::OCI_LAYER_GZIP, media_type::OCI_LAYER_ZSTD];
            known.contains(&media_type::to_oci(&blob.media_type)) && blob.size > 0
        };
        is_layer(&self.record.descriptor) && self.stored.as_ref().is_none_or(is_layer)
    }
}
