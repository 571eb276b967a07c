//! What a build came to: its images, what was delivered, what failed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kairn_compiler::graph::ImageTarget;
use kairn_compiler::{Graph, StepId};
use kairn_image::reference::Reference;
use kairn_image::{Descriptor, Platform};

use crate::artifact::WrittenArtifact;
use crate::assemble::{self, AssembledImage};
use crate::attempt::{Attempt, End};
use crate::build::KeepGoing;
use crate::cache::inline;
use crate::error::{Error, chain};
use crate::events::EventKind;
use crate::publish::{Delivery, Parcel, Unity, publish};
use crate::run::Outcome;
use crate::run::ledger::Ledger;
use crate::schedule::path::{PathStep, critical_path};
use crate::store::ImageReport;

/// What a build came to.
#[derive(Debug)]
pub struct Built {
    /// The images, in the order of the graph's.
    pub images: Vec<ImageOutcome>,
    /// The deliveries, in the order in which they were asked for.
    pub deliveries: Vec<Delivered>,
    /// What failed, the first failure first; empty where all is well.
    pub failures: Vec<Error>,
    /// What was copied out of stages.
    pub artifacts: Vec<WrittenArtifact>,
    /// The steps that the time went by with, first to last.
    pub critical_path: Vec<PathStep>,
    /// How long it took.
    pub duration: Duration,
}

/// What became of an image.
#[derive(Debug)]
pub enum ImageOutcome {
    /// It was made.
    Assembled(Box<AssembledImage>),
    /// A step that makes one of its layers failed, or its config could not be made.
    Failed {
        /// The step; the image's last where none failed.
        step: StepId,
    },
    /// Its steps were not all begun.
    NotReached {
        /// The step that failed before; none where no step did.
        because: Option<StepId>,
    },
}

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Its name.
    pub name: String,
    /// What became of it.
    pub fate: Fate,
    /// Its manifest or index, where its images were made.
    pub descriptor: Option<Descriptor>,
    /// The names that it was to have.
    pub tags: Vec<Reference>,
    /// The platforms of its images.
    pub platforms: Vec<Platform>,
    /// Bytes of its configs and compressed layers, each counted once.
    pub size_bytes: u64,
    /// Whether any step that it needs had to work.
    pub work: Work,
    /// How long after the beginning the last step was done that it needs.
    pub ready_after: Duration,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is where it was wanted.
    Published,
    /// It is whole, and was held back because something else failed.
    HeldBack,
    /// Something of its own failed: an image, a gate, the way to its place.
    Failed,
    /// Nothing of its own failed, but all was stopped before it was made.
    NotReached,
}

/// Whether something was made or known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// All of it was known.
    Cached,
    /// Some of it was made.
    Built,
}

impl Built {
    /// The images that were made, as builds remember them.
    pub(crate) fn reports(
        &self,
        graph: &Graph,
        deliveries: &[Delivery],
        ledger: &Ledger,
    ) -> Vec<ImageReport> {
        let all = self.images.iter().zip(&graph.images).enumerate();
        all.filter_map(|(at, (outcome, target))| {
            let ImageOutcome::Assembled(image) = outcome else { return None };
            let of_image = deliveries.iter().zip(&self.deliveries).filter(|(delivery, delivered)| {
                delivery.images.contains(&at) && delivered.fate == Fate::Published
            });
            Some(ImageReport {
                name: image.name.clone(),
                tags: of_image.flat_map(|(delivery, _)| &delivery.tags).map(ToString::to_string).collect(),
                digest: image.descriptor.digest,
                keys: ledger.keys(graph.layers_of(target.step)),
            })
        })
        .collect()
    }
}

/// What comes after the steps.
#[derive(Default)]
pub(crate) struct Made {
    /// The graph's images; none for one that was not made.
    images: Vec<Option<AssembledImage>>,
    /// For each delivery what became of it; its manifest or index with its size, where there is one.
    deliveries: Vec<(Fate, Option<(Descriptor, u64)>)>,
    failures: Vec<Error>,
}

/// Makes the images of all states that were reached, copies artifacts, and delivers what may be delivered.
///
/// # Errors
/// [`Error::Lost`] where a layer cannot be had.
pub(crate) fn make(deliveries: &[Delivery], end: &End<'_>) -> Result<Made, Error> {
    let is_stopped = end.settings.keep_going == KeepGoing::Stop && !end.failures.is_empty();
    let mut failures = Vec::new();
    let wrong = match end.artifacts.collect(end.graph, end.outcomes, end.layers, end.events) {
        Err(lost) if is_stopped => vec![lost],
        other => other?,
    };
    for error in wrong {
        if end.failures.is_empty() {
            failures.push(error);
        } else {
            end.events.build(EventKind::Warning(chain(&error)));
        }
    }
    let mut images: Vec<Option<AssembledImage>> = Vec::new();
    for target in &end.graph.images {
        let made = if is_stopped { None } else { assemble_image(target, end) };
        images.push(match made {
            Some(Err(lost @ Error::Lost { .. })) => return Err(lost),
            Some(Err(error)) => {
                failures.push(error.at(target.step));
                None
            }
            Some(Ok(image)) => Some(image),
            None => None,
        });
    }
    let mut made = Made { images, deliveries: Vec::new(), failures };
    made.deliver(deliveries, end)?;
    Ok(made)
}

/// Makes the config and the manifest of an image whose state was reached.
fn assemble_image(target: &ImageTarget, end: &End<'_>) -> Option<Result<AssembledImage, Error>> {
    if !end.outcomes.contains_key(&target.step) {
        return None;
    }
    let states = |step| match &end.outcomes[&step] {
        Outcome::State(state) => Arc::clone(state),
        Outcome::Context(_) | Outcome::Open => unreachable!("an image is made of a state"),
    };
    let cache = end.settings.inline_cache.then(|| {
        let needed = needed(end.graph, [target.step]);
        inline::document(end.ledger, &needed, &end.graph.layers_of(target.step), &end.settings.store)
    });
    Some(assemble::assemble(target, &states, end.settings, cache))
}

impl Made {
    /// A build that ended before anything was made.
    pub(crate) fn nothing(failure: Error) -> Self {
        Self { failures: vec![failure], ..Self::default() }
    }

    /// Puts the images of each delivery together, where all were made.
    fn pack<'d>(&mut self, deliveries: &'d [Delivery], end: &End<'_>) -> Vec<Option<Parcel<'d>>> {
        let mut parcels = Vec::new();
        for delivery in deliveries {
            let images: Option<Vec<&AssembledImage>> =
                delivery.images.iter().map(|&at| self.images[at].as_ref()).collect();
            let parcel = images.map(|images| Parcel::new(delivery, &images, end.settings)).transpose();
            parcels.push(parcel.unwrap_or_else(|error| {
                self.failures.push(error);
                None
            }));
        }
        parcels
    }

    /// Delivers what may be delivered: all or nothing, or each that is whole.
    fn deliver(&mut self, deliveries: &[Delivery], end: &End<'_>) -> Result<(), Error> {
        let later = self.failures.iter().filter_map(Error::step);
        let failed: BTreeSet<StepId> = end.failures.iter().map(|(step, _)| *step).chain(later).collect();
        let parcels = self.pack(deliveries, end);
        let fate = |at: usize| {
            let steps = steps_of(end.graph, &deliveries[at]);
            let are_reached = steps.iter().all(|step| end.outcomes.contains_key(step));
            let has_images = deliveries[at].images.iter().all(|&image| self.images[image].is_some());
            let own = needed(end.graph, steps);
            let has_failed = !own.is_disjoint(&failed);
            match (has_failed, has_images && are_reached, &parcels[at]) {
                (false, true, Some(_)) => Fate::HeldBack,
                (false, false, _) => Fate::NotReached,
                _ => Fate::Failed,
            }
        };
        let fates: Vec<Fate> = (0..deliveries.len()).map(fate).collect();
        let whole: Vec<usize> = (0..fates.len()).filter(|&at| fates[at] == Fate::HeldBack).collect();
        let what = |parcel: &Parcel<'_>| (parcel.descriptor.clone(), parcel.size_bytes());
        let what = parcels.iter().map(|parcel| parcel.as_ref().map(what));
        self.deliveries = fates.into_iter().zip(what).collect();
        let is_all = whole.len() == deliveries.len() && end.failures.is_empty() && self.failures.is_empty();
        let unity = match end.settings.keep_going {
            KeepGoing::GoAndPublish => Unity::Each,
            KeepGoing::Stop | KeepGoing::Go => Unity::All,
        };
        if !is_all && unity == Unity::All {
            return Ok(());
        }
        let ready: Vec<Parcel<'_>> = whole.iter().filter_map(|&at| parcels[at].clone()).collect();
        match publish(&ready, unity, end.settings, end.events) {
            Ok(mut refused) => {
                for (place, &at) in whole.iter().enumerate() {
                    let refusal = refused.remove(&place);
                    self.deliveries[at].0 = if refusal.is_some() { Fate::Failed } else { Fate::Published };
                    self.failures.extend(refusal);
                }
            }
            Err(lost @ Error::Lost { .. }) => return Err(lost),
            Err(error) => self.failures.push(error),
        }
        Ok(())
    }
}

/// The states that a delivery is made of, and those of its gates.
fn steps_of(graph: &Graph, delivery: &Delivery) -> Vec<StepId> {
    let images = delivery.images.iter().map(|&at| &graph.images[at]);
    images.flat_map(|image| std::iter::once(image.step).chain(image.gates.iter().copied())).collect()
}

/// Some steps and all that they need.
fn needed(graph: &Graph, steps: impl IntoIterator<Item = StepId>) -> BTreeSet<StepId> {
    let mut pending: Vec<StepId> = steps.into_iter().collect();
    let mut needed = BTreeSet::new();
    while let Some(step) = pending.pop() {
        if needed.insert(step) {
            pending.extend(graph.inputs(step).into_iter().map(|(_, input)| input));
        }
    }
    needed
}

impl Attempt<'_> {
    /// Puts together what a build came to.
    pub(crate) fn built(&mut self, deliveries: &[Delivery], made: Made) -> Built {
        let mut images: Vec<Option<AssembledImage>> = made.images;
        images.resize_with(self.graph.images.len(), || None);
        let images = images.into_iter().zip(&self.graph.images).map(|(image, target)| match image {
            Some(image) => ImageOutcome::Assembled(Box::new(image)),
            None => self.not_made(target, &made.failures),
        });
        let images = images.collect();
        let mut fates = made.deliveries;
        fates.resize(deliveries.len(), (Fate::Failed, None));
        let fates = deliveries.iter().zip(fates);
        let delivered = fates.map(|(delivery, (fate, what))| self.delivered(delivery, fate, what)).collect();
        let critical_path = critical_path(self.graph, &self.times, self.start);
        let failures = std::mem::take(&mut self.failures).into_iter().map(|(_, error)| error);
        Built {
            images,
            deliveries: delivered,
            failures: failures.chain(made.failures).collect(),
            artifacts: self.artifacts.written(),
            critical_path,
            duration: self.start.elapsed(),
        }
    }

    fn not_made(&self, target: &ImageTarget, failures: &[Error]) -> ImageOutcome {
        let own = self.graph.layers_of(target.step);
        let mut failed = self.failures.iter().map(|(step, _)| *step);
        let later = failures.iter().filter_map(Error::step).find(|step| *step == target.step);
        if let Some(step) = failed.find(|step| own.contains(step)).or(later) {
            return ImageOutcome::Failed { step };
        }
        let first = self.failures.first().map(|(step, _)| *step);
        ImageOutcome::NotReached { because: self.skipped.get(&target.step).copied().or(first) }
    }

    fn delivered(&self, delivery: &Delivery, fate: Fate, what: Option<(Descriptor, u64)>) -> Delivered {
        let needed = needed(self.graph, steps_of(self.graph, delivery));
        let last = needed.iter().filter_map(|step| self.times.get(step)).map(|worked| worked.until).max();
        let has_worked = self.ledger.worked(&needed);
        let (descriptor, size_bytes) = what.unzip();
        Delivered {
            name: delivery.name.clone(),
            fate,
            descriptor,
            tags: delivery.tags.clone(),
            platforms: delivery.images.iter().map(|&at| self.graph.images[at].platform.clone()).collect(),
            size_bytes: size_bytes.unwrap_or_default(),
            work: if has_worked { Work::Built } else { Work::Cached },
            ready_after: last.map_or(Duration::ZERO, |last| last.saturating_duration_since(self.start)),
        }
    }
}
