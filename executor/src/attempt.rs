//! The steps of a build, run as often as the build has to be begun.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use kairn_compiler::{Graph, StepId};
use kairn_image::Digest;

use crate::artifact::Artifacts;
use crate::build::{KeepGoing, Settings};
use crate::cache::Exporter;
use crate::cache::mounts::UsedMounts;
use crate::error::Error;
use crate::events::{EventKind, Events};
use crate::explain::Explainer;
use crate::materialize::Materializer;
use crate::roots::Roots;
use crate::run::ledger::Ledger;
use crate::run::{Outcome, Purpose, Runner};
use crate::sandbox::Cancel;
use crate::schedule::permits::Room;
use crate::schedule::{self, Hands, Lost, OnFailure, Ran, Rules, Worked};
use crate::snapshot::unpack::Unpack;

/// What comes after the steps.
pub(crate) type Finish<'f, T> = &'f dyn Fn(&End<'_>) -> Result<T, Error>;

/// What there is when all steps have ended.
pub(crate) struct End<'e> {
    pub(crate) graph: &'e Graph,
    pub(crate) settings: &'e Settings,
    pub(crate) events: &'e Events,
    /// What the steps gave that were reached.
    pub(crate) outcomes: &'e BTreeMap<StepId, Outcome>,
    pub(crate) layers: &'e Materializer,
    pub(crate) ledger: &'e Ledger,
    pub(crate) artifacts: &'e Artifacts,
    /// The failures of steps so far.
    pub(crate) failures: &'e [(StepId, Error)],
}

/// One build, as often as it has to be begun.
pub(crate) struct Attempt<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) settings: &'a Settings,
    pub(crate) start: Instant,
    events: Events,
    purpose: Purpose,
    pub(crate) ledger: Ledger,
    pub(crate) used_mounts: UsedMounts,
    pub(crate) artifacts: Artifacts,
    /// Keys whose results must not be taken, and why.
    excluded: BTreeMap<Digest, String>,
    /// The failures of steps, in the order in which they came.
    pub(crate) failures: Vec<(StepId, Error)>,
    /// Steps that were not reached, with the failed step that they needed.
    pub(crate) skipped: BTreeMap<StepId, StepId>,
    /// When steps worked.
    pub(crate) times: BTreeMap<StepId, Worked>,
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(graph: &'a Graph, settings: &'a Settings, events: Events, purpose: Purpose) -> Self {
        Self {
            graph,
            settings,
            start: Instant::now(),
            events,
            purpose,
            ledger: Ledger::default(),
            used_mounts: UsedMounts::default(),
            artifacts: Artifacts::default(),
            excluded: BTreeMap::new(),
            failures: Vec::new(),
            skipped: BTreeMap::new(),
            times: BTreeMap::new(),
        }
    }

    /// Takes the first failure of a step, if one failed.
    pub(crate) fn first_failure(&mut self) -> Result<(), Error> {
        if self.failures.is_empty() { Ok(()) } else { Err(self.failures.swap_remove(0).1) }
    }

    /// Runs all steps and what comes after them, again for each layer that a cache promised and nobody has.
    pub(crate) fn repeat<T>(
        &mut self,
        unpack: Unpack,
        exporter: Option<&Exporter>,
        finish: Finish<'_, T>,
    ) -> Result<T, Error> {
        let project = self.settings.project.as_deref().unwrap_or_default();
        let remotes = Arc::clone(self.settings.puller.remotes());
        let explainer = Explainer::new(self.graph, &self.settings.store, &remotes, project);
        loop {
            let layers = Materializer::new(self.settings, unpack);
            let (outcomes, lost) = self.run(&layers, &explainer, exporter);
            let result = match lost {
                Some(Lost { blobs, reason }) => Err(Error::Lost { blobs, reason }),
                None => finish(&End {
                    graph: self.graph,
                    settings: self.settings,
                    events: &self.events,
                    outcomes: &outcomes,
                    layers: &layers,
                    ledger: &self.ledger,
                    artifacts: &self.artifacts,
                    failures: &self.failures,
                }),
            };
            let (blobs, reason) = match result {
                Err(Error::Lost { blobs, reason }) => (blobs, reason),
                other => return other,
            };
            let keys = self.ledger.lent(&blobs);
            let before = self.excluded.len();
            self.excluded.extend(keys.into_iter().map(|key| (key, reason.clone())));
            if self.excluded.len() == before {
                return Err(Error::Lost { blobs, reason });
            }
            let text = format!("a cached layer cannot be had ({reason}): its step is done again");
            self.events.build(EventKind::Warning(text));
        }
    }

    /// Runs all steps once; what failed before is not tried again.
    fn run(
        &mut self,
        layers: &Materializer,
        explainer: &Explainer<'_>,
        exporter: Option<&Exporter>,
    ) -> (BTreeMap<StepId, Outcome>, Option<Lost>) {
        let cancel = Cancel::default();
        let images = self.graph.images.iter();
        let of_images: BTreeSet<StepId> = images.flat_map(|image| self.graph.layers_of(image.step)).collect();
        let failed: BTreeSet<StepId> = self.failures.iter().map(|(step, _)| *step).collect();
        let runner = Runner {
            graph: self.graph,
            settings: self.settings,
            events: &self.events,
            cancel: &cancel,
            layers,
            roots: Roots::new(self.graph),
            outcomes: Mutex::default(),
            purpose: self.purpose,
            failed: &failed,
            excluded: &self.excluded,
            of_images: &of_images,
            explainer,
            ledger: &self.ledger,
            exporter,
            used_mounts: &self.used_mounts,
            artifacts: &self.artifacts,
        };
        let on_failure = match self.settings.keep_going {
            KeepGoing::Stop => OnFailure::Stop,
            KeepGoing::Go | KeepGoing::GoAndPublish => OnFailure::GoOn,
        };
        let room = Room { slots: self.settings.jobs.max(1), memory_bytes: self.settings.memory_bytes };
        let rules = Rules { room, on_failure, estimates: explainer.estimates() };
        let need = |step| {
            let demand = self.graph.demands.get(&step).copied().unwrap_or_default();
            let (slots, memory_bytes) = (demand.cpu.unwrap_or(1), demand.memory_bytes.unwrap_or_default());
            Room { slots: usize::from(slots), memory_bytes }
        };
        let hands = Hands {
            look: &|step| runner.step(step),
            // What other steps do is of use also where one has to be done again.
            stop: &|error| {
                if !matches!(error, Some(Error::Lost { .. })) {
                    cancel.cancel();
                }
            },
            skip: &|step, because| {
                if self.ledger.skip(step) && on_failure == OnFailure::GoOn {
                    self.events.step(step, EventKind::Skipped { because });
                }
            },
        };
        let ran = schedule::run(self.graph, &rules, &need, &hands);
        let outcomes = runner.outcomes.into_inner().expect("no holder of this lock panics");
        (outcomes, self.absorb(ran, on_failure))
    }

    /// Takes what became of the steps, and gives the layers for which all has to begin again.
    fn absorb(&mut self, ran: Ran, on_failure: OnFailure) -> Option<Lost> {
        self.failures.extend(ran.failures);
        self.skipped = ran.skipped;
        for (step, worked) in ran.times {
            // A step that has worked is only looked at when all begins again.
            let known = self.times.entry(step).or_insert(worked);
            if worked.until - worked.from > known.until - known.from {
                *known = worked;
            }
        }
        if on_failure == OnFailure::Stop {
            self.failures.truncate(1);
            // A failure of the build comes before a lost layer.
            return ran.lost.filter(|_| self.failures.is_empty());
        }
        ran.lost
    }
}
