//! Step records: what a step gave, under its key.

use std::collections::BTreeMap;
use std::time::SystemTime;

use kairn_image::{Descriptor, Digest};
use serde::{Deserialize, Serialize};

use super::{Store, unseal};
use crate::error::Error;
use crate::state::NewLayer;

/// What a step gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The parts that the key was made of, by name and in order.
    #[serde(default)]
    pub parts: Vec<(String, String)>,
    /// Digest of the layer's uncompressed tar.
    pub diff_id: Digest,
    /// The layer's blob.
    pub descriptor: Descriptor,
    /// What the layer holds, without times.
    pub layer_content: Digest,
    /// The newest time in the layer, seconds from the Unix epoch.
    pub newest_mtime: i64,
    /// How long the work took, in milliseconds.
    pub duration_ms: u64,
    /// When it was done, in seconds from the Unix epoch.
    #[serde(default)]
    pub made_s: u64,
    /// The line that asked for it; never part of a key.
    #[serde(default)]
    pub place: Place,
    /// Lists of the files that went into it, by the part of the key that stands for them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lists: BTreeMap<String, Descriptor>,
    /// The shared cache that has the layer, for one that was not made here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// When the layer was thrown away, in seconds from the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evicted_s: Option<u64>,
}

/// Where an instruction stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The stage's name, or its number.
    pub stage: String,
    /// Position among the stage's steps, from 1.
    pub position: usize,
    /// The instruction on one line, variables as written.
    pub text: String,
}

impl StepRecord {
    /// Reads a record as the store keeps it.
    pub(super) fn unseal(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(unseal(bytes)?).ok()
    }

    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(|e| Error::world("cannot encode a step record", e))
    }

    /// The layer.
    pub fn layer(&self) -> NewLayer {
        NewLayer {
            diff_id: self.diff_id,
            descriptor: self.descriptor.clone(),
            content: self.layer_content,
            newest_mtime: self.newest_mtime,
        }
    }
}

/// Now, in seconds from the Unix epoch.
pub fn now_s() -> u64 {
    now_ms() / 1000
}

/// Now, in milliseconds from the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    time.map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

impl Store {
    /// The record of a key, and whether its layer is here. A record that cannot be read is none.
    ///
    /// Both count as used now, and no pruning takes them while this build runs.
    pub fn record(&self, key: &Digest) -> Option<(StepRecord, bool)> {
        let path = self.root().join("steps").join(key.hex());
        // Most keys that are asked for are not there, and need no lock to say so.
        std::fs::symlink_metadata(&path).ok()?;
        let _claim = self.claim().ok()?;
        let record = StepRecord::unseal(&std::fs::read(&path).ok()?)?;
        let blob = self.layout().blob_path(&record.descriptor.digest);
        let is_here = blob.is_file();
        for used in [Some(&path), is_here.then_some(&blob)].into_iter().flatten() {
            self.touch(used);
        }
        Some((record, is_here))
    }

    /// Keeps what a step gave.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn put_record(&self, key: &Digest, record: &StepRecord) -> Result<(), Error> {
        self.write_sealed(&self.root().join("steps").join(key.hex()), &record.to_bytes()?)
    }
}
