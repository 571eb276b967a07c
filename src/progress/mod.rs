//! Events to lines on standard error. In a CI's log the lines of each step stand together ([`grouped`]).

pub mod grouped;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Stderr, Write as _};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use kairn_compiler::{Graph, StepId};
use kairn_executor::artifact::WrittenArtifact;
use kairn_executor::events::{Completion, Event, EventKind};
use kairn_executor::explain::bytes;
use serde_json::json;

use self::grouped::{Folds, Groups, Moment};
use crate::args::Progress;

/// When a step worked, and whether it had to.
#[derive(Clone, Copy, Debug)]
pub struct StepTime {
    /// From the start of the build.
    pub started: Duration,
    /// How long it worked.
    pub duration: Duration,
    /// Whether the store had the result.
    pub cached: bool,
}

/// What the events of a build add up to.
#[derive(Debug, Default)]
pub struct Summary {
    /// The steps that ended well.
    pub times: BTreeMap<StepId, StepTime>,
}

impl Summary {
    /// How many steps were known.
    pub fn cached(&self) -> usize {
        self.times.values().filter(|time| time.cached).count()
    }

    /// How many worked.
    pub fn worked(&self) -> usize {
        self.times.len() - self.cached()
    }
}

/// What `kairn graph` calls the steps: `s1`, `s2` and so on.
pub fn labels(graph: &Graph) -> BTreeMap<StepId, String> {
    graph.topological().into_iter().zip(1..).map(|(step, number)| (step, format!("s{number}"))).collect()
}

/// What a step is called in lines: `stage 2/4`, and the instruction.
pub fn step_name(graph: &Graph, step: StepId) -> (String, String) {
    graph.origins.get(&step).and_then(|origins| origins.first()).map_or_else(
        || ("kairn".to_owned(), String::new()),
        |origin| (format!("{} {}/{}", origin.stage, origin.position, origin.total), origin.text.clone()),
    )
}

/// How often it is asked whether the build is over, while nothing happens.
const PATIENCE: Duration = Duration::from_millis(200);

/// Shows events until the build is over.
pub fn show(
    events: &Receiver<Event>,
    graph: &Graph,
    mode: Progress,
    start: Instant,
    is_over: &dyn Fn() -> bool,
) -> Summary {
    let mut summary = Summary::default();
    let variable = |name: &str| std::env::var(name).ok();
    let folds = match mode {
        Progress::Grouped => Some(Folds::of(&variable).unwrap_or(Folds::None)),
        Progress::Auto => Folds::of(&variable),
        Progress::Plain | Progress::Json => None,
    };
    let mut groups = folds.map(|folds| Groups::new(std::io::stderr(), folds));
    let labels = labels(graph);
    let mut started: BTreeMap<StepId, Instant> = BTreeMap::new();
    let mut failed: BTreeSet<StepId> = BTreeSet::new();
    loop {
        // Asked before the queue, so that nothing sent before the end is missed.
        let over = is_over();
        let event = match events.recv_timeout(PATIENCE) {
            Ok(Event { kind: EventKind::Ended, .. }) => break,
            Ok(event) => event,
            Err(_) if over => break,
            Err(_) => continue,
        };
        if let Some(step) = event.step {
            match &event.kind {
                EventKind::Started => {
                    started.insert(step, event.time);
                }
                EventKind::Finished(completion) => {
                    let began = started.get(&step).copied().unwrap_or(event.time);
                    summary.times.insert(
                        step,
                        StepTime {
                            started: began.saturating_duration_since(start),
                            duration: event.time.saturating_duration_since(began),
                            cached: *completion != Completion::Done,
                        },
                    );
                }
                EventKind::Failed | EventKind::Stopped if !failed.insert(step) => continue,
                EventKind::Stopped if !started.contains_key(&step) => continue,
                _ => {}
            }
        }
        if let Some(groups) = &mut groups {
            if let Some(line) = plain_line(&event, graph, &summary) {
                group(groups, &event, &line);
            }
            continue;
        }
        let line = match mode {
            Progress::Json => Some(json_line(&event, graph, &labels, start)),
            Progress::Auto | Progress::Plain | Progress::Grouped => plain_line(&event, graph, &summary),
        };
        if let Some(line) = line {
            let _ = writeln!(std::io::stderr().lock(), "{line}");
        }
    }
    if let Some(groups) = &mut groups {
        groups.finish();
    }
    summary
}

/// Hands a line to where it belongs.
fn group(groups: &mut Groups<Stderr>, event: &Event, line: &str) {
    let moment = match &event.kind {
        EventKind::Started => Moment::Begins,
        EventKind::Finished(_) | EventKind::Failed | EventKind::Stopped => Moment::Ends,
        _ => Moment::Works,
    };
    match event.step {
        Some(step) => groups.step(step, moment, line),
        None => groups.line(line),
    }
}

fn plain_line(event: &Event, graph: &Graph, summary: &Summary) -> Option<String> {
    let Some(step) = event.step else {
        return match &event.kind {
            EventKind::Notice(text) | EventKind::Transfer(text) => Some(format!("[kairn] {text}")),
            EventKind::Warning(text) => Some(format!("[kairn] warning: {text}")),
            _ => None,
        };
    };
    let (prefix, text) = step_name(graph, step);
    Some(match &event.kind {
        EventKind::Started => format!("[{prefix}] {text}"),
        EventKind::Output(line) => format!("[{prefix}] | {}", printable(line)),
        EventKind::Ended => return None,
        EventKind::Cause(cause) => format!("[{prefix}] because {cause}"),
        EventKind::Finished(Completion::Cached { from: None }) => format!("[{prefix}] cached: {text}"),
        EventKind::Finished(Completion::Cached { from: Some(from) }) => {
            format!("[{prefix}] cached in {from}: {text}")
        }
        EventKind::Finished(Completion::Done) => {
            let seconds = summary.times.get(&step).map_or(0.0, |time| time.duration.as_secs_f64());
            format!("[{prefix}] done {seconds:.1}s")
        }
        EventKind::Failed => format!("[{prefix}] failed: {text}"),
        EventKind::Stopped => format!("[{prefix}] stopped: {text}"),
        EventKind::Skipped { because } => {
            format!("[{prefix}] skipped, because {} failed: {text}", step_name(graph, *because).0)
        }
        EventKind::Artifact(written) => format!("[{prefix}] {}", copied(written)),
        EventKind::Notice(notice) => format!("[{prefix}] note: {notice}"),
        EventKind::Warning(warning) => format!("[{prefix}] warning: {warning}"),
        EventKind::Transfer(transfer) => format!("[{prefix}] {transfer}"),
    })
}

fn copied(written: &WrittenArtifact) -> String {
    let (files, size) = (written.files, bytes(written.size_bytes));
    format!("copied `{}` out to `{}` ({files} files, {size})", written.path, written.dest.display())
}

/// A line as a terminal shows it: only what follows the last carriage return.
fn printable(line: &str) -> &str {
    let line = line.trim_end_matches('\r');
    line.rsplit('\r').next().unwrap_or(line)
}

fn json_line(event: &Event, graph: &Graph, labels: &BTreeMap<StepId, String>, start: Instant) -> String {
    let time_ns = u64::try_from(event.time.saturating_duration_since(start).as_nanos()).unwrap_or(u64::MAX);
    let (name, detail) = match &event.kind {
        EventKind::Started => ("step-started", json!({})),
        EventKind::Output(line) => ("step-output", json!({ "line": line })),
        EventKind::Finished(completion) => {
            let from = if let Completion::Cached { from } = completion { from.as_deref() } else { None };
            ("step-finished", json!({ "cached": *completion != Completion::Done, "from": from }))
        }
        EventKind::Failed => ("step-failed", json!({})),
        EventKind::Stopped => ("step-stopped", json!({})),
        EventKind::Skipped { because } => ("step-skipped", json!({ "because": labels.get(because) })),
        EventKind::Artifact(written) => (
            "artifact",
            json!({
                "path": written.path, "dest": written.dest, "files": written.files,
                "size_bytes": written.size_bytes,
            }),
        ),
        EventKind::Notice(text) => ("notice", json!({ "text": text })),
        EventKind::Warning(text) => ("warning", json!({ "text": text })),
        EventKind::Ended => ("ended", json!({})),
        EventKind::Cause(text) => ("step-cause", json!({ "text": text })),
        EventKind::Transfer(text) => ("transfer", json!({ "text": text })),
    };
    let mut object = json!({ "event": name, "time_ns": time_ns });
    if let Some(fields) = object.as_object_mut() {
        if let Some(step) = event.step {
            let (_, text) = step_name(graph, step);
            let stage = graph.origins.get(&step).and_then(|o| o.first()).map_or("", |o| o.stage.as_str());
            fields.insert("step".to_owned(), json!(labels.get(&step)));
            fields.insert("stage".to_owned(), json!(stage));
            fields.insert("name".to_owned(), json!(text));
        }
        if let serde_json::Value::Object(detail) = detail {
            fields.extend(detail);
        }
    }
    object.to_string()
}
