//! What became of each step of a build, for the record of it and for starting over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use kairn_compiler::{Graph, Op, StepId};
use kairn_image::Digest;

use crate::explain::Cause;
use crate::explain::previous::place;
use crate::store::{StepReport, Verdict};

/// What became of the steps so far.
#[derive(Debug, Default)]
pub struct Ledger {
    lines: Mutex<BTreeMap<StepId, Line>>,
    /// Keys of the results that were taken without having their layers, by the layers' blobs.
    lent: Mutex<BTreeMap<Digest, BTreeSet<Digest>>>,
}

/// What became of one step.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its key, where it has one.
    pub key: Option<Digest>,
    /// The content of what it gave.
    pub content: Option<Digest>,
    /// What became of it.
    pub verdict: Verdict,
    /// Why it worked.
    pub causes: Vec<Cause>,
    /// How long its work took, or once took, in milliseconds.
    pub duration_ms: u64,
    /// Bytes of its layer.
    pub size_bytes: u64,
}

impl Line {
    /// A line that says no more than the verdict.
    pub fn new(verdict: Verdict) -> Self {
        Self { key: None, content: None, verdict, causes: Vec::new(), duration_ms: 0, size_bytes: 0 }
    }
}

impl Ledger {
    /// Notes what became of a step. A step that worked has worked, also where it is found in the store afterwards.
    pub fn note(&self, step: StepId, line: Line) {
        let mut lines = self.lines.lock().expect("no holder of this lock panics");
        let has_worked = lines.get(&step).is_some_and(|known| known.verdict == Verdict::Miss);
        if !(has_worked && matches!(line.verdict, Verdict::Hit { .. })) {
            lines.insert(step, line);
        }
    }

    /// Says whether something is known of a step.
    pub fn has(&self, step: StepId) -> bool {
        self.lines.lock().expect("no holder of this lock panics").contains_key(&step)
    }

    /// Notes that a step failed, or was only stopped.
    pub fn fail(&self, step: StepId, was_stopped: bool) {
        let mut lines = self.lines.lock().expect("no holder of this lock panics");
        let line = if was_stopped { Line::new(Verdict::NotReached) } else { Line::new(Verdict::Failed) };
        let known = lines.entry(step).or_insert_with(|| line.clone());
        if was_stopped {
            *known = line;
        } else {
            known.verdict = Verdict::Failed;
        }
    }

    /// Notes that a step is not begun, unless something is known of it; says whether that was news.
    pub fn skip(&self, step: StepId) -> bool {
        let mut lines = self.lines.lock().expect("no holder of this lock panics");
        let is_news = !lines.contains_key(&step);
        lines.entry(step).or_insert_with(|| Line::new(Verdict::NotReached));
        is_news
    }

    /// Whether one of some steps had to work.
    pub fn worked(&self, steps: &BTreeSet<StepId>) -> bool {
        let lines = self.lines.lock().expect("no holder of this lock panics");
        let verdicts = steps.iter().filter_map(|step| lines.get(step)).map(|line| &line.verdict);
        verdicts.into_iter().any(|verdict| matches!(verdict, Verdict::Miss | Verdict::Failed))
    }

    /// Notes a result that was taken without having its layer.
    pub fn lend(&self, blob: Digest, key: Digest) {
        self.lent.lock().expect("no holder of this lock panics").entry(blob).or_default().insert(key);
    }

    /// Keys of the results that were taken without having these layers.
    pub fn lent(&self, blobs: &[Digest]) -> BTreeSet<Digest> {
        let lent = self.lent.lock().expect("no holder of this lock panics");
        blobs.iter().filter_map(|blob| lent.get(blob)).flatten().copied().collect()
    }

    /// The steps that give layers of some step's state, by key.
    pub fn keys(&self, steps: impl IntoIterator<Item = StepId>) -> Vec<Digest> {
        let lines = self.lines.lock().expect("no holder of this lock panics");
        steps.into_iter().filter_map(|step| lines.get(&step)?.key).collect()
    }

    /// Keys of all steps that have one.
    pub fn all_keys(&self) -> BTreeMap<StepId, Digest> {
        let lines = self.lines.lock().expect("no holder of this lock panics");
        lines.iter().filter_map(|(step, line)| Some((*step, line.key?))).collect()
    }

    /// The report of all steps of a graph, each after its inputs.
    pub fn reports(&self, graph: &Graph) -> Vec<StepReport> {
        let lines = self.lines.lock().expect("no holder of this lock panics");
        let steps = graph.topological().into_iter().zip(1..);
        steps
            .map(|(step, number)| {
                let line = lines.get(&step).cloned().unwrap_or_else(|| Line::new(Verdict::NotReached));
                let origins = graph.origins.get(&step).into_iter().flatten();
                let total = graph.origins.get(&step).and_then(|o| o.first()).map_or(0, |o| o.total);
                let op = graph.op(step);
                let image = if let Op::Image(image) = op {
                    Some((image.reference.clone(), image.manifest_digest))
                } else {
                    None
                };
                StepReport {
                    label: format!("s{number}"),
                    place: place(graph, step),
                    stages: origins.map(|origin| origin.stage.clone()).collect(),
                    total,
                    op: name(op).to_owned(),
                    key: line.key,
                    content: line.content,
                    image,
                    verdict: line.verdict,
                    causes: line.causes,
                    duration_ms: line.duration_ms,
                    size_bytes: line.size_bytes,
                }
            })
            .collect()
    }
}

fn name(op: &Op) -> &'static str {
    match op {
        Op::Scratch => "scratch",
        Op::Image(_) => "image",
        Op::Context(_) => "context",
        Op::Http(_) => "http",
        Op::Git(_) => "git",
        Op::Inline(_) => "inline",
        Op::Run(_) => "run",
        Op::Copy(_) => "copy",
        Op::Workdir(_) => "workdir",
        Op::Link => "link",
    }
}
