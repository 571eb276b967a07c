//! Graphs with several images, made and built through the library: what no one Dockerfile says.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use kairn_compiler::compile::{CompileOptions, compile};
use kairn_compiler::graph::{Artifact, Demand, ImageTarget};
use kairn_compiler::{Graph, StepId};
use kairn_executor::build::{Fresh, KeepGoing};
use kairn_executor::cache::Remotes;
use kairn_executor::events::{Event, EventKind, Events};
use kairn_executor::grants::Grants;
use kairn_executor::publish::{Delivery, Sink};
use kairn_executor::pull::{Policy, Puller};
use kairn_executor::sandbox::Rung;
use kairn_executor::store::Store;
use kairn_executor::{Built, Settings};
use kairn_image::Platform;
use kairn_image::registry::{Client, Config};
use kairn_spec::dockerfile::parse;

use super::{Context, Kairn, bases};

/// A graph of which several stages are images.
pub(crate) struct Many {
    /// The graph.
    pub(crate) graph: Graph,
    /// How it is built.
    pub(crate) settings: Settings,
    /// What is delivered: each image under no name, to the store, unless the test says something else.
    pub(crate) deliveries: Vec<Delivery>,
    events: Events,
    receiver: Receiver<Event>,
    _context: Context,
}

impl Many {
    /// Compiles the last stage of a Dockerfile, as [`Context::new`] takes it, and makes images of some stages.
    pub(crate) fn new(kairn: &Kairn, dockerfile: &str, images: &[&str]) -> Self {
        let context = Context::new(dockerfile);
        let store = Arc::new(Store::open(&kairn.root()).expect("a store"));
        let config = Config { insecure: vec![bases::shared().host()], ..Config::default() };
        let (sender, receiver) = mpsc::channel();
        let events = Events::new(sender);
        let remotes = Arc::new(Remotes::new(Vec::new(), events.clone()));
        let client = Arc::new(Client::new(config));
        let puller = Puller::new(client, Arc::clone(&store), events.clone(), Policy::Ask, remotes);
        let text = std::fs::read_to_string(context.join("Dockerfile")).expect("a Dockerfile");
        let options = CompileOptions::new(Platform::host());
        let mut graph = compile(&parse(&text).dockerfile, &options, &puller).expect("it compiles").graph;
        let template = graph.images.remove(0);
        for name in images {
            let step = last_step(&graph, name);
            graph.images.push(ImageTarget { name: (*name).to_owned(), step, ..template.clone() });
        }
        let deliveries = images.iter().zip(0..).map(|(name, at)| Delivery {
            name: (*name).to_owned(),
            images: vec![at],
            sinks: vec![Sink::Store],
            ..Delivery::default()
        });
        let deliveries = deliveries.collect();
        let mut settings = settings(store, puller);
        let files = kairn_executor::context::Context::of_directory(context.path().to_owned(), None);
        settings.contexts.insert("context".to_owned(), Arc::new(files));
        Self { graph, settings, deliveries, events, receiver, _context: context }
    }

    /// Says what the commands of a stage need.
    pub(crate) fn demand(&mut self, stage: &str, demand: Demand) {
        let steps: Vec<StepId> = self.graph.stages()[stage].clone();
        self.graph.demands.extend(steps.into_iter().map(|step| (step, demand)));
    }

    /// Has a file copied out of a stage.
    pub(crate) fn artifact(&mut self, stage: &str, path: &str, dest: &Path) {
        let (stage, step) = (stage.to_owned(), last_step(&self.graph, stage));
        self.graph.artifacts.push(Artifact { stage, step, path: path.to_owned(), dest: dest.to_owned() });
    }

    /// The last step of a stage.
    pub(crate) fn last(&self, stage: &str) -> StepId {
        last_step(&self.graph, stage)
    }

    /// Builds, and gives what happened besides.
    pub(crate) fn build(&self) -> (Built, Vec<Event>) {
        let built = kairn_executor::build(&self.graph, &self.deliveries, &self.settings, &self.events);
        (built.expect("the build itself works"), self.receiver.try_iter().collect())
    }

    /// When the commands of a stage worked, from the beginning of a time.
    pub(crate) fn interval(&self, events: &[Event], stage: &str, origin: Instant) -> (Duration, Duration) {
        let step = self.last(stage);
        let time = |is_meant: &dyn Fn(&EventKind) -> bool| {
            let found = events.iter().find(|event| event.step == Some(step) && is_meant(&event.kind));
            found.expect("the step worked").time.duration_since(origin)
        };
        (time(&|kind| *kind == EventKind::Started), time(&|kind| matches!(kind, EventKind::Finished(_))))
    }
}

fn settings(store: Arc<Store>, puller: Puller) -> Settings {
    Settings {
        store,
        puller: Arc::new(puller),
        contexts: BTreeMap::new(),
        jobs: 8,
        memory_bytes: u64::MAX,
        keep_going: KeepGoing::Stop,
        fresh: Fresh::Nothing,
        project: Some("many".to_owned()),
        cache_to: Vec::new(),
        inline_cache: false,
        program: Kairn::BINARY.into(),
        rung: Rung::Userns,
        refused: None,
        sync: false,
        epoch: None,
        resolv_conf: String::new(),
        hosts: String::new(),
        grants: Grants::default(),
    }
}

fn last_step(graph: &Graph, stage: &str) -> StepId {
    let of_stage = graph.origins.iter().flat_map(|(step, origins)| {
        let own = origins.iter().filter(|origin| origin.stage == stage);
        own.map(|origin| (origin.position, *step))
    });
    of_stage.max().expect("a stage of that name").1
}

/// The texts of what the events warn of or note.
pub(crate) fn notes(events: &[Event]) -> Vec<&str> {
    let texts = events.iter().filter_map(|event| match &event.kind {
        EventKind::Notice(text) | EventKind::Warning(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}
