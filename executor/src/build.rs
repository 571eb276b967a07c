//! A whole build: the steps, then the images, and what is remembered of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use kairn_compiler::{Graph, Op, StepId};
use rustix::process::DumpableBehavior;

use crate::attempt::Attempt;
use crate::built::{Built, Made, make};
use crate::cache::{Exporter, Target};
use crate::context::Context;
use crate::error::Error;
use crate::events::Events;
use crate::grants::Grants;
use crate::publish::Delivery;
use crate::pull::Puller;
use crate::run::{Outcome, Purpose};
use crate::sandbox::Rung;
use crate::sandbox::userns::Refused;
use crate::snapshot::unpack::Unpack;
use crate::store::{BuildRecord, Store};

/// Everything that a build needs beside its graph, resolved once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The store.
    pub store: Arc<Store>,
    /// Finds bases.
    pub puller: Arc<Puller>,
    /// Local contexts by name.
    pub contexts: BTreeMap<String, Arc<Context>>,
    /// How many RUNs may work at a time, and how many steps may be looked at besides: at least 1.
    pub jobs: usize,
    /// Which recorded results are left aside.
    pub fresh: Fresh,
    /// Bytes of memory that RUNs may come to together, by what is said of them; the largest number for no bound.
    pub memory_bytes: u64,
    /// What a failure means to the rest of the build.
    pub keep_going: KeepGoing,
    /// What is built, by which the next build finds this one: the same text for the same Dockerfile, context and target on
    /// this machine. Nothing is remembered without.
    pub project: Option<String>,
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

/// What a failure means to the rest of a build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeepGoing {
    /// All stops, and nothing is delivered.
    #[default]
    Stop,
    /// All that does not need what failed is built, and nothing is delivered.
    Go,
    /// The same, and what is whole is delivered.
    GoAndPublish,
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

/// Runs a graph without RUNs for one step's files, and returns the folder of its topmost layer.
///
/// # Errors
/// As [`build`].
pub fn fetch(graph: &Graph, step: StepId, settings: &Settings) -> Result<PathBuf, Error> {
    let (sender, _receiver) = std::sync::mpsc::channel();
    let mut attempt = Attempt::new(graph, settings, Events::new(sender), Purpose::Work);
    let outcomes = attempt.repeat(Unpack::Context, None, &|end| {
        let Some(Outcome::State(state)) = end.outcomes.get(&step) else { return Ok(Vec::new()) };
        end.layers.snapshots(state)
    })?;
    attempt.first_failure()?;
    Ok(outcomes.last().cloned().unwrap_or_else(|| settings.store.root().join("tmp")))
}

/// Finds out which steps of a graph would have to work, and why. Nothing is built.
///
/// # Errors
/// Fails where a source cannot be read.
pub fn look(graph: &Graph, settings: &Settings, events: &Events) -> Result<BuildRecord, Error> {
    let mut attempt = Attempt::new(graph, settings, events.clone(), Purpose::Look);
    attempt.repeat(Unpack::Contents, None, &|_| Ok(()))?;
    attempt.first_failure()?;
    remember_contexts(settings)?;
    let mut record = BuildRecord::new(settings.project.clone().unwrap_or_default());
    record.steps = attempt.ledger.reports(graph);
    Ok(record)
}

/// Runs a graph, puts its images' configs and manifests into the store, and delivers them.
///
/// A result that was taken from a cache, and whose layer turns out not to be had, is made again.
///
/// # Errors
/// Fails where the build itself cannot be done or remembered. That steps or deliveries fail is in [`Built::failures`].
pub fn build(
    graph: &Graph,
    deliveries: &[Delivery],
    settings: &Settings,
    events: &Events,
) -> Result<Built, Error> {
    if settings.rung == Rung::Chroot {
        // No namespace hides this process from RUNs, and it knows the secrets of the build.
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .map_err(|e| Error::world("cannot hide the build's memory", e))?;
    }
    let mut record = BuildRecord::new(settings.project.clone().unwrap_or_default());
    let unpack = if settings.rung == Rung::None { Unpack::Contents } else { Unpack::Snapshot };
    let exporter = Exporter::start(settings.cache_to.clone(), &settings.puller, &settings.store, events);
    let mut attempt = Attempt::new(graph, settings, events.clone(), Purpose::Work);
    let made = attempt.repeat(unpack, Some(&exporter), &|end| make(deliveries, end));
    attempt.used_mounts.export(&exporter, &settings.store, events);
    let exported = exporter.finish();
    remember_contexts(settings)?;
    record.steps = attempt.ledger.reports(graph);
    record.duration_ms = u64::try_from(attempt.start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut built = attempt.built(deliveries, made.unwrap_or_else(Made::nothing));
    record.failure = built.failures.first().map(ToString::to_string);
    record.images = built.reports(graph, deliveries, &attempt.ledger);
    if settings.project.is_some() {
        settings.store.put_build(&record)?;
    }
    built.failures.extend(exported.err());
    Ok(built)
}

/// Keeps what was read of contexts, for later builds.
fn remember_contexts(settings: &Settings) -> Result<(), Error> {
    settings.contexts.values().try_for_each(|context| context.remember())
}
