//! Step records: what a step gave, under its key.

use kairn_compiler::key::KeyParts;
use kairn_image::{Descriptor, Digest};
use serde::{Deserialize, Serialize};

use super::Store;
use crate::error::Error;
use crate::state::NewLayer;

/// What a step gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The parts that the key was made of, by name and in order.
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
}

impl StepRecord {
    /// Records a layer that took `duration_ms` to make.
    pub fn new(parts: KeyParts, layer: NewLayer, duration_ms: u64) -> Self {
        Self {
            parts: parts.parts,
            diff_id: layer.diff_id,
            descriptor: layer.descriptor,
            layer_content: layer.content,
            newest_mtime: layer.newest_mtime,
            duration_ms,
        }
    }

    /// The layer.
    pub fn into_layer(self) -> NewLayer {
        NewLayer {
            diff_id: self.diff_id,
            descriptor: self.descriptor,
            content: self.layer_content,
            newest_mtime: self.newest_mtime,
        }
    }
}

impl Store {
    /// The record of a key whose layer is still there. A record that cannot be read is none.
    pub fn record(&self, key: &Digest) -> Option<StepRecord> {
        let bytes = std::fs::read(self.root().join("steps").join(key.hex())).ok()?;
        let record: StepRecord = serde_json::from_slice(&bytes).ok()?;
        self.layout().has_blob(&record.descriptor.digest).then_some(record)
    }

    /// Keeps what a step gave.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn put_record(&self, key: &Digest, record: &StepRecord) -> Result<(), Error> {
        let bytes = serde_json::to_vec(record).map_err(|e| Error::world("cannot encode a step record", e))?;
        self.write_file(&self.root().join("steps").join(key.hex()), &bytes)
    }
}
