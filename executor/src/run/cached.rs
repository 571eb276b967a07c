//! Whether a step has to work: by the store, by shared caches, by what the user wants.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use kairn_compiler::StepId;
use kairn_compiler::key::KeyParts;
use kairn_image::Digest;

use super::ledger::Line;
use super::{Outcome, Purpose, Runner};
use crate::error::Error;
use crate::events::{Completion, EventKind};
use crate::explain::Cause;
use crate::explain::lists::FileList;
use crate::explain::previous::{forced, keep_lists, place};
use crate::snapshot::unpack::Unpack;
use crate::state::{NewLayer, Origin, State, StateLayer};
use crate::store::{StepRecord, Verdict, WorkDir, now_s};
use crate::tree::LayerTree;

/// What a step's work made.
pub(super) struct Made {
    pub(super) layer: NewLayer,
    pub(super) tree: LayerTree,
    /// The layer already unpacked, in the work folder that must outlive its move into the store.
    pub(super) snapshot: Option<(PathBuf, WorkDir)>,
}

/// The files that go into a step, by the part of its key that stands for them; asked only where it has to work.
pub(super) type Files<'f> = &'f dyn Fn() -> Result<BTreeMap<String, FileList>, Error>;

/// What is known of a key.
enum Known {
    /// What the step gave; where its layer is, if not here; and who knew.
    Result(Box<(StepRecord, Option<Origin>, Option<String>)>),
    /// Nothing, for a reason that is known already.
    Nothing(Option<Vec<Cause>>),
}

/// What is known of a step.
pub(super) enum Look {
    /// What it gives.
    Known(Outcome),
    /// Nothing.
    Missing(Missing),
}

/// A step whose result is not known.
pub(super) struct Missing {
    step: StepId,
    parent: Arc<State>,
    parts: KeyParts,
    whole: Option<Digest>,
    reason: Option<Vec<Cause>>,
}

impl Runner<'_> {
    /// Gives the recorded result of a key, or does the work and records it.
    ///
    /// `whole` is another key of the step, under which nothing was found: it is known by that in the end.
    pub(super) fn cached(
        &self,
        step: StepId,
        parent: &Arc<State>,
        parts: KeyParts,
        whole: Option<Digest>,
        files: Files<'_>,
        work: impl FnOnce() -> Result<Made, Error>,
    ) -> Result<Outcome, Error> {
        match self.look(step, parent, parts, whole)? {
            Look::Known(outcome) => Ok(outcome),
            Look::Missing(missing) => self.make(missing, files, work),
        }
    }

    /// Gives the recorded result of a key, if there is one.
    pub(super) fn look(
        &self,
        step: StepId,
        parent: &Arc<State>,
        parts: KeyParts,
        whole: Option<Digest>,
    ) -> Result<Look, Error> {
        let key = parts.key().0;
        match self.known(step, &key) {
            Known::Result(known) => self.hit(step, parent, key, whole, *known).map(Look::Known),
            Known::Nothing(reason) => {
                Ok(Look::Missing(Missing { step, parent: Arc::clone(parent), parts, whole, reason }))
            }
        }
    }

    /// Does the work of a step whose result is not known, and records it.
    pub(super) fn make(
        &self,
        Missing { step, parent, parts, whole, reason }: Missing,
        files: Files<'_>,
        work: impl FnOnce() -> Result<Made, Error>,
    ) -> Result<Outcome, Error> {
        let key = parts.key().0;
        let name = whole.unwrap_or(key);
        let lock = match self.purpose {
            Purpose::Work => Some(self.store().lock(&format!("step-{}", key.hex()))?),
            Purpose::Look => None,
        };
        // Another build may have done it meanwhile.
        if lock.is_some()
            && reason.is_none()
            && let Known::Result(known) = self.known(step, &key)
        {
            return self.hit(step, &parent, key, whole, *known);
        }
        let files = files()?;
        let causes = reason.unwrap_or_else(|| self.explainer.causes(step, &name, &parts, &files));
        let line = Line { key: Some(name), causes, ..Line::new(Verdict::Failed) };
        if self.purpose == Purpose::Look {
            self.ledger.note(step, Line { verdict: Verdict::Miss, ..line });
            return Ok(Outcome::Open);
        }
        let started = Instant::now();
        self.events.step(step, EventKind::Started);
        if let Some(cause) = line.causes.first().filter(|cause| **cause != Cause::NeverBuilt) {
            self.events.step(step, EventKind::Cause(cause.to_string()));
        }
        self.ledger.note(step, line.clone());
        let (state, layer) = self.keep(&parent, work()?)?;
        let record = StepRecord {
            parts: parts.parts,
            diff_id: layer.diff_id,
            descriptor: layer.descriptor,
            layer_content: layer.content,
            newest_mtime: layer.newest_mtime,
            duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            made_s: now_s(),
            place: place(self.graph, step),
            lists: keep_lists(&files, self.store())?,
            from: None,
            evicted_s: None,
        };
        self.store().put_record(&key, &record)?;
        self.alias(step, whole, &record, None)?;
        drop(lock);
        self.ledger.note(
            step,
            Line {
                verdict: Verdict::Miss,
                content: Some(state.content),
                duration_ms: record.duration_ms,
                size_bytes: record.descriptor.size,
                ..line
            },
        );
        self.export(step, key, &record, None);
        self.events.step(step, EventKind::Finished(Completion::Done));
        Ok(Outcome::state(state))
    }

    /// Puts what a step's work made into the store.
    fn keep(&self, parent: &State, made: Made) -> Result<(State, NewLayer), Error> {
        let state = parent.with_layer(made.layer.clone());
        let chain_id = *state.chain_id().expect("a state with a layer has a chain id");
        self.layers.put_tree(&chain_id, made.tree)?;
        if let Some((unpacked, _work)) = made.snapshot {
            self.store().put_snapshot(Unpack::Snapshot, &chain_id, &unpacked)?;
        }
        Ok((state, made.layer))
    }

    /// What is known of a key.
    fn known(&self, step: StepId, key: &Digest) -> Known {
        if let Some(option) = self.settings.fresh.option(self.graph, step) {
            return Known::Nothing(Some(forced(option)));
        }
        if let Some(reason) = self.excluded.get(key) {
            return Known::Nothing(Some(vec![Cause::Lost { reason: reason.clone() }]));
        }
        let here = self.store().record(key);
        if let Some((record, true)) = here {
            return Known::Result(Box::new((record, None, None)));
        }
        let is_needed = self.of_images.contains(&step);
        if let Some(found) = self.settings.puller.remotes().find(key) {
            let name = found.source.name();
            let origin = match &found.entry.stored {
                Some(stored) => Origin::Cache {
                    name: name.clone(),
                    stored: Box::new(stored.clone()),
                    repository: found.source.repository(),
                },
                None => Origin::Nowhere,
            };
            if origin != Origin::Nowhere || !is_needed {
                let record = StepRecord { from: Some(name.clone()), ..found.entry.record };
                if here.is_none() && self.purpose == Purpose::Work {
                    // That it is not kept costs a look into the cache next time.
                    let _ = self.store().put_record(key, &record);
                }
                return Known::Result(Box::new((record, Some(origin), Some(name))));
            }
        }
        match here {
            Some((record, _)) if !is_needed => Known::Result(Box::new((record, Some(Origin::Nowhere), None))),
            Some((record, _)) => Known::Nothing(Some(vec![Cause::Evicted {
                when_s: record.evicted_s,
                size_bytes: record.descriptor.size,
            }])),
            None => Known::Nothing(None),
        }
    }

    /// Takes a result that is known by one key, and lets it be found by another as well.
    fn hit(
        &self,
        step: StepId,
        parent: &State,
        key: Digest,
        whole: Option<Digest>,
        (record, origin, from): (StepRecord, Option<Origin>, Option<String>),
    ) -> Result<Outcome, Error> {
        if origin.is_some() {
            for key in [Some(key), whole].into_iter().flatten() {
                self.ledger.lend(record.descriptor.digest, key);
            }
        }
        let is_news = !self.ledger.has(step);
        let state = parent.with_layer_from(record.layer(), origin);
        self.ledger.note(
            step,
            Line {
                key: Some(whole.unwrap_or(key)),
                content: Some(state.content),
                duration_ms: record.duration_ms,
                size_bytes: record.descriptor.size,
                ..Line::new(Verdict::Hit { from: from.clone() })
            },
        );
        self.export(step, key, &record, state.layers.last());
        if self.purpose == Purpose::Work {
            self.alias(step, whole, &record, state.layers.last())?;
        }
        if is_news {
            self.events.step(step, EventKind::Finished(Completion::Cached { from }));
        }
        Ok(Outcome::state(state))
    }

    /// Gives a result to the shared caches that are written.
    fn export(&self, step: StepId, key: Digest, record: &StepRecord, layer: Option<&StateLayer>) {
        if let Some(exporter) = self.exporter {
            exporter.step(key, record, layer, self.of_images.contains(&step));
        }
    }

    /// The result of a key, if it is known; nothing is done for it.
    pub(super) fn look_up(
        &self,
        step: StepId,
        parent: &State,
        key: Digest,
    ) -> Result<Option<Outcome>, Error> {
        match self.known(step, &key) {
            Known::Result(known) => self.hit(step, parent, key, None, *known).map(Some),
            Known::Nothing(_) => Ok(None),
        }
    }

    /// Lets a result be found by another key as well.
    fn alias(
        &self,
        step: StepId,
        whole: Option<Digest>,
        record: &StepRecord,
        layer: Option<&StateLayer>,
    ) -> Result<(), Error> {
        let Some(whole) = whole else { return Ok(()) };
        self.store().put_record(&whole, record)?;
        self.export(step, whole, record, layer);
        Ok(())
    }
}
