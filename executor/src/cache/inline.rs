//! A cache inside the image: its config says which steps gave its layers (`--cache-to type=inline`).

use std::collections::{BTreeMap, BTreeSet};

use kairn_compiler::StepId;
use kairn_image::backend::inline::encode;

use super::index::{CacheIndex, Entry};
use crate::run::ledger::Ledger;
use crate::store::{Place, StepRecord, Store};

/// The cache of an image as its config has it: of the steps that it needs. Layers are those of the image; of other steps
/// only the result is known.
pub fn document(ledger: &Ledger, needed: &BTreeSet<StepId>, of_image: &[StepId], store: &Store) -> String {
    let mut index = CacheIndex::default();
    for (step, key) in ledger.all_keys().into_iter().filter(|(step, _)| needed.contains(step)) {
        let Some((record, _)) = store.record(&key) else { continue };
        let stored = of_image.contains(&step).then(|| record.descriptor.clone());
        // The same image must come from the same inputs: times, names and evidence stay out.
        let record = StepRecord {
            parts: Vec::new(),
            lists: BTreeMap::new(),
            place: Place::default(),
            from: None,
            evicted_s: None,
            made_s: 0,
            duration_ms: 0,
            ..record
        };
        index.entries.insert(key, Entry { record, stored });
    }
    encode(&index.to_document().bytes)
}
