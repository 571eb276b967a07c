//! What a step is compared with: the same step of the last build, or one like it of a shared cache.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use kairn_compiler::graph::{ContextOp, GitOp, HttpOp, ImageOp};
use kairn_compiler::{Graph, KeyParts, Op, StepId};
use kairn_image::Digest;

use super::compare::{Texts, changed_inputs, own_changes, secrets};
use super::lists::{self, FileList};
use super::{Cause, Change, FileChange, short};
use crate::cache::Remotes;
use crate::schedule::queue::Estimates;
use crate::store::{BuildRecord, Place, StepRecord, Store, Verdict};

/// Longest stage that is matched line by line.
const MATCHED: usize = 2000;

/// How long a command is thought to take where nobody has run one, in milliseconds.
const UNKNOWN_RUN_MS: u64 = 1000;

/// The same of what is copied or fetched.
const UNKNOWN_COPY_MS: u64 = 20;

/// Says why steps work.
#[derive(Debug)]
pub struct Explainer<'a> {
    graph: &'a Graph,
    store: &'a Store,
    remotes: &'a Remotes,
    project: &'a str,
    previous: OnceLock<Previous>,
}

/// The last build of the same thing.
#[derive(Debug, Default)]
struct Previous {
    build: Option<BuildRecord>,
    /// The step of that build that each step is compared with.
    pairs: BTreeMap<StepId, usize>,
}

/// What a step was before.
struct Before {
    record: StepRecord,
    place: Place,
}

impl<'a> Explainer<'a> {
    /// Makes one; nothing is read before the first question.
    pub fn new(graph: &'a Graph, store: &'a Store, remotes: &'a Remotes, project: &'a str) -> Self {
        Self { graph, store, remotes, project, previous: OnceLock::new() }
    }

    fn previous(&self) -> &Previous {
        self.previous.get_or_init(|| {
            let is_named = !self.project.is_empty();
            let build = is_named.then(|| self.store.last_build(self.project)).flatten();
            let pairs = build.as_ref().map(|build| pair(self.graph, build)).unwrap_or_default();
            Previous { build, pairs }
        })
    }

    /// How long steps are thought to take: as long as they took before, and a command that nobody has run yet as long as
    /// most others. Nothing where there are no two commands, one of which has to come first.
    pub fn estimates(&self) -> Estimates {
        let is_run = |step: &StepId| matches!(self.graph.op(*step), Op::Run(_));
        if self.graph.steps.node_indices().filter(is_run).count() < 2 {
            return Estimates::new();
        }
        let previous = self.previous();
        let steps = previous.build.as_ref().map_or(&[][..], |build| &build.steps);
        let known = |step: &StepId| {
            let report = &steps[*previous.pairs.get(step)?];
            Some(report.duration_ms).filter(|duration_ms| *duration_ms > 0)
        };
        let all = self.graph.steps.node_indices();
        let mut runs: Vec<u64> = all.clone().filter(is_run).filter_map(|step| known(&step)).collect();
        runs.sort_unstable();
        let usual = runs.get(runs.len() / 2).copied().unwrap_or(UNKNOWN_RUN_MS);
        let guess = |step: &StepId| match self.graph.op(*step) {
            Op::Run(_) => usual,
            Op::Copy(_) | Op::Http(_) | Op::Git(_) => UNKNOWN_COPY_MS,
            Op::Scratch | Op::Image(_) | Op::Context(_) | Op::Inline(_) | Op::Workdir(_) | Op::Link => 1,
        };
        all.map(|step| (step, known(&step).unwrap_or_else(|| guess(&step)))).collect()
    }

    /// Says why a step, whose key is not known, works; the first cause is the one that counts. `name` is the key by which
    /// builds remember the step.
    pub fn causes(
        &self,
        step: StepId,
        name: &Digest,
        parts: &KeyParts,
        files: &BTreeMap<String, FileList>,
    ) -> Vec<Cause> {
        let place = place(self.graph, step);
        let previous = self.previous();
        let report = previous
            .build
            .as_ref()
            .and_then(|build| previous.pairs.get(&step).map(|&index| &build.steps[index]));
        let mut before = None;
        if let Some(report) = report {
            if report.key == Some(*name) && report.verdict == Verdict::Failed {
                return vec![Cause::FailedBefore];
            }
            if report.key == Some(*name) {
                return vec![Cause::Evicted { when_s: None, size_bytes: report.size_bytes }];
            }
            let record = report.key.and_then(|key| self.store.record(&key));
            before = record.map(|(record, _)| Before { record, place: report.place.clone() });
        }
        match before.or_else(|| self.in_caches(&place)) {
            Some(before) => self.compare(step, &place, parts, files, &before),
            None if previous.build.is_some() && report.is_none() => vec![Cause::NewStep],
            None => vec![Cause::NeverBuilt],
        }
    }

    /// Something like the step in a shared cache.
    fn in_caches(&self, place: &Place) -> Option<Before> {
        let lists = self.remotes.lists();
        let of_stage = lists
            .iter()
            .flat_map(|(_, list)| list.entries.values())
            .filter(|entry| entry.record.place.stage == place.stage && !entry.record.parts.is_empty());
        let likeness = |record: &StepRecord| {
            let (text, position) = (record.place.text == place.text, record.place.position == place.position);
            let word = |text: &str| text.split_whitespace().next().map(str::to_owned);
            let same_word = word(&record.place.text) == word(&place.text);
            (text || (position && same_word)).then_some((text, position, record.made_s))
        };
        let best = of_stage.filter_map(|entry| Some((likeness(&entry.record)?, &entry.record)));
        best.max_by_key(|(likeness, _)| *likeness)
            .map(|(_, record)| Before { place: record.place.clone(), record: record.clone() })
    }

    fn compare(
        &self,
        step: StepId,
        place: &Place,
        parts: &KeyParts,
        files: &BTreeMap<String, FileList>,
        before: &Before,
    ) -> Vec<Cause> {
        let none = Vec::new();
        let arg_names = if let Op::Run(run) = self.graph.op(step) { &run.arg_names } else { &none };
        let texts = Texts { old: &before.place.text, new: &place.text, arg_names };
        let old = &before.record.parts;
        let mut causes = own_changes(old, &parts.parts, &texts);
        for name in changed_inputs(old, &parts.parts) {
            let change = self.input_change(step, &name, files.get(&name), before);
            let is_upstream = matches!(change, Some(Cause::Upstream { .. }));
            causes.extend(change);
            if let Some((changes, count)) = self.file_changes(&name, files.get(&name), before)
                && is_upstream
            {
                let place = "what is copied of it".to_owned();
                causes.push(Cause::Files { place, changes, count });
            }
        }
        if causes.is_empty() {
            causes.extend(secrets(&parts.parts).into_iter().map(|id| Cause::Secret { id: id.to_owned() }));
        }
        if causes.is_empty() {
            causes.push(Cause::NeverBuilt);
        }
        causes
    }

    /// Why an input has another content.
    fn input_change(
        &self,
        step: StepId,
        name: &str,
        files: Option<&FileList>,
        before: &Before,
    ) -> Option<Cause> {
        let inputs = self.graph.inputs(step);
        let source = inputs.iter().find(|(input, _)| format!("input.{input}") == name)?.1;
        let place = place(self.graph, source);
        Some(match self.graph.op(source) {
            Op::Image(image) => self.base_change(image, before),
            Op::Context(ContextOp { name: context }) => {
                let at = if context == "context" {
                    "the build context".to_owned()
                } else {
                    format!("the context `{context}`")
                };
                match self.file_changes(name, files, before) {
                    Some((changes, count)) => Cause::Files { place: at, changes, count },
                    None => Cause::Field(Change { name: format!("what is in {at}"), old: None, new: None }),
                }
            }
            Op::Http(HttpOp { url: what, .. }) | Op::Git(GitOp { remote: what, .. }) => {
                Cause::Source { what: what.clone() }
            }
            Op::Inline(_) => {
                Cause::Field(Change { name: "the text of its heredoc".to_owned(), old: None, new: None })
            }
            Op::Scratch => Cause::Field(Change {
                name: "the base".to_owned(),
                old: None,
                new: Some("scratch".to_owned()),
            }),
            Op::Run(_) | Op::Copy(_) | Op::Workdir(_) | Op::Link => {
                Cause::Upstream { stage: place.stage, text: place.text }
            }
        })
    }

    /// Which of the files behind an input changed, where both lists are known.
    fn file_changes(
        &self,
        name: &str,
        files: Option<&FileList>,
        before: &Before,
    ) -> Option<(Vec<FileChange>, usize)> {
        let list = before.record.lists.get(name)?;
        let old = self.list(&list.digest, list.size)?;
        Some(lists::differences(&old, files?)).filter(|(_, count)| *count > 0)
    }

    fn base_change(&self, image: &ImageOp, before: &Before) -> Cause {
        let steps = self.previous().build.as_ref().map_or(&[][..], |build| &build.steps);
        let known = steps
            .iter()
            .filter(|step| step.stages.contains(&before.place.stage))
            .find_map(|step| step.image.as_ref());
        let new = short(&image.manifest_digest);
        match known {
            Some((reference, _)) if *reference != image.reference => Cause::Field(Change {
                name: "the base".to_owned(),
                old: Some(reference.clone()),
                new: Some(image.reference.clone()),
            }),
            Some((_, digest)) if *digest != image.manifest_digest => {
                Cause::Base { reference: image.reference.clone(), old: short(digest), new }
            }
            _ => Cause::Base { reference: image.reference.clone(), old: "another image".to_owned(), new },
        }
    }

    /// A list of files, fetched from the cache that has it if it is not here.
    fn list(&self, digest: &Digest, size: u64) -> Option<FileList> {
        if let Some(list) = lists::read(digest, self.store) {
            return Some(list);
        }
        let blob = kairn_image::Descriptor::new(lists::MEDIA_TYPE, *digest, size);
        self.remotes.fetch_any(&blob, self.store)?;
        lists::read(digest, self.store)
    }
}

/// Where a step stands.
pub fn place(graph: &Graph, step: StepId) -> Place {
    let origin = graph.origins.get(&step).and_then(|origins| origins.first());
    origin.map_or_else(Place::default, |origin| Place {
        stage: origin.stage.clone(),
        position: origin.position,
        text: origin.text.clone(),
    })
}

/// Finds for each step the one of another build that it is compared with: the same line of the same stage where there is
/// one, else the line in its place.
fn pair(graph: &Graph, build: &BuildRecord) -> BTreeMap<StepId, usize> {
    let mut pairs = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for (stage, steps) in graph.stages() {
        let now: Vec<(StepId, Place)> = steps
            .into_iter()
            .map(|step| (step, place(graph, step)))
            .filter(|(_, place)| place.stage == stage)
            .collect();
        let was: Vec<usize> =
            (0..build.steps.len()).filter(|&index| build.steps[index].place.stage == stage).collect();
        for (step, index) in pair_stage(&now, &was, build) {
            pairs.insert(step, index);
            taken.insert(index);
        }
    }
    // A stage may have another name now.
    for step in graph.steps.node_indices() {
        let place = place(graph, step);
        if pairs.contains_key(&step) || place.text.is_empty() {
            continue;
        }
        let twin = (0..build.steps.len())
            .find(|index| build.steps[*index].place.text == place.text && !taken.contains(index));
        if let Some(twin) = twin {
            pairs.insert(step, twin);
            taken.insert(twin);
        }
    }
    pairs
}

fn pair_stage(now: &[(StepId, Place)], was: &[usize], build: &BuildRecord) -> Vec<(StepId, usize)> {
    let text_of = |index: usize| build.steps[index].place.text.as_str();
    if now.len() > MATCHED || was.len() > MATCHED {
        return now.iter().map(|(step, _)| *step).zip(was.iter().copied()).collect();
    }
    // The longest common run of lines, in order.
    let mut length = vec![vec![0_u16; was.len() + 1]; now.len() + 1];
    for i in (0..now.len()).rev() {
        for j in (0..was.len()).rev() {
            length[i][j] = if now[i].1.text == text_of(was[j]) {
                length[i + 1][j + 1] + 1
            } else {
                length[i + 1][j].max(length[i][j + 1])
            };
        }
    }
    let mut pairs = Vec::new();
    let (mut i, mut j) = (0, 0);
    let (mut odd_now, mut odd_was) = (Vec::new(), Vec::new());
    let close = |odd_now: &mut Vec<usize>, odd_was: &mut Vec<usize>, pairs: &mut Vec<(StepId, usize)>| {
        let word = |text: &str| text.split_whitespace().next().map(str::to_owned);
        // Lines between two equal ones are told apart by their instruction.
        for at in odd_now.drain(..) {
            let (step, place) = &now[at];
            let twin = odd_was.iter().position(|&index| word(text_of(index)) == word(&place.text));
            if let Some(twin) = twin {
                pairs.push((*step, odd_was.remove(twin)));
            }
        }
        odd_was.clear();
    };
    while i < now.len() && j < was.len() {
        if now[i].1.text == text_of(was[j]) {
            close(&mut odd_now, &mut odd_was, &mut pairs);
            pairs.push((now[i].0, was[j]));
            (i, j) = (i + 1, j + 1);
        } else if length[i + 1][j] >= length[i][j + 1] {
            odd_now.push(i);
            i += 1;
        } else {
            odd_was.push(was[j]);
            j += 1;
        }
    }
    odd_now.extend(i..now.len());
    odd_was.extend(was[j..].iter().copied());
    close(&mut odd_now, &mut odd_was, &mut pairs);
    pairs
}

/// The causes of a step whose result the user does not want from the cache.
pub fn forced(option: &str) -> Vec<Cause> {
    vec![Cause::Forced { option: option.to_owned() }]
}

/// What the lists of a step's record point to, once they are kept.
pub type Lists = BTreeMap<String, kairn_image::Descriptor>;

/// Keeps the lists of a step.
///
/// # Errors
/// Fails where the disk does.
pub fn keep_lists(files: &BTreeMap<String, FileList>, store: &Store) -> Result<Lists, crate::Error> {
    files.iter().map(|(name, list)| Ok((name.clone(), lists::keep(list, store)?))).collect()
}
