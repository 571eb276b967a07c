//! The names in one image: its stages, its target, what it requires, which other images it needs.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use kairn_image::Platform;
use kairn_spec::dockerfile::{InstructionKind, parse_trigger};
use kairn_spec::{Diagnostic, FileId, Span};

use super::{Id, Workspace, ids};
use crate::compile::arguments::Globals;
use crate::compile::mentions::{Reader, Walk};
use crate::compile::reach::needed_by_text;
use crate::compile::siblings::{Key, Siblings};
use crate::compile::source::{Failure, ImageSource, ResolvedImage};
use crate::compile::stages::{self, Named, Stages};
use crate::compile::units::{Required, Requirement, StageDemand, Unit};
use crate::compile::{CompileError, CompileOptions, PlatformChoice, Purpose, lint};
use crate::graph::ImageEdge;

/// Finds the images that some images need, themselves included, as far as that can be told from those that are read.
pub fn needed(units: &[Unit], selected: &[usize]) -> BTreeSet<usize> {
    let siblings = Siblings::new(units);
    let mut workspace = Workspace::new(units, &siblings, &Nobody);
    let mut needed: BTreeSet<usize> = selected.iter().copied().collect();
    let mut todo = VecDeque::from(ids(units, selected));
    let mut seen = HashSet::new();
    while let Some(id) = todo.pop_front() {
        needed.insert(id.0);
        if !units[id.0].is_read || !seen.insert(id.clone()) {
            continue;
        }
        let Ok(prepared) = workspace.names(&id) else { continue };
        todo.extend(prepared.needs.iter().map(|(key, _)| key.id()));
        todo.extend(prepared.triggered().iter().map(Key::id));
        todo.extend(ids(units, &prepared.gate_images));
    }
    needed
}

/// A source that is not asked.
struct Nobody;

impl ImageSource for Nobody {
    fn resolve(&self, reference: &str, _platform: &Platform) -> Result<ResolvedImage, Failure> {
        Err(format!("nobody is asked for {reference}").into())
    }
}

/// An image whose names are resolved.
pub(super) struct Prepared<'a> {
    pub(super) unit: &'a Unit,
    pub(super) stages: Stages<'a>,
    pub(super) target: usize,
    /// Stages of its own that it requires.
    pub(super) gates: Vec<usize>,
    /// Other images that it requires.
    pub(super) gate_images: Vec<usize>,
    /// Files, and the stages that they are copied out of.
    pub(super) artifacts: Vec<usize>,
    /// The other images that its text names, with the bytes.
    pub(super) needs: Vec<(Key, Span)>,
}

impl Prepared<'_> {
    /// The other images that triggers of its stages name: images that are built on it need them.
    pub(super) fn triggered(&self) -> Vec<Key> {
        let mut triggered = Vec::new();
        for stage in &self.stages.list {
            let texts = stage.syntax.instructions.iter().filter_map(|instruction| match &instruction.kind {
                InstructionKind::Onbuild(text) => Some(&text.value),
                _ => None,
            });
            let Stages { globals, options, escape, .. } = &self.stages;
            let mut walk = Walk::new(Some(&stage.variables), globals, options, *escape);
            for trigger in texts.filter_map(|text| parse_trigger(text).ok()) {
                let mentions = walk.instruction(&trigger, &mut Vec::new());
                let reads = self.stages.reads(mentions, &mut Vec::new());
                triggered.extend(reads.into_iter().filter_map(|read| match read.named {
                    Named::Sibling(key) => Some(key),
                    _ => None,
                }));
            }
        }
        triggered
    }

    /// The stages that have to be reached.
    pub(super) fn targets(&self) -> Vec<usize> {
        let is_check = self.stages.options.purpose == Purpose::Check && self.stages.options.target.is_none();
        if is_check {
            return (0..self.stages.list.len()).collect();
        }
        self.wanted()
    }

    /// The stages that somebody wants.
    pub(super) fn wanted(&self) -> Vec<usize> {
        let mut targets = vec![self.target];
        targets.extend(self.gates.iter().chain(&self.artifacts));
        targets
    }
}

impl<'a> Workspace<'a> {
    /// Resolves the names in an image, for a platform.
    pub(super) fn names(&mut self, (image, platform): &Id) -> Result<Prepared<'a>, CompileError> {
        let unit = &self.units[*image];
        let is_implied = unit.platforms.is_empty() && *platform == unit.options.platform;
        let options = CompileOptions {
            platform: platform.clone(),
            platform_choice: if is_implied { unit.options.platform_choice } else { PlatformChoice::Explicit },
            ..unit.options.clone()
        };
        let options = Arc::new(options);
        let mut found = Vec::new();
        let globals = Arc::new(Globals::new(&unit.dockerfile, &options, &mut found));
        lint::default_bases(&unit.dockerfile, &options, &mut found);
        let stages = Stages::new(&unit.dockerfile, &globals, &options, (self.siblings, *image), &mut found);
        self.take(unit.file, found);
        let names: Vec<_> = unit.dockerfile.stages.iter().map(|stage| stage.name.as_ref()).collect();
        let target = match (stages::find_target(unit.options.target.as_deref(), &names), unit.target_at) {
            (Ok(target), _) => target,
            (Err(error), Some(at)) => {
                self.unknown_stage(error, at);
                names.len().saturating_sub(1)
            }
            // Mistakes in the text come first.
            (Err(error), None) => {
                self.no_errors()?;
                return Err(error);
            }
        };
        let mut stage = |name: &str, at: (FileId, Span)| match stages::find_target(Some(name), &names) {
            Ok(stage) => Some(stage),
            Err(error) => {
                self.unknown_stage(error, at);
                None
            }
        };
        let mut gates = Vec::new();
        let mut images = Vec::new();
        for Requirement { what, file, span } in &unit.requires {
            match what {
                Required::Stage(name) => gates.extend(stage(name, (*file, *span))),
                Required::Image(name) => images.push((name, *file, *span)),
            }
        }
        let artifacts = unit.artifacts.iter().map(|wish| match &wish.stage {
            None => target,
            Some(name) => stage(name, (wish.file, wish.span)).unwrap_or(target),
        });
        let artifacts = artifacts.collect();
        for StageDemand { stage: name, demand: _, file, span } in &unit.stage_demands {
            stage(name, (*file, *span));
        }
        let mut gate_images = Vec::new();
        for (name, file, span) in images {
            match self.siblings.by_name(name) {
                Some(required) if required != *image => gate_images.push(required),
                found => {
                    let text = match found {
                        Some(_) => format!("the image `{name}` requires itself"),
                        None => format!("there is no image `{name}`"),
                    };
                    self.diagnostics.push(Diagnostic::error("unknown-image", span, text).in_file(file));
                }
            }
        }
        let mut prepared =
            Prepared { unit, stages, target, gates, gate_images, artifacts, needs: Vec::new() };
        self.edges(&mut prepared);
        Ok(prepared)
    }

    /// Notes which other images the text of the needed stages names.
    fn edges(&mut self, prepared: &mut Prepared<'a>) {
        let Prepared { unit, stages, .. } = &*prepared;
        let mut needs = Vec::new();
        for index in needed_by_text(stages, &prepared.targets()) {
            let stage = &stages.list[index];
            if let Named::Sibling(key) = &stage.base {
                needs.push((key.clone(), stage.syntax.base.span, format!("FROM {}", stage.syntax.base.raw)));
            }
            for (reads, instruction) in stage.reads.iter().zip(&stage.syntax.instructions) {
                for read in reads {
                    if let Named::Sibling(key) = &read.named {
                        let flag = match read.reader {
                            Reader::Copy => "--from",
                            Reader::Mount(_) => "--mount from",
                        };
                        let text = format!("{} {flag}={}", instruction.keyword.value, read.text);
                        needs.push((key.clone(), read.span, text));
                    }
                }
            }
        }
        for (key, span, text) in &needs {
            self.builder.edge(ImageEdge {
                from: unit.name.clone(),
                to: self.siblings.name(key.image).to_owned(),
                why: format!("{text}: {}", key.how),
                file: unit.file,
                span: *span,
            });
        }
        for (requirement, image) in unit
            .requires
            .iter()
            .filter(|requirement| matches!(requirement.what, Required::Image(_)))
            .zip(&prepared.gate_images)
        {
            self.builder.edge(ImageEdge {
                from: unit.name.clone(),
                to: self.siblings.name(*image).to_owned(),
                why: "requires".to_owned(),
                file: requirement.file,
                span: requirement.span,
            });
        }
        prepared.needs = needs.into_iter().map(|(key, span, _)| (key, span)).collect();
    }

    fn unknown_stage(&mut self, error: CompileError, (file, span): (FileId, Span)) {
        match error {
            CompileError::UnknownTarget { name, known, suggestion } => {
                let error = Diagnostic::error("unknown-stage", span, format!("there is no stage `{name}`"));
                let near = suggestion.map_or_else(String::new, |name| format!("did you mean `{name}`? "));
                let help = format!("{near}the stages are: {}", known.join(", "));
                self.diagnostics.push(error.with_help(help).in_file(file));
            }
            CompileError::Diagnostics(found) => self.take(file, found),
            CompileError::Source { .. } => unreachable!("no image was asked for"),
        }
    }
}
