//! A whole build: the steps, then the images, and what is remembered of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use kairn_compiler::{Graph, Op, StepId};
use kairn_image::Digest;
use rustix::process::DumpableBehavior;

use crate::assemble::{self, AssembledImage};
use crate::cache::mounts::UsedMounts;
use crate::cache::{Exporter, Target, inline};
use crate::context::Context;
use crate::error::Error;
use crate::events::{EventKind, Events};
use crate::explain::Explainer;
use crate::grants::Grants;
use crate::materialize::Materializer;
use crate::pull::Puller;
use crate::roots::Roots;
use crate::run::ledger::Ledger;
use crate::run::{Outcome, Purpose, Runner};
use crate::sandbox::userns::Refused;
use crate::sandbox::{Cancel, Rung};
use crate::schedule;
use crate::snapshot::unpack::Unpack;
use crate::store::{BuildRecord, ImageReport, Store};

/// Everything that a build needs beside its graph, resolved once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The store.
    pub store: Arc<Store>,
    /// Finds bases.
    pub puller: Arc<Puller>,
    /// Local contexts by name.
    pub contexts: BTreeMap<String, Arc<Context>>,
    /// How many steps may run at a time, at least 1.
    pub jobs: usize,
    /// Which recorded results are left aside.
    pub fresh: Fresh,
    /// What is built, for people and for the next build of it; nothing is remembered without.
    pub project: Option<Project>,
    /// Shared caches that are written.
    pub cache_to: Vec<Target>,
    /// Whether the images say how they were made, for later builds (`type=inline`).
    pub inline_cache: bool,
    /// This program, to be started again as a RUN's helper.
    pub program: PathBuf,
    /// How RUNs are isolated.
    pub rung: Rung,
    /// Why there is no better way to isolate them; nothing where there is none.
    pub refused: Option<Refused>,
    /// Whether a RUN's calls that wait for the disk do so.
    pub sync: bool,
    /// `SOURCE_DATE_EPOCH`: seconds from the Unix epoch.
    pub epoch: Option<i64>,
    /// Text of the machine's /etc/resolv.conf.
    pub resolv_conf: String,
    /// Text of /etc/hosts in a RUN.
    pub hosts: String,
    /// What RUNs may have beside the build's own files.
    pub grants: Grants,
}

/// What is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// The same text for the same Dockerfile, context and target on this machine.
    pub name: String,
    /// The images' tags.
    pub tags: Vec<String>,
}

/// Which recorded results are left aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fresh {
    /// None.
    #[default]
    Nothing,
    /// Those of all steps.
    All,
    /// Those of RUN, COPY and ADD in some stages, by name in lower case or by number.
    Stages(BTreeSet<String>),
}

impl Fresh {
    /// The option that has a step work, if one does.
    pub fn option(&self, graph: &Graph, step: StepId) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::All => Some("--no-cache"),
            Self::Stages(stages) => {
                let is_work = matches!(graph.op(step), Op::Run(_) | Op::Copy(_) | Op::Link);
                let mut origins = graph.origins.get(&step).into_iter().flatten();
                let is_meant = origins.any(|origin| stages.contains(&origin.stage.to_lowercase()));
                (is_work && is_meant).then_some("--no-cache-filter")
            }
        }
    }
}

/// What a build made.
#[derive(Debug)]
pub struct Built {
    /// The images, in the order of the graph's.
    pub images: Vec<AssembledImage>,
}

/// Runs a graph without RUNs for one step's files, and returns the folder of its topmost layer.
///
/// # Errors
/// As [`build`].
pub fn fetch(graph: &Graph, step: StepId, settings: &Settings) -> Result<PathBuf, Error> {
    let (sender, _receiver) = std::sync::mpsc::channel();
    let mut attempt = Attempt::new(graph, settings, Events::new(sender), Purpose::Work);
    let outcomes = attempt.repeat(Unpack::Context, None, &|outcomes, layers, _| {
        let Outcome::State(state) = &outcomes[&step] else {
            unreachable!("a copy gives a state");
        };
        layers.snapshots(state)
    })?;
    Ok(outcomes.last().cloned().unwrap_or_else(|| settings.store.root().join("tmp")))
}

/// Finds out which steps of a graph would have to work, and why. Nothing is built.
///
/// # Errors
/// Fails where a source cannot be read.
pub fn look(graph: &Graph, settings: &Settings, events: &Events) -> Result<BuildRecord, Error> {
    let mut attempt = Attempt::new(graph, settings, events.clone(), Purpose::Look);
    attempt.repeat(Unpack::Contents, None, &|_, _, _| Ok(()))?;
    remember_contexts(settings)?;
    let name = settings.project.as_ref().map(|project| project.name.clone()).unwrap_or_default();
    let mut record = BuildRecord::new(name);
    record.steps = attempt.ledger.reports(graph);
    Ok(record)
}

/// Runs a graph, puts its images' configs and manifests into the store, and has each delivered.
///
/// A result that was taken from a cache, and whose layer turns out not to be had, is made again.
///
/// # Errors
/// Fails as the first step that fails does, or the delivery; all steps have ended by then.
pub fn build(
    graph: &Graph,
    settings: &Settings,
    events: &Events,
    deliver: &dyn Fn(&AssembledImage) -> Result<(), Error>,
) -> Result<Built, Error> {
    if settings.rung == Rung::Chroot {
        // No namespace hides this process from RUNs, and it knows the secrets of the build.
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .map_err(|e| Error::world("cannot hide the build's memory", e))?;
    }
    let start = Instant::now();
    let project = settings.project.as_ref();
    let mut record = BuildRecord::new(project.map(|project| project.name.clone()).unwrap_or_default());
    let unpack = if settings.rung == Rung::None { Unpack::Contents } else { Unpack::Snapshot };
    let exporter = Exporter::start(settings.cache_to.clone(), &settings.puller, &settings.store, events);
    let mut attempt = Attempt::new(graph, settings, events.clone(), Purpose::Work);
    let result = attempt.repeat(unpack, Some(&exporter), &|outcomes, _, ledger| {
        let states = |step| match &outcomes[&step] {
            Outcome::State(state) => Arc::clone(state),
            Outcome::Context(_) | Outcome::Open => unreachable!("an image is made of a state"),
        };
        let images: Vec<AssembledImage> = graph
            .images
            .iter()
            .map(|target| {
                let of_image = graph.layers_of(target.step);
                let cache =
                    settings.inline_cache.then(|| inline::document(ledger, &of_image, &settings.store));
                assemble::assemble(target, &states, settings, cache)
            })
            .collect::<Result<_, _>>()?;
        images.iter().try_for_each(deliver)?;
        Ok(images)
    });
    attempt.used_mounts.export(&exporter, &settings.store, events);
    let exported = exporter.finish();
    remember_contexts(settings)?;
    record.steps = attempt.ledger.reports(graph);
    record.duration_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    match &result {
        Ok(images) => {
            let tags = project.map(|project| project.tags.clone()).unwrap_or_default();
            record.images = images
                .iter()
                .zip(&graph.images)
                .map(|(image, target)| ImageReport {
                    name: image.name.clone(),
                    tags: tags.clone(),
                    digest: image.descriptor.digest,
                    keys: attempt.ledger.keys(graph.layers_of(target.step)),
                })
                .collect();
        }
        Err(error) => record.failure = Some(error.to_string()),
    }
    if project.is_some() {
        settings.store.put_build(&record)?;
    }
    let images = result?;
    exported?;
    Ok(Built { images })
}

/// Keeps what was read of contexts, for later builds.
fn remember_contexts(settings: &Settings) -> Result<(), Error> {
    settings.contexts.values().try_for_each(|context| context.remember())
}

/// What comes after the steps: given what they gave.
type Finish<'f, T> = &'f dyn Fn(&BTreeMap<StepId, Outcome>, &Materializer, &Ledger) -> Result<T, Error>;

/// One build, as often as it has to be begun.
struct Attempt<'a> {
    graph: &'a Graph,
    settings: &'a Settings,
    events: Events,
    purpose: Purpose,
    ledger: Ledger,
    used_mounts: UsedMounts,
    /// Keys whose results must not be taken, and why.
    excluded: BTreeMap<Digest, String>,
}

impl<'a> Attempt<'a> {
    fn new(graph: &'a Graph, settings: &'a Settings, events: Events, purpose: Purpose) -> Self {
        Self {
            graph,
            settings,
            events,
            purpose,
            ledger: Ledger::default(),
            used_mounts: UsedMounts::default(),
            excluded: BTreeMap::new(),
        }
    }

    /// Runs all steps and what comes after them, again for each layer that a cache promised and nobody has.
    fn repeat<T>(
        &mut self,
        unpack: Unpack,
        exporter: Option<&Exporter>,
        finish: Finish<'_, T>,
    ) -> Result<T, Error> {
        let project = self.settings.project.as_ref().map_or("", |project| project.name.as_str());
        let remotes = Arc::clone(self.settings.puller.remotes());
        let explainer = Explainer::new(self.graph, &self.settings.store, &remotes, project);
        let of_images: BTreeSet<StepId> =
            self.graph.images.iter().flat_map(|image| self.graph.layers_of(image.step)).collect();
        loop {
            let cancel = Cancel::default();
            let layers = Materializer::new(self.settings, unpack);
            let runner = Runner {
                graph: self.graph,
                settings: self.settings,
                events: &self.events,
                cancel: &cancel,
                layers: &layers,
                roots: Roots::new(self.graph),
                outcomes: Mutex::default(),
                purpose: self.purpose,
                excluded: &self.excluded,
                of_images: &of_images,
                explainer: &explainer,
                ledger: &self.ledger,
                exporter,
                used_mounts: &self.used_mounts,
            };
            // What other steps do is of use also where one has to be done again.
            let stop = |error: Option<&Error>| {
                if !matches!(error, Some(Error::Lost { .. })) {
                    cancel.cancel();
                }
            };
            let run = schedule::run(self.graph, self.settings.jobs, &|step| runner.step(step), &stop);
            let outcomes = runner.outcomes.into_inner().expect("no holder of this lock panics");
            let (blobs, reason) = match run.and_then(|()| finish(&outcomes, &layers, &self.ledger)) {
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
}
