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

    /// Takes over what another document has; of two results of one key the one with a layer counts, then the older. The
    /// order in which documents are merged is of no account.
    pub fn merge(&mut self, other: Self) {
        for (key, entry) in other.entries {
            match self.entries.get(&key) {
                Some(known) if known.rank() <= entry.rank() => {}
                _ => drop(self.entries.insert(key, entry)),
            }
        }
        for (name, mount) in other.mounts {
            match self.mounts.get(&name) {
                Some(known) if (known.made_ms, known.blob.digest) >= (mount.made_ms, mount.blob.digest) => {}
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
    /// Orders what is known of one key: the least counts.
    fn rank(&self) -> (bool, u64, Digest, Option<Digest>) {
        let stored = self.stored.as_ref().map(|stored| stored.digest);
        (stored.is_none(), self.record.made_s, self.record.diff_id, stored)
    }

    /// Whether the entry can be right: its blobs are layers of a size that layers have.
    fn is_possible(&self) -> bool {
        let is_layer = |blob: &Descriptor| {
            let known = [media_type::OCI_LAYER, media_type::OCI_LAYER_GZIP, media_type::OCI_LAYER_ZSTD];
            known.contains(&media_type::to_oci(&blob.media_type)) && blob.size > 0
        };
        is_layer(&self.record.descriptor) && self.stored.as_ref().is_none_or(is_layer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn digest(number: u8) -> Digest {
        Digest::of(&[number])
    }

    fn layer(number: u8) -> Value {
        json!({ "mediaType": media_type::OCI_LAYER_GZIP, "digest": digest(number), "size": 7 })
    }

    fn entry(result: u8, made_s: u64, stored: Option<u8>) -> Value {
        let mut entry = json!({
            "diff_id": digest(result), "descriptor": layer(result), "layer_content": digest(result),
            "newest_mtime": 0, "duration_ms": 1, "made_s": made_s,
        });
        if let Some(stored) = stored {
            entry["stored"] = layer(stored);
        }
        entry
    }

    fn document(entries: &[(u8, Value)], mounts: &[(u8, Value)]) -> Vec<u8> {
        let entries: BTreeMap<String, &Value> =
            entries.iter().map(|(key, entry)| (digest(*key).to_string(), entry)).collect();
        let mounts: BTreeMap<String, &Value> =
            mounts.iter().map(|(name, mount)| (digest(*name).hex(), mount)).collect();
        json!({ "version": 1, "entries": entries, "mounts": mounts }).to_string().into_bytes()
    }

    #[test]
    fn what_cannot_be_right_is_left_out() {
        let with = |field: &str, value: Value| {
            let mut entry = entry(1, 1, Some(1));
            entry[field] = value;
            entry
        };
        let good = document(&[(1, entry(1, 1, Some(1))), (2, entry(2, 1, None))], &[]);
        assert_eq!(CacheIndex::parse(&good).map(|(index, wrong)| (index.entries.len(), wrong)), Ok((2, 0)));
        for bad in [
            with("descriptor", json!({ "mediaType": "text/plain", "digest": digest(1), "size": 7 })),
            with("stored", json!({ "mediaType": media_type::OCI_LAYER, "digest": digest(1), "size": 0 })),
            with("stored", json!({ "mediaType": media_type::OCI_LAYER, "digest": "sha512:00", "size": 7 })),
            with("stored", json!({ "mediaType": media_type::OCI_LAYER, "digest": digest(1), "size": -7 })),
            with("diff_id", json!("../../etc/passwd")),
            with("made_s", json!("yesterday")),
            json!(null),
        ] {
            let document = document(&[(1, bad.clone()), (2, entry(2, 1, None))], &[]);
            let read = CacheIndex::parse(&document).map(|(index, wrong)| (index.entries.len(), wrong));
            assert_eq!(read, Ok((1, 1)), "{bad}");
        }
        for text in ["", "[]", "{}", r#"{"version":2}"#, r#"{"version":1,"entries":[]}"#] {
            assert!(CacheIndex::parse(text.as_bytes()).is_err(), "{text}");
        }
        let outside = json!({ "version": 1, "mounts": { "../x": { "id": "x", "blob": layer(1), "diff_id": digest(1), "made_ms": 1 } } });
        let read = CacheIndex::parse(outside.to_string().as_bytes());
        assert_eq!(read.map(|(index, wrong)| (index.mounts.len(), wrong)), Ok((0, 1)));
    }

    #[test]
    fn what_is_missing_is_forgotten() {
        let (mut index, _) =
            CacheIndex::parse(&document(&[(1, entry(1, 1, Some(1)))], &[])).expect("a document");
        index.forget(&[digest(1)].into());
        assert_eq!(index.entries[&digest(1)].stored, None);
        assert_eq!(index.to_document().blobs, []);
    }

    fn any_document() -> impl Strategy<Value = Vec<u8>> {
        let entries = prop::collection::vec((0_u8..3, 0_u8..3, 0_u64..2, prop::option::of(0_u8..2)), 0..4);
        let mounts = prop::collection::vec((0_u8..2, 0_u8..3, 0_u64..2), 0..3);
        (entries, mounts).prop_map(|(entries, mounts)| {
            let entries: Vec<_> = entries
                .into_iter()
                .map(|(key, result, made_s, stored)| (key, entry(result, made_s, stored)))
                .collect();
            let mounts: Vec<_> = mounts
                .into_iter()
                .map(|(name, blob, made_ms)| {
                    let diff_id = digest(blob);
                    (name, json!({ "id": "x", "blob": layer(blob), "diff_id": diff_id, "made_ms": made_ms }))
                })
                .collect();
            document(&entries, &mounts)
        })
    }

    proptest! {
        /// Whoever merges, and in whichever order, comes to the same.
        #[test]
        fn the_order_of_merging_is_of_no_account(documents in prop::collection::vec(any_document(), 0..4)) {
            let forwards = CacheIndex::joined(&documents);
            let backwards: Vec<_> = documents.iter().rev().cloned().collect();
            prop_assert_eq!(&forwards, &CacheIndex::joined(&backwards));
            let twice: Vec<_> = documents.iter().chain(&documents).cloned().collect();
            prop_assert_eq!(&forwards, &CacheIndex::joined(&twice));
        }

        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = CacheIndex::parse(&bytes);
        }
    }
}
