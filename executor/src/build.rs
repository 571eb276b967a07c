//! A whole build: the steps, then the images.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use kairn_compiler::{Graph, StepId};
use rustix::process::DumpableBehavior;

use crate::assemble::{self, AssembledImage};
use crate::context::Context;
use crate::error::Error;
use crate::events::Events;
use crate::grants::Grants;
use crate::materialize::Materializer;
use crate::pull::Puller;
use crate::roots::Roots;
use crate::run::{Outcome, Runner};
use crate::sandbox::userns::Refused;
use crate::sandbox::{Cancel, Rung};
use crate::schedule;
use crate::snapshot::unpack::Unpack;
use crate::store::Store;

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
    /// Whether recorded results are left aside.
    pub no_cache: bool,
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
    let events = Events::new(sender);
    let cancel = Cancel::default();
    let layers = Materializer::new(settings, Unpack::Context);
    let runner = Runner {
        graph,
        settings,
        events: &events,
        cancel: &cancel,
        layers: &layers,
        roots: Roots::new(graph),
        outcomes: Mutex::default(),
    };
    schedule::run(graph, settings.jobs, &|step| runner.step(step), &|| cancel.cancel())?;
    let outcomes = runner.outcomes.into_inner().expect("no holder of this lock panics");
    let Outcome::State(state) = &outcomes[&step] else {
        unreachable!("a copy gives a state");
    };
    let snapshots = layers.snapshots(state)?;
    Ok(snapshots.last().cloned().unwrap_or_else(|| settings.store.root().join("tmp")))
}

/// Runs a graph and puts its images' configs and manifests into the store.
///
/// # Errors
/// Fails as the first step that fails does; all others have ended by then.
pub fn build(graph: &Graph, settings: &Settings, events: &Events) -> Result<Built, Error> {
    let cancel = Cancel::default();
    if settings.rung == Rung::Chroot {
        // No namespace hides this process from RUNs, and it knows the secrets of the build.
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .map_err(|e| Error::world("cannot hide the build's memory", e))?;
    }
    let unpack = if settings.rung == Rung::None { Unpack::Contents } else { Unpack::Snapshot };
    let layers = Materializer::new(settings, unpack);
    let runner = Runner {
        graph,
        settings,
        events,
        cancel: &cancel,
        layers: &layers,
        roots: Roots::new(graph),
        outcomes: Mutex::default(),
    };
    schedule::run(graph, settings.jobs, &|step| runner.step(step), &|| cancel.cancel())?;
    for context in settings.contexts.values() {
        context.remember()?;
    }
    let outcomes = runner.outcomes.into_inner().expect("no holder of this lock panics");
    let images = graph
        .images
        .iter()
        .map(|target| {
            let states = |step| match &outcomes[&step] {
                Outcome::State(state) => Arc::clone(state),
                Outcome::Context(_) => unreachable!("no image is made of a context"),
            };
            assemble::assemble(target, &states, settings)
        })
        .collect::<Result<_, _>>()?;
    Ok(Built { images })
}
