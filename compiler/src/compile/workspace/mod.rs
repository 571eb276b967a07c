//! The images of a build: each for each of its platforms, in the order in which they need each other, into one graph.

mod prepared;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use kairn_image::Platform;
use kairn_spec::{Diagnostic, FileId, Severity, Span};

use self::prepared::Prepared;
pub use self::prepared::needed;
use super::arguments;
use super::lower::{self, BuiltImages, Lower};
use super::reach::{Reach, Unreached, needed_by_text};
use super::siblings::{Key, Siblings};
use super::source::{ImageSource, Pool, Wish};
use super::stages::Named;
use super::units::Unit;
use super::{CompileError, Compiled, EPOCH, Purpose, lint, without_errors};
use crate::graph::{GraphBuilder, ImageEdge};

/// An image for a platform.
type Id = (usize, Platform);

/// Compiles images, and those of the other images that they need, into one graph; only `selected` become images of it, each
/// once for each of its platforms, in the order of the units.
///
/// All stages have their names resolved and their FROM expanded; only those that the targets need go further, and only
/// their images are asked of `source`: in parallel, each image of each platform once. A name that is that of another image
/// is that image.
///
/// # Errors
/// All mistakes of the files that one phase can see; an unknown target; the first image in the order of the text that
/// cannot be resolved.
pub fn compile_all(
    units: &[Unit],
    selected: &[usize],
    source: &dyn ImageSource,
) -> Result<Compiled, CompileError> {
    let siblings = Siblings::new(units);
    let mut workspace = Workspace::new(units, &siblings, source);
    let wanted = ids(units, selected);
    workspace.prepare(wanted.clone())?;
    workspace.no_errors()?;
    let order = workspace.order()?;
    workspace.resolve();
    for id in order {
        workspace.ensure(&id, &mut Vec::new())?;
    }
    workspace.note_unused();
    workspace.no_errors()?;
    workspace.finish(&wanted)
}

fn ids(units: &[Unit], selected: &[usize]) -> Vec<Id> {
    let platforms =
        |&image: &usize| units[image].build_platforms().into_iter().map(move |platform| (image, platform));
    selected.iter().flat_map(platforms).collect()
}

struct Workspace<'a> {
    units: &'a [Unit],
    siblings: &'a Siblings,
    prepared: HashMap<Id, Prepared<'a>>,
    /// What is prepared, in the order in which it was found.
    found: Vec<Id>,
    built: BuiltImages,
    failed: HashSet<Id>,
    pool: Pool<'a>,
    builder: GraphBuilder,
    diagnostics: Vec<Diagnostic>,
    /// Stages that an image does not use, and how many images of the file do not.
    unused: BTreeMap<(FileId, Span), (Diagnostic, usize)>,
    notices: Vec<String>,
}

impl<'a> Workspace<'a> {
    fn new(units: &'a [Unit], siblings: &'a Siblings, source: &'a dyn ImageSource) -> Self {
        Self {
            units,
            siblings,
            prepared: HashMap::new(),
            found: Vec::new(),
            built: BuiltImages::new(),
            failed: HashSet::new(),
            pool: Pool::new(source),
            builder: GraphBuilder::default(),
            diagnostics: Vec::new(),
            unused: BTreeMap::new(),
            notices: Vec::new(),
        }
    }

    /// Returns the mistakes so far, if there are any.
    fn no_errors(&mut self) -> Result<(), CompileError> {
        self.diagnostics = without_errors(std::mem::take(&mut self.diagnostics))?;
        Ok(())
    }

    /// Resolves the names in images, and in those that they name.
    fn prepare(&mut self, ids: Vec<Id>) -> Result<(), CompileError> {
        let mut todo = VecDeque::from(ids);
        while let Some(id) = todo.pop_front() {
            if self.prepared.contains_key(&id) {
                continue;
            }
            let prepared = self.names(&id)?;
            todo.extend(prepared.needs.iter().map(|(key, _)| key.id()));
            for &image in &prepared.gate_images {
                todo.extend(
                    self.units[image].build_platforms().into_iter().map(|platform| (image, platform)),
                );
            }
            self.found.push(id.clone());
            self.prepared.insert(id, prepared);
        }
        Ok(())
    }

    fn take(&mut self, file: FileId, found: Vec<Diagnostic>) {
        for found in found {
            let found = found.in_file(file);
            if found.code == lint::UNUSED_STAGE {
                self.unused.entry((file, found.span)).or_insert((found, 0)).1 += 1;
            } else {
                self.diagnostics.push(found);
            }
        }
    }

    /// A stage is unused where no image of its file uses it.
    fn note_unused(&mut self) {
        for ((file, _), (found, count)) in std::mem::take(&mut self.unused) {
            if self.prepared.values().filter(|prepared| prepared.unit.file == file).count() == count {
                self.diagnostics.push(found);
            }
        }
    }

    /// Orders the images: each after those that its text names.
    fn order(&mut self) -> Result<Vec<Id>, CompileError> {
        let mut order = Vec::new();
        let mut done: HashSet<Id> = HashSet::new();
        let mut path: Vec<Id> = Vec::new();
        let mut todo: Vec<(Id, bool)> = self.found.iter().rev().map(|id| (id.clone(), false)).collect();
        while let Some((id, is_leaving)) = todo.pop() {
            if is_leaving {
                path.pop();
                if done.insert(id.clone()) {
                    order.push(id);
                }
                continue;
            }
            if done.contains(&id) {
                continue;
            }
            path.push(id.clone());
            todo.push((id.clone(), true));
            let Some(prepared) = self.prepared.get(&id) else { continue };
            for (key, span) in prepared.needs.iter().rev() {
                let next = key.id();
                match path.iter().position(|known| *known == next) {
                    Some(at) => {
                        let error = self.cycle(&path[at..], *span).in_file(prepared.unit.file);
                        self.diagnostics.push(error);
                    }
                    None => todo.push((next, false)),
                }
            }
        }
        self.no_errors()?;
        Ok(order)
    }

    fn cycle(&self, path: &[Id], span: Span) -> Diagnostic {
        let names: Vec<String> = (path.iter().chain(path.first()))
            .map(|(image, _)| format!("`{}`", self.siblings.name(*image)))
            .collect();
        let text = format!("the image {} needs itself: {}", names[0], names.join(" -> "));
        let error = Diagnostic::error("image-cycle", span, text);
        error.with_help("an entry in `contexts` says what else a name stands for, as `docker-image://REF`")
    }

    /// Asks for all the images that the text of the needed stages names, together.
    fn resolve(&mut self) {
        let mut wishes: Vec<Wish> = Vec::new();
        for id in &self.found {
            let prepared = &self.prepared[id];
            for index in needed_by_text(&prepared.stages, &prepared.targets()) {
                let stage = &prepared.stages.list[index];
                let named =
                    std::iter::once(&stage.base).chain(stage.reads.iter().flatten().map(|read| &read.named));
                wishes.extend(named.filter_map(|named| match named {
                    Named::Image(wish) => Some(wish.clone()),
                    _ => None,
                }));
            }
        }
        self.pool.resolve(wishes);
    }

    /// Lowers an image, after those that its triggers need as well.
    fn ensure(&mut self, id: &Id, path: &mut Vec<Id>) -> Result<(), CompileError> {
        if self.built.contains_key(id) || self.failed.contains(id) {
            return Ok(());
        }
        path.push(id.clone());
        while !self.failed.contains(id) {
            let prepared = &self.prepared[id];
            if prepared.needs.iter().any(|(key, _)| self.failed.contains(&key.id())) {
                self.failed.insert(id.clone());
                break;
            }
            let mut found = Vec::new();
            let reach =
                Reach::new(&prepared.stages, prepared.targets(), &self.built, &mut self.pool, &mut found);
            let reach = match reach {
                Ok(reach) => reach,
                Err(Unreached::Missing(missing)) => {
                    self.missing(id, missing, path)?;
                    continue;
                }
                Err(Unreached::Source(Some(CompileError::Source {
                    reference,
                    span,
                    suggestion,
                    error,
                    ..
                }))) => {
                    let file = prepared.unit.file;
                    return Err(CompileError::Source { reference, file, span, suggestion, error });
                }
                Err(Unreached::Source(Some(error))) => return Err(error),
                Err(Unreached::Source(None)) => {
                    self.failed.insert(id.clone());
                    break;
                }
            };
            let is_wrong = |found: &[Diagnostic]| found.iter().any(|found| found.severity == Severity::Error);
            if !is_wrong(&found) {
                if prepared.stages.options.purpose == Purpose::Check {
                    lint::whole_file(&prepared.stages, &reach, &prepared.wanted(), &mut found);
                }
                let lower = Lower {
                    unit: prepared.unit,
                    stages: &prepared.stages,
                    reach: &reach,
                    target: prepared.target,
                    gates: &prepared.gates,
                    artifacts: &prepared.artifacts,
                    built: &self.built,
                    builder: &mut self.builder,
                    diagnostics: &mut found,
                };
                let built = Arc::new(lower::image(lower));
                let unit = prepared.unit;
                let notice = arguments::unconsumed(&unit.dockerfile, &reach, &prepared.stages.options);
                let image = if unit.name.is_empty() { String::new() } else { format!("`{}`: ", unit.name) };
                self.notices.extend(notice.map(|notice| format!("{image}{notice}")));
                if !is_wrong(&found) {
                    self.built.insert(id.clone(), built);
                }
            }
            if is_wrong(&found) {
                self.failed.insert(id.clone());
            }
            let file = prepared.unit.file;
            self.take(file, found);
            break;
        }
        path.pop();
        Ok(())
    }

    /// Lowers the images that triggers of an image need; they may be found only now.
    fn missing(
        &mut self,
        id: &Id,
        missing: Vec<(Key, Span)>,
        path: &mut Vec<Id>,
    ) -> Result<(), CompileError> {
        for (key, span) in missing {
            let next = key.id();
            let prepared = &self.prepared[id];
            let (unit, file) = (prepared.unit, prepared.unit.file);
            if let Some(at) = path.iter().position(|known| *known == next) {
                let error = self.cycle(&path[at..], span).in_file(file);
                self.diagnostics.push(error);
                self.failed.insert(next);
                self.failed.insert(id.clone());
                continue;
            }
            let why = format!("a trigger of its base: {}", key.how);
            let (from, to) = (unit.name.clone(), self.siblings.name(key.image).to_owned());
            if !self.units[key.image].is_read {
                let text = format!("a trigger of its base needs the image `{to}`, which was not read");
                let error = Diagnostic::error("image-not-read", span, text).in_file(file);
                self.diagnostics.push(error.with_help("name that image as well among those that are built"));
                self.failed.insert(next);
                self.failed.insert(id.clone());
                continue;
            }
            self.builder.edge(ImageEdge { from, to, why, file, span });
            self.prepare(vec![next.clone()])?;
            self.ensure(&next, path)?;
            if let Some(prepared) = self.prepared.get_mut(id) {
                prepared.needs.push((key, span));
            }
        }
        Ok(())
    }

    /// Makes the images that were asked for those of the graph.
    fn finish(mut self, wanted: &[Id]) -> Result<Compiled, CompileError> {
        let mut epochs: BTreeSet<Option<String>> = BTreeSet::new();
        for id in wanted {
            let Some(built) = self.built.get(id) else { continue };
            let mut target = built.target.clone();
            for gate in self.gate_steps(id) {
                if !target.gates.contains(&gate) {
                    target.gates.push(gate);
                }
            }
            self.builder.image(target);
            let stages = &self.prepared[id].stages;
            let epoch = stages
                .options
                .build_args
                .get(EPOCH)
                .map(String::as_str)
                .or_else(|| stages.globals.get(EPOCH));
            epochs.insert(epoch.map(str::to_owned));
        }
        if epochs.len() > 1 {
            let text = "images of one build have one `SOURCE_DATE_EPOCH`, and these have several";
            let error = Diagnostic::error("several-epochs", Span::default(), text);
            return Err(CompileError::Diagnostics(vec![
                error.with_help("set the environment's variable instead"),
            ]));
        }
        let warnings = without_errors(self.diagnostics)?;
        let mut notices = self.notices;
        notices.sort();
        notices.dedup();
        let source_date_epoch = epochs.into_iter().next().flatten();
        Ok(Compiled { graph: self.builder.finish(), warnings, source_date_epoch, notices })
    }

    /// The states that other images give, which an image requires: with what those require.
    fn gate_steps(&self, id: &Id) -> Vec<crate::StepId> {
        let mut steps = Vec::new();
        let mut seen = BTreeSet::new();
        let mut todo = self.prepared[id].gate_images.clone();
        while let Some(image) = todo.pop() {
            if !seen.insert(image) {
                continue;
            }
            for platform in self.units[image].build_platforms() {
                let id = (image, platform);
                if let (Some(built), Some(prepared)) = (self.built.get(&id), self.prepared.get(&id)) {
                    steps.push(built.target.step);
                    steps.extend(&built.target.gates);
                    todo.extend(&prepared.gate_images);
                }
            }
        }
        steps
    }
}
