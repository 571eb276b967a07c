//! What a build came to: results on standard output, files for other programs, a table and errors for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use kairn_compiler::Graph;
use kairn_executor::Error;
use kairn_executor::built::{Built, Delivered, Fate, ImageOutcome, Work};
use kairn_executor::explain::bytes;
use kairn_executor::publish::Delivery;
use kairn_executor::schedule::path::PathStep;
use kairn_spec::Diagnostic;
use serde_json::{Map, Value, json};

use crate::args::Build;
use crate::failure::{Failure, chain, code};
use crate::inputs::{Files, Project};
use crate::progress::{self, Summary};

/// The least time of a line of the critical path.
const WORTH_A_LINE: Duration = Duration::from_millis(50);

/// Writes the results: to standard output, and to the files that were asked for.
pub fn results(
    args: &Build,
    project: &Project,
    built: &Built,
    deliveries: &[Delivery],
    graph: &Graph,
    summary: &Summary,
) -> Result<(), Failure> {
    for delivered in built.deliveries.iter().filter(|delivered| delivered.fate == Fate::Published) {
        let Some(descriptor) = &delivered.descriptor else { continue };
        let digest = descriptor.digest;
        if delivered.tags.is_empty() {
            println!("{}", format!("{digest} {}", delivered.name).trim_end());
        }
        for tag in &delivered.tags {
            println!("{digest} {tag}");
        }
    }
    let is_one = project.is_one();
    if let Some(path) = &args.iidfile {
        let [ImageOutcome::Assembled(image)] = &built.images[..] else {
            return Err(Failure::user("`--iidfile` is for one image of one platform")
                .with_help("`--metadata-file` has the digests of all"));
        };
        write(path, image.manifest.config.digest.to_string())?;
    }
    if let Some(path) = &args.metadata_file {
        let mut metadata = Map::new();
        for (delivery, delivered) in deliveries.iter().zip(&built.deliveries) {
            let fields = image_fields(built, delivery, delivered);
            if is_one {
                metadata.extend(fields);
            } else {
                metadata.insert(delivered.name.clone(), Value::Object(fields));
            }
        }
        metadata.insert("kairn.steps".to_owned(), step_times(graph, summary));
        metadata.insert("kairn.duration_ms".to_owned(), json!(ms(built.duration)));
        metadata.insert("kairn.critical_path".to_owned(), critical_path(graph, built));
        let artifacts = built
            .artifacts
            .iter()
            .map(|artifact| json!({ "stage": artifact.stage, "path": artifact.path, "dest": artifact.dest }));
        metadata.insert("kairn.artifacts".to_owned(), artifacts.collect());
        write(path, format!("{:#}\n", Value::Object(metadata)))?;
    }
    Ok(())
}

fn write(path: &Path, text: String) -> Result<(), Failure> {
    std::fs::write(path, text)
        .map_err(|e| Failure::environment(format!("cannot write `{}`: {e}", path.display())))
}

/// What buildx says of an image, and more.
fn image_fields(built: &Built, delivery: &Delivery, delivered: &Delivered) -> Map<String, Value> {
    let mut fields = Map::new();
    let images = delivery.images.iter().filter_map(|&at| match &built.images[at] {
        ImageOutcome::Assembled(image) => Some(image),
        ImageOutcome::Failed { .. } | ImageOutcome::NotReached { .. } => None,
    });
    let images: Vec<_> = images.collect();
    if let Some(descriptor) = &delivered.descriptor {
        fields.insert("containerimage.descriptor".to_owned(), json!(descriptor));
        fields.insert("containerimage.digest".to_owned(), json!(descriptor.digest));
    }
    if let [image] = images[..] {
        fields.insert("containerimage.config.digest".to_owned(), json!(image.manifest.config.digest));
    }
    let names: Vec<String> = delivered.tags.iter().map(ToString::to_string).collect();
    fields.insert("image.name".to_owned(), json!(names.join(",")));
    let platforms: Vec<Value> = delivered
        .platforms
        .iter()
        .zip(&images)
        .map(|(platform, image)| json!({ "platform": platform.to_string(), "digest": image.descriptor.digest }))
        .collect();
    fields.insert("kairn.platforms".to_owned(), json!(platforms));
    fields.insert("kairn.size_bytes".to_owned(), json!(delivered.size_bytes));
    fields.insert("kairn.cached".to_owned(), json!(delivered.work == Work::Cached));
    fields.insert("kairn.ready_after_ms".to_owned(), json!(ms(delivered.ready_after)));
    let fate = match delivered.fate {
        Fate::Published => "published",
        Fate::HeldBack => "held-back",
        Fate::NotReached => "not-reached",
        Fate::Failed => "failed",
    };
    fields.insert("kairn.fate".to_owned(), json!(fate));
    fields
}

fn step_times(graph: &Graph, summary: &Summary) -> Value {
    let labels = progress::labels(graph);
    let times: BTreeMap<&str, Value> = summary
        .times
        .iter()
        .map(|(step, time)| {
            let times = json!({
                "started_ms": ms(time.started), "duration_ms": ms(time.duration), "cached": time.cached,
            });
            (labels[step].as_str(), times)
        })
        .collect();
    json!(times)
}

fn critical_path(graph: &Graph, built: &Built) -> Value {
    let labels = progress::labels(graph);
    let steps = built.critical_path.iter().map(|part| {
        json!({
            "step": labels[&part.step], "waited_ms": ms(part.waited), "worked_ms": ms(part.worked),
        })
    });
    steps.collect()
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The table at the end of a build of many images, and what the time went by with.
pub fn table(built: &Built, graph: &Graph, summary: &Summary) -> String {
    let mut rows = vec![["image", "digest", "size", "", "ready after"].map(str::to_owned)];
    for delivered in &built.deliveries {
        let digest = delivered.descriptor.as_ref().map_or("-".to_owned(), |found| found.digest.short());
        let state = match (delivered.fate, delivered.work) {
            (Fate::Published, Work::Cached) => "cached",
            (Fate::Published, Work::Built) => "built",
            (Fate::HeldBack, _) => "held back",
            (Fate::NotReached, _) => "not reached",
            (Fate::Failed, _) => "FAILED",
        };
        let name = match delivered.platforms.len() {
            0 | 1 => delivered.name.clone(),
            several => format!("{} ({several} platforms)", delivered.name),
        };
        let size = if delivered.descriptor.is_some() { bytes(delivered.size_bytes) } else { "-".to_owned() };
        let time = format!("{:.1} s", delivered.ready_after.as_secs_f64());
        rows.push([name, digest, size, state.to_owned(), time]);
    }
    let mut text = String::new();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2), width(3), width(4)];
    for [name, digest, size, state, time] in &rows {
        let _ = writeln!(
            text,
            "{name:<0$}  {digest:<1$}  {size:>2$}  {state:<3$}  {time:>4$}",
            widths[0], widths[1], widths[2], widths[3], widths[4],
        );
    }
    let _ = writeln!(text, "steps: {} cached, {} worked", summary.cached(), summary.worked());
    let worth_a_line = |part: &&PathStep| part.worked + part.waited >= WORTH_A_LINE;
    let worked: Vec<_> = built.critical_path.iter().filter(worth_a_line).collect();
    if !worked.is_empty() {
        let others = built.duration.saturating_sub(worked.iter().map(|part| part.worked + part.waited).sum());
        let _ = writeln!(text, "critical path of {:.1} s:", built.duration.as_secs_f64());
        for part in worked {
            let (name, line) = progress::step_name(graph, part.step);
            let waited = if part.waited >= Duration::from_millis(100) {
                format!(" after {:.1} s of waiting for room", part.waited.as_secs_f64())
            } else {
                String::new()
            };
            let _ = writeln!(
                text,
                "  {:>6.1} s  {name}  {}{waited}",
                part.worked.as_secs_f64(),
                shortened(&line)
            );
        }
        if others >= WORTH_A_LINE {
            let what = "short steps, looking at what is known, publishing";
            let _ = writeln!(text, "  {:>6.1} s  {what}", others.as_secs_f64());
        }
    }
    text
}

fn shortened(line: &str) -> String {
    const LIMIT: usize = 70;
    match line.char_indices().nth(LIMIT) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

/// Says all that failed; the first failure is the one that the exit code is of.
pub fn failed(failures: &[Error], graph: &Graph, files: &Files) -> Result<(), Failure> {
    let [first, others @ ..] = failures else { return Ok(()) };
    let shown = of_build(first, graph, files);
    if others.is_empty() {
        return Err(shown);
    }
    shown.print();
    for error in others {
        of_build(error, graph, files).print();
    }
    let text = format!("{} failures, of which the first gives the exit code", failures.len());
    Err(Failure { code: shown.code, ..Failure::user(text) })
}

/// Turns a build's error into what the user reads: the instruction with its source, the last output, what to do.
pub fn of_build(error: &Error, graph: &Graph, files: &Files) -> Failure {
    let origins = error.step().and_then(|step| graph.origins.get(&step));
    let origin = origins.and_then(|origins| origins.first());
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
    let mut diagnostic = Diagnostic::error(name, origin.span, message).in_file(origin.file);
    diagnostic.help = error.help();
    Failure { code: code(error), ..Failure::diagnostics(files.render(&[diagnostic])) }
}
