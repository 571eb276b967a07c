//! `kairn build`: an image of a Dockerfile.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use kairn_compiler::{Graph, Op};
use kairn_executor::assemble::AssembledImage;
use kairn_executor::build::{Fresh, KeepGoing};
use kairn_executor::built::{Fate, ImageOutcome};
use kairn_executor::events::{EventKind, Events};
use kairn_executor::grants::Grants;
use kairn_executor::publish::{Delivery, Sink};
use kairn_executor::pull::Policy;
use kairn_executor::sandbox::userns::{Ids, Refused};
use kairn_executor::store::Budget;
use kairn_executor::{Error, Settings};
use kairn_image::reference::Reference;
use kairn_spec::Diagnostic;
use serde_json::json;

use crate::args::{self, Allow, Build, Caching, Input};
use crate::failure::{Failure, chain, code};
use crate::inputs::{self, Project, SourceFile, grants};
use crate::machine::{self, Workshop};
use crate::progress::{self, Summary};
use crate::{budget, caches, ladder, memory};

/// Runs the command; `namespace` says which ids the user namespace of this process has, or why it has none.
pub fn run(args: &Build, namespace: Result<Ids, Refused>) -> Result<(), Failure> {
    let start = Instant::now();
    let tags = tags(args)?;
    let sinks = sinks(args, &tags)?;
    let Workshop { mut settings, events, receiver, running: _running } =
        workshop(&args.input, &args.caching)?;
    let budget = budget::parse(&args.prune, &settings.store)?;
    let exports = caches::exports(&args.cache_to, &args.input.registries, args.caching.offline)?;
    (settings.cache_to, settings.inline_cache) = (exports.targets, exports.inline);
    let (secrets, keyed) = grants::secrets(&args.secret)?;
    settings.grants = Grants {
        secrets,
        keyed,
        agents: grants::agents(&args.ssh)?,
        insecure: args.allow.contains(&Allow::SecurityInsecure),
        host_network: args.allow.contains(&Allow::NetworkHost),
    };
    let project = Project::load(&args.input, &settings)?;
    let file = &project.file;
    let compiled = inputs::compile_project(&args.input, &project, settings.puller.as_ref())?;
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
    settings.fresh = fresh(&args.caching, &file.text)?;
    settings.project = Some(inputs::project_name(&args.input));
    settings.jobs = args.jobs.map_or(settings.jobs, usize::from);
    settings.memory_bytes = args.memory.as_deref().map_or_else(|| Ok(memory::budget()), budget::bytes)?;
    settings.keep_going = match args.keep_going {
        None => KeepGoing::Stop,
        Some(args::KeepGoing::Build) => KeepGoing::Go,
        Some(args::KeepGoing::Publish) => KeepGoing::GoAndPublish,
    };
    settings.contexts.clone_from(&project.contexts);
    let delivery =
        Delivery { name: graph.images[0].name.clone(), images: vec![0], tags, sinks, ..Delivery::default() };
    let (result, summary) = std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            let deliveries = std::slice::from_ref(&delivery);
            let built = kairn_executor::build(graph, deliveries, &settings, &events);
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
    let built = result.map_err(|error| of_build(&error, Some(graph), file))?;
    for (image, delivered) in built.images.iter().zip(&built.deliveries) {
        if let (ImageOutcome::Assembled(image), Fate::Published) = (image, delivered.fate) {
            report(args, image, &delivered.tags, graph, &summary)?;
        }
    }
    failed(&built.failures, graph, file)
}

/// Says all that failed; the first failure is the one that the exit code is of.
fn failed(failures: &[Error], graph: &Graph, file: &SourceFile) -> Result<(), Failure> {
    let [first, others @ ..] = failures else { return Ok(()) };
    let shown = of_build(first, Some(graph), file);
    if others.is_empty() {
        return Err(shown);
    }
    shown.print();
    for error in others {
        of_build(error, Some(graph), file).print();
    }
    let text = format!("{} failures, of which the first gives the exit code", failures.len());
    Err(Failure { code: shown.code, ..Failure::user(text) })
}

/// Opens the store and what the options say of caches.
pub fn workshop(input: &Input, caching: &Caching) -> Result<Workshop, Failure> {
    let policy = match (caching.offline, caching.pull) {
        (true, _) => Policy::Offline,
        (false, true) => Policy::AlwaysAsk,
        (false, false) => Policy::Ask,
    };
    let sources = caches::sources(&caching.cache_from, &input.registries, caching.offline)?;
    Workshop::open_with(input, policy, sources)
}

/// Which results are left aside; stages are those of the Dockerfile, by name or number.
pub fn fresh(caching: &Caching, dockerfile: &str) -> Result<Fresh, Failure> {
    if caching.no_cache {
        return Ok(Fresh::All);
    }
    if caching.no_cache_filter.is_empty() {
        return Ok(Fresh::Nothing);
    }
    let known = inputs::stage_names(dockerfile);
    let stages = caching.no_cache_filter.iter().map(|wanted| {
        let numbered = wanted.parse().ok().and_then(|number: usize| known.get(number));
        let named = known.iter().find(|name| name.eq_ignore_ascii_case(wanted));
        named.or(numbered).cloned().ok_or_else(|| {
            Failure::user(format!("`--no-cache-filter {wanted}`: there is no such stage"))
                .with_help(format!("the stages are: {}", known.join(", ")))
        })
    });
    Ok(Fresh::Stages(stages.collect::<Result<_, _>>()?))
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

/// Writes the results: to standard output, and to the files that were asked for.
fn report(
    args: &Build,
    image: &AssembledImage,
    tags: &[Reference],
    graph: &Graph,
    summary: &Summary,
) -> Result<(), Failure> {
    let digest = image.descriptor.digest;
    if tags.is_empty() {
        println!("{digest}");
    }
    for tag in tags {
        println!("{digest} {tag}");
    }
    let write = |path: &Path, text: String| {
        std::fs::write(path, text)
            .map_err(|e| Failure::environment(format!("cannot write `{}`: {e}", path.display())))
    };
    if let Some(path) = &args.iidfile {
        write(path, image.manifest.config.digest.to_string())?;
    }
    if let Some(path) = &args.metadata_file {
        let labels = progress::labels(graph);
        let steps: BTreeMap<String, _> = summary
            .times
            .iter()
            .map(|(step, time)| {
                let times = json!({
                    "started_ms": u64::try_from(time.started.as_millis()).unwrap_or(u64::MAX),
                    "duration_ms": u64::try_from(time.duration.as_millis()).unwrap_or(u64::MAX),
                    "cached": time.cached,
                });
                (labels[step].clone(), times)
            })
            .collect();
        let names: Vec<String> = tags.iter().map(ToString::to_string).collect();
        let metadata = json!({
            "containerimage.config.digest": image.manifest.config.digest,
            "containerimage.descriptor": image.descriptor,
            "containerimage.digest": digest,
            "image.name": names.join(","),
            "kairn.steps": steps,
        });
        write(path, format!("{metadata:#}\n"))?;
    }
    Ok(())
}

/// Turns a build's error into what the user reads: the instruction with its source, the last output, what to do.
fn of_build(error: &Error, graph: Option<&Graph>, file: &SourceFile) -> Failure {
    let origin = graph
        .zip(error.step())
        .and_then(|(graph, step)| graph.origins.get(&step))
        .and_then(|origins| origins.first());
    let mut message = chain(error);
    if let Error::Command { failure, .. } = error
        && !failure.output_tail.is_empty()
    {
        eprintln!("--- the last {} lines of its output:", failure.output_tail.len());
        for line in &failure.output_tail {
            eprintln!("{line}");
        }
        eprintln!("---");
    }
    let Some(origin) = origin else {
        return Failure {
            code: code(error),
            rendered: String::new(),
            message: Some(message),
            help: error.help(),
        };
    };
    let name = match error {
        Error::Command { .. } => "step-failed",
        Error::User { .. } => "step-refused",
        Error::World { .. } | Error::Lost { .. } | Error::Cancelled => "step-hindered",
    };
    if matches!(error, Error::Command { .. }) {
        message = format!("{message}, in stage `{}`", origin.stage);
    }
    let mut diagnostic = Diagnostic::error(name, origin.span, message);
    diagnostic.help = error.help();
    Failure { code: code(error), ..Failure::diagnostics(file.render(&[diagnostic])) }
}

fn tags(args: &Build) -> Result<Vec<Reference>, Failure> {
    args.tag
        .iter()
        .map(|text| {
            let tag: Reference =
                text.parse().map_err(|e| Failure::user(format!("`--tag {text}`: {}", chain(&e))))?;
            if tag.digest().is_some() {
                return Err(Failure::user(format!(
                    "`--tag {text}` has a digest, and the build makes its own"
                )));
            }
            Ok(tag)
        })
        .collect()
}

/// Where the image goes; the store, where nothing else is said.
fn sinks(args: &Build, tags: &[Reference]) -> Result<Vec<Sink>, Failure> {
    let mut sinks = Vec::new();
    for output in &args.output {
        sinks.extend(sink(output)?);
    }
    if args.push && !sinks.contains(&Sink::Registry) {
        sinks.push(Sink::Registry);
    }
    if sinks.contains(&Sink::Registry) && tags.is_empty() {
        return Err(Failure::user("there is no name to push the image under").with_help("give one with `-t`"));
    }
    if sinks.is_empty() {
        sinks.push(Sink::Store);
    }
    Ok(sinks)
}

fn sink(output: &str) -> Result<Option<Sink>, Failure> {
    let wrong = |what: String| {
        Failure::user(format!("`--output {output}`: {what}")).with_help(
            "known are `type=oci,dest=PATH[,tar=false]`, `type=image[,push=true]` and `type=registry`",
        )
    };
    let mut fields: BTreeMap<&str, &str> = BTreeMap::new();
    for field in output.split(',') {
        let (key, value) = field.split_once('=').ok_or_else(|| wrong(format!("`{field}` has no `=`")))?;
        if fields.insert(key, value).is_some() {
            return Err(wrong(format!("`{key}` is given twice")));
        }
    }
    let flag = |value: Option<&str>, default: bool| match value {
        None => Ok(default),
        Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => Err(wrong(format!("`{other}` is neither `true` nor `false`"))),
    };
    let sink = match fields.remove("type") {
        Some("oci") => {
            let dest = fields.remove("dest").filter(|dest| !dest.is_empty() && *dest != "-");
            let dest = PathBuf::from(dest.ok_or_else(|| wrong("`dest=PATH` is missing".to_owned()))?);
            let archive = flag(fields.remove("tar"), true)?;
            Some(if archive { Sink::LayoutArchive(dest) } else { Sink::LayoutFolder(dest) })
        }
        Some("image") => Some(if flag(fields.remove("push"), false)? { Sink::Registry } else { Sink::Store }),
        Some("registry") => Some(Sink::Registry),
        Some(other) => return Err(wrong(format!("the type `{other}` is not supported yet"))),
        None => return Err(wrong("`type=` is missing".to_owned())),
    };
    if let Some(key) = fields.keys().next() {
        return Err(wrong(format!("`{key}` is not supported yet")));
    }
    Ok(sink)
}
