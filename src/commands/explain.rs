//! `kairn explain`: why steps ran, or would run.

use std::time::Instant;

use kairn_executor::build::look;
use kairn_executor::explain::bytes;
use kairn_executor::store::{BuildRecord, StepReport, Verdict};
use serde_json::{Value, json};

use super::build::{fresh, workshop};
use crate::args::{Explain, Form};
use crate::failure::{Failure, chain, code};
use crate::inputs::chosen::{Chosen, choose};
use crate::inputs::{Project, grants};
use crate::machine::{self, Workshop};

/// Runs the command.
pub fn run(args: &Explain) -> Result<(), Failure> {
    let record = if args.dry_run { next(args)? } else { last(args)? };
    match args.format {
        Form::Text => print_text(&record, args.dry_run),
        Form::Json => println!("{:#}", to_json(&record, args.dry_run)),
    }
    Ok(())
}

/// What the last build did.
fn last(args: &Explain) -> Result<BuildRecord, Failure> {
    let caching = &args.caching;
    if !caching.cache_from.is_empty()
        || caching.no_cache
        || !caching.no_cache_filter.is_empty()
        || caching.pull
    {
        return Err(Failure::user("options of the next build are of no use for the last one")
            .with_help("give `--dry-run` as well"));
    }
    let store = machine::open_store(args.input.kairn_root.as_deref())?;
    let chosen = choose(&args.input)?;
    store.last_build(&chosen.name(&args.input)).ok_or_else(|| {
        let what = match &chosen {
            Chosen::Dockerfile(context) => context.clone(),
            Chosen::Spec(spec) => spec.path.display().to_string(),
        };
        Failure::user(format!("no build of `{what}` is remembered"))
            .with_help("build it first, or see what a build would do with `--dry-run`")
    })
}

/// What the next build would do.
fn next(args: &Explain) -> Result<BuildRecord, Failure> {
    let start = Instant::now();
    let chosen = choose(&args.input)?;
    let Workshop { mut settings, events, receiver, running: _running, .. } =
        workshop(&args.input, &args.caching, &chosen)?;
    (settings.grants.secrets, settings.grants.keyed) = grants::secrets(&args.secret)?;
    let project = Project::load(&args.input, chosen, &settings)?;
    let (secrets, _) = grants::of_images(&project, &args.secret, &[]);
    (settings.grants.secrets, settings.grants.keyed) = grants::secrets(&secrets)?;
    let compiled = project.compile(settings.puller.as_ref())?;
    settings.fresh = fresh(&args.caching, &project, &compiled.graph)?;
    settings.contexts.clone_from(&project.contexts);
    settings.project = Some(project.name.clone());
    let result = look(&compiled.graph, &settings, &events);
    drop(events);
    for event in receiver.try_iter() {
        if let kairn_executor::events::EventKind::Warning(text) = event.kind {
            eprintln!("warning: {text}");
        }
    }
    let mut record = result.map_err(|error| Failure {
        code: code(&error),
        help: error.help(),
        ..Failure::environment(chain(&error))
    })?;
    record.duration_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(record)
}

fn print_text(record: &BuildRecord, is_next: bool) {
    if is_next {
        println!("the next build:");
    } else {
        let when = i64::try_from(record.started_s).ok().and_then(kairn_executor::explain::date);
        let end = record.failure.as_ref().map_or_else(String::new, |failure| format!(", failed: {failure}"));
        println!("the build of {}, {}{end}:", when.unwrap_or_default(), time(record.duration_ms));
    }
    let mut counts = [0; 3];
    for step in &record.steps {
        let verdict = match &step.verdict {
            Verdict::Source => continue,
            Verdict::Hit { from: None } => "cached".to_owned(),
            Verdict::Hit { from: Some(from) } => format!("cached in {from}"),
            Verdict::Miss if is_next => "to run".to_owned(),
            Verdict::Miss => format!("ran {}", time(step.duration_ms)),
            Verdict::Open => "runs if a step before it gives another result".to_owned(),
            Verdict::Failed => "failed".to_owned(),
            Verdict::NotReached => "not reached".to_owned(),
        };
        counts[match &step.verdict {
            Verdict::Hit { .. } => 0,
            Verdict::Open | Verdict::NotReached => 2,
            _ => 1,
        }] += 1;
        println!(
            "[{} {}/{}] {}: {verdict}",
            step.place.stage, step.place.position, step.total, step.place.text
        );
        for cause in &step.causes {
            println!("    because {cause}");
        }
    }
    let [cached, ran, open] = counts;
    let open_word = if is_next { "open" } else { "not reached" };
    let ran_word = if is_next { "to run" } else { "ran" };
    println!("{cached} cached, {ran} {ran_word}, {open} {open_word}");
}

fn time(duration_ms: u64) -> String {
    format!("{}.{} s", duration_ms / 1000, duration_ms % 1000 / 100)
}

fn to_json(record: &BuildRecord, is_next: bool) -> Value {
    let steps: Vec<Value> = record.steps.iter().map(step_json).collect();
    json!({
        "dry_run": is_next,
        "started_s": record.started_s,
        "duration_ms": record.duration_ms,
        "failure": record.failure,
        "images": record.images.iter().map(|image| json!({
            "name": image.name, "tags": image.tags, "digest": image.digest,
        })).collect::<Vec<_>>(),
        "steps": steps,
    })
}

fn step_json(step: &StepReport) -> Value {
    let (verdict, from) = match &step.verdict {
        Verdict::Source => ("source", None),
        Verdict::Hit { from } => ("hit", from.as_deref()),
        Verdict::Miss => ("miss", None),
        Verdict::Open => ("open", None),
        Verdict::Failed => ("failed", None),
        Verdict::NotReached => ("not-reached", None),
    };
    let causes: Vec<Value> = step
        .causes
        .iter()
        .map(|cause| {
            let mut value = serde_json::to_value(cause).unwrap_or_default();
            if let Some(fields) = value.as_object_mut() {
                fields.insert("text".to_owned(), json!(cause.to_string()));
            }
            value
        })
        .collect();
    json!({
        "step": step.label,
        "stage": step.place.stage,
        "position": step.place.position,
        "total": step.total,
        "instruction": step.place.text,
        "op": step.op,
        "key": step.key,
        "verdict": verdict,
        "from": from,
        "causes": causes,
        "duration_ms": step.duration_ms,
        "size_bytes": step.size_bytes,
        "size": bytes(step.size_bytes),
        "image": step.image.as_ref().map(|(reference, digest)| json!({ "reference": reference, "digest": digest })),
    })
}
