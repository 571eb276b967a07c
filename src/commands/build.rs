//! `kairn build`: an image of a Dockerfile, or the images of a kairn.toml.

use std::collections::BTreeSet;
use std::time::Instant;

use kairn_compiler::compile::Unit;
use kairn_compiler::{Graph, Op};
use kairn_executor::Settings;
use kairn_executor::build::{Fresh, KeepGoing};
use kairn_executor::events::{EventKind, Events};
use kairn_executor::grants::Grants;
use kairn_executor::pull::Policy;
use kairn_executor::sandbox::userns::{Ids, Refused};
use kairn_executor::store::Budget;

use super::affected;
use crate::args::{self, Allow, Build, Caching, Input, Progress};
use crate::deliveries::deliveries;
use crate::failure::{Failure, chain};
use crate::inputs::chosen::{Chosen, choose};
use crate::inputs::{Project, grants};
use crate::machine::{self, Workshop};
use crate::{budget, caches, ladder, memory, progress, report};

/// Runs the command; `namespace` says which ids the user namespace of this process has, or why it has none.
pub fn run(args: &Build, namespace: Result<Ids, Refused>) -> Result<(), Failure> {
    let start = Instant::now();
    let mut chosen = choose(&args.input)?;
    if let Some(revision) = &args.affected_since {
        let policy = policy(&args.caching, &chosen);
        let Some(changed) = affected::narrow(&mut chosen, &args.input, revision, policy)? else {
            eprintln!("nothing that was asked for changed since `{revision}`");
            return Ok(());
        };
        for line in changed {
            eprintln!("[kairn] {line}");
        }
    }
    let Workshop { mut settings, events, receiver, running: _running } =
        workshop(&args.input, &args.caching, &chosen)?;
    let budget = budget::parse(&args.prune, &settings.store)?;
    let mut cache_to = args.cache_to.clone();
    cache_to.extend(chosen.said(|options| &options.cache_to));
    let exports = caches::exports(&cache_to, &chosen.registries(&args.input), args.caching.offline)?;
    (settings.cache_to, settings.inline_cache) = (exports.targets, exports.inline);
    settings.grants = allowed(args, &args.secret, &args.ssh)?;
    let project = Project::load(&args.input, chosen, &settings)?;
    project.check_rights(&args.allow)?;
    let (secrets, agents) = grants::of_images(&project, &args.secret, &args.ssh);
    settings.grants = allowed(args, &secrets, &agents)?;
    let deliveries = deliveries(args, &project)?;
    let compiled = project.compile(settings.puller.as_ref())?;
    let graph = &compiled.graph;
    if let Some(text) = &compiled.source_date_epoch {
        settings.epoch = machine::epoch(text)?;
    }
    let folder = settings.store.work_dir().map_err(|e| machine::of_store(&e))?;
    let program = &settings.program;
    let namespace = ladder::usable(namespace, program, folder.path());
    let choice = ladder::choose(args.isolation, namespace, program, folder.path())?;
    drop(folder);
    (settings.rung, settings.refused) = (choice.rung, choice.refused);
    settings.sync = args.sync;
    if graph.topological().into_iter().any(|step| matches!(graph.op(step), Op::Run(_))) {
        let reason = settings.refused.as_ref().map(|refused| format!(" ({refused})")).unwrap_or_default();
        events.build(EventKind::Notice(format!("isolation: {}{reason}", settings.rung.name())));
    }
    settings.fresh = fresh(&args.caching, &project, graph)?;
    settings.project = Some(project.name.clone());
    limits(args, &project, &mut settings)?;
    settings.contexts.clone_from(&project.contexts);
    let (result, summary) = std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            let built = kairn_executor::build(graph, &deliveries, &settings, &events);
            if let Some(budget) = &budget {
                prune(&settings, budget, &events);
            }
            events.build(EventKind::Ended);
            built
        });
        let summary = progress::show(&receiver, graph, args.progress, start, &|| work.is_finished());
        let result = work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (result, summary)
    });
    let built = result.map_err(|error| report::of_build(&error, graph, &project.files))?;
    if !project.is_one() && args.progress != Progress::Json {
        eprint!("\n{}", report::table(&built, graph, &summary));
    }
    report::results(args, &project, &built, &deliveries, graph, &summary)?;
    report::failed(&built.failures, graph, &project.files)
}

/// What RUNs may have.
fn allowed(args: &Build, secrets: &[String], agents: &[String]) -> Result<Grants, Failure> {
    let (secrets, keyed) = grants::secrets(secrets)?;
    Ok(Grants {
        secrets,
        keyed,
        agents: grants::agents(agents)?,
        insecure: args.allow.contains(&Allow::SecurityInsecure),
        host_network: args.allow.contains(&Allow::NetworkHost),
    })
}

/// How much may happen at a time, and what is done after a failure.
fn limits(args: &Build, project: &Project, settings: &mut Settings) -> Result<(), Failure> {
    let jobs = args.jobs.or_else(|| project.build.jobs.as_ref().map(|jobs| jobs.value));
    settings.jobs = jobs.map_or(settings.jobs, usize::from);
    let memory = project.build.memory.as_ref().map(|memory| memory.value.0);
    settings.memory_bytes = match &args.memory {
        Some(text) => budget::bytes(text)?,
        None => memory.unwrap_or_else(memory::budget),
    };
    settings.keep_going = match args.keep_going {
        None => KeepGoing::Stop,
        Some(args::KeepGoing::Build) => KeepGoing::Go,
        Some(args::KeepGoing::Publish) => KeepGoing::GoAndPublish,
    };
    Ok(())
}

/// Who is asked for images.
fn policy(caching: &Caching, chosen: &Chosen) -> Policy {
    match (caching.offline, caching.pull || chosen.wants_pull()) {
        (true, _) => Policy::Offline,
        (false, true) => Policy::AlwaysAsk,
        (false, false) => Policy::Ask,
    }
}

/// Opens the store and what the options say of caches.
pub fn workshop(input: &Input, caching: &Caching, chosen: &Chosen) -> Result<Workshop, Failure> {
    let policy = policy(caching, chosen);
    let registries = chosen.registries(input);
    let mut from = caching.cache_from.clone();
    from.extend(chosen.said(|options| &options.cache_from));
    let sources = caches::sources(&from, &registries, caching.offline)?;
    Workshop::open_with(input.kairn_root.as_deref(), &registries, policy, sources)
}

/// Which results are left aside: of stages by name or number, of images by what they say.
pub fn fresh(caching: &Caching, project: &Project, graph: &Graph) -> Result<Fresh, Failure> {
    if caching.no_cache {
        return Ok(Fresh::All);
    }
    let mut stages = BTreeSet::new();
    for wanted in &caching.no_cache_filter {
        let mut found = BTreeSet::new();
        for &number in &project.selected {
            found.extend(labels(&project.units[number], wanted, graph));
        }
        if found.is_empty() {
            let known = project.selected.iter().flat_map(|number| stage_names(&project.units[*number]));
            let known: BTreeSet<String> = known.collect();
            let text = format!("`--no-cache-filter {wanted}`: there is no such stage");
            let known: Vec<String> = known.into_iter().collect();
            return Err(Failure::user(text).with_help(format!("the stages are: {}", known.join(", "))));
        }
        stages.extend(found);
    }
    for (unit, plan) in project.used() {
        if plan.no_cache {
            stages.extend(stage_names(unit).iter().flat_map(|stage| labels(unit, stage, graph)));
        }
        for wanted in &plan.no_cache_filter {
            let found = labels(unit, wanted, graph);
            if found.is_empty() {
                let text = format!("`no-cache-filter` of `{}`: there is no stage `{wanted}`", unit.name);
                return Err(Failure::user(text)
                    .with_help(format!("the stages are: {}", stage_names(unit).join(", "))));
            }
            stages.extend(found);
        }
    }
    Ok(if stages.is_empty() { Fresh::Nothing } else { Fresh::Stages(stages) })
}

/// What the graph calls each stage of an image: its name in lower case, or its number.
fn stage_names(unit: &Unit) -> Vec<String> {
    let stages = unit.dockerfile.stages.iter();
    stages
        .map(|stage| stage.name.as_ref().map_or_else(|| stage.index.to_string(), |name| name.value.clone()))
        .collect()
}

/// What the graph calls a stage, by name or number, for each platform; in lower case.
fn labels(unit: &Unit, wanted: &str, graph: &Graph) -> BTreeSet<String> {
    let known = stage_names(unit);
    let numbered = wanted.parse().ok().and_then(|number: usize| known.get(number));
    let named = known.iter().find(|name| name.eq_ignore_ascii_case(wanted));
    let Some(name) = named.or(numbered) else { return BTreeSet::new() };
    let full =
        if unit.name.is_empty() { name.clone() } else { format!("{}/{name}", unit.name) }.to_lowercase();
    let with_platform = format!("{full} ");
    let all = graph.origins.values().flatten().map(|origin| origin.stage.to_lowercase());
    let mut labels: BTreeSet<String> =
        all.filter(|label| *label == full || label.starts_with(&with_platform)).collect();
    // A stage that nobody needs is known all the same.
    labels.insert(full);
    labels
}

/// Throws away what the store may not keep. That it cannot does not fail the build.
fn prune(settings: &Settings, budget: &Budget, events: &Events) {
    match settings.store.prune_now_and_then(budget) {
        Ok(pruned) if pruned.items.is_empty() => {}
        Ok(pruned) => events.build(EventKind::Transfer(format!(
            "threw {} of the store away, which was not used for long (`--prune` says how much is kept)",
            kairn_executor::explain::bytes(pruned.bytes())
        ))),
        Err(error) => events.build(EventKind::Warning(format!("the store is not pruned: {}", chain(&error)))),
    }
}
