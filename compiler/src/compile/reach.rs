//! What the target needs: stages, images, and the triggers of bases, which may need more.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use kairn_spec::dockerfile::{Instruction, InstructionKind, parse_trigger};
use kairn_spec::{Diagnostic, FileId, Span};

use super::lower::BuiltImages;
use super::mentions::Walk;
use super::siblings::Key;
use super::source::{Pool, ResolvedImage, Wish};
use super::stages::{Named, Read, Stages, needs_of};
use super::{CompileError, lint};

/// The stages and images that the target needs.
#[derive(Debug)]
pub(crate) struct Reach<'a> {
    stages: &'a Stages<'a>,
    /// Triggers of each reached stage, in the order of the text.
    reached: BTreeMap<usize, Vec<Trigger>>,
    /// The reached stages, each after those that it needs.
    order: Vec<usize>,
    images: HashMap<Wish, Arc<ResolvedImage>>,
    /// Reached stages that are not looked at yet.
    todo: Vec<usize>,
    /// Reached stages whose base is not resolved yet.
    waiting: Vec<usize>,
    /// Images that are not resolved yet, by the place of the instruction that asks first.
    wishes: BTreeMap<(Span, Wish), String>,
    /// Images of the build that are lowered.
    built: &'a BuiltImages,
    /// Those that are not, and are needed.
    missing: Vec<(Key, Span)>,
}

/// Why it cannot be said what is reached.
#[derive(Debug)]
pub(crate) enum Unreached {
    /// Other images of the build have to be lowered first.
    Missing(Vec<(Key, Span)>),
    /// An image cannot be resolved; nothing where that was said before.
    Source(Option<CompileError>),
}

/// An ONBUILD instruction of a base, about to run.
#[derive(Clone, Debug)]
pub(crate) struct Trigger {
    pub(crate) instruction: Instruction,
    pub(crate) text: String,
    /// What it reads from.
    pub(crate) reads: Vec<Read>,
}

impl<'a> Reach<'a> {
    /// Walks from the targets, resolving images in rounds until no trigger asks for more.
    pub(crate) fn new(
        stages: &'a Stages<'a>,
        targets: Vec<usize>,
        built: &'a BuiltImages,
        pool: &mut Pool<'_>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<Self, Unreached> {
        let mut reach = Self {
            built,
            missing: Vec::new(),
            stages,
            reached: BTreeMap::new(),
            order: Vec::new(),
            images: HashMap::new(),
            todo: targets,
            waiting: Vec::new(),
            wishes: BTreeMap::new(),
        };
        loop {
            while let Some(index) = reach.todo.pop() {
                reach.visit(index, diagnostics);
            }
            if reach.wishes.is_empty() {
                if !reach.missing.is_empty() {
                    return Err(Unreached::Missing(reach.missing));
                }
                reach.sort(diagnostics);
                return Ok(reach);
            }
            reach.resolve(pool).map_err(Unreached::Source)?;
            for index in std::mem::take(&mut reach.waiting) {
                reach.fire_image_triggers(index, diagnostics);
            }
        }
    }

    /// Returns the reached stages, each after those that it needs, else in the order of the text.
    pub(crate) fn stages(&self) -> impl Iterator<Item = usize> {
        self.order.iter().copied()
    }

    /// Says whether a stage is reached.
    pub(crate) fn contains(&self, stage: usize) -> bool {
        self.reached.contains_key(&stage)
    }

    /// Returns a stage and all that it needs.
    pub(crate) fn needed_by(&self, stage: usize) -> HashSet<usize> {
        let mut needed = HashSet::new();
        let mut todo = vec![stage];
        while let Some(stage) = todo.pop() {
            if needed.insert(stage) {
                todo.extend(self.needs(stage).into_iter().map(|(needed, _)| needed));
            }
        }
        needed
    }

    /// Returns the stages that a stage and its triggers need, each with the bytes that say so.
    fn needs(&self, stage: usize) -> Vec<(usize, Span)> {
        let triggers = needs_of(self.triggers_of(stage).iter().flat_map(|trigger| &trigger.reads));
        self.stages.list[stage].needs().chain(triggers).collect()
    }

    /// Returns the triggers that run at the start of a stage.
    pub(crate) fn triggers_of(&self, index: usize) -> &[Trigger] {
        self.reached.get(&index).map_or(&[], Vec::as_slice)
    }

    /// Returns the triggers of all reached stages.
    pub(crate) fn triggers(&self) -> impl Iterator<Item = &Instruction> {
        self.reached.values().flatten().map(|trigger| &trigger.instruction)
    }

    /// Returns a resolved image.
    pub(crate) fn image(&self, wish: &Wish) -> &Arc<ResolvedImage> {
        self.images.get(wish).expect("every image that a reached stage names has been resolved")
    }

    fn visit(&mut self, index: usize, diagnostics: &mut Vec<Diagnostic>) {
        if self.reached.contains_key(&index) {
            return;
        }
        self.reached.insert(index, Vec::new());
        let stages = self.stages;
        let stage = &stages.list[index];
        for (needed, span) in stage.needs() {
            self.need(index, needed, span, diagnostics);
        }
        match &stage.base {
            Named::Image(wish) => {
                self.wish(wish, stage.syntax.span, &stage.syntax.base.raw);
                self.fire_image_triggers(index, diagnostics);
            }
            Named::Scratch | Named::Files(_) => {}
            Named::Sibling(key) => match self.built.get(&key.id()) {
                Some(built) => {
                    let triggers = built.target.config.config.on_build.iter().map(String::as_str).collect();
                    self.fire(index, triggers, diagnostics);
                }
                None => self.missing.push((key.clone(), stage.syntax.base.span)),
            },
            Named::Stage(parent) => {
                let triggers =
                    stages.list[*parent].syntax.instructions.iter().filter_map(onbuild_text).collect();
                self.fire(index, triggers, diagnostics);
            }
        }
        for (reads, instruction) in stage.reads.iter().zip(&stage.syntax.instructions) {
            self.wish_sources(reads, instruction.span);
        }
    }

    fn need(&mut self, index: usize, needed: usize, span: Span, diagnostics: &mut Vec<Diagnostic>) {
        self.todo.push(needed);
        if needed > index {
            let stages = self.stages;
            diagnostics.push(lint::later_stage(span, &stages.list[index], &stages.list[needed]));
        }
    }

    /// Orders the reached stages. Only triggers, which come to light last, can still make a stage need itself.
    fn sort(&mut self, diagnostics: &mut Vec<Diagnostic>) {
        let mut todo: Vec<(usize, bool)> = self.reached.keys().rev().map(|&stage| (stage, false)).collect();
        let mut entered = HashSet::new();
        let mut done = HashSet::new();
        while let Some((stage, needs_are_done)) = todo.pop() {
            if needs_are_done {
                if done.insert(stage) {
                    self.order.push(stage);
                }
                continue;
            }
            if !entered.insert(stage) {
                continue;
            }
            todo.push((stage, true));
            let mut needs = self.needs(stage);
            needs.sort_by_key(|&(needed, _)| std::cmp::Reverse(needed));
            for (needed, span) in needs {
                if entered.contains(&needed) && !done.contains(&needed) {
                    let text = format!("stage `{}` needs itself", self.stages.list[needed].label());
                    diagnostics.push(Diagnostic::error("stage-cycle", span, text));
                }
                todo.push((needed, false));
            }
        }
    }

    fn wish(&mut self, wish: &Wish, span: Span, written: &str) {
        if !self.images.contains_key(wish) {
            self.wishes.insert((span, wish.clone()), written.to_owned());
        }
    }

    /// Wishes for the images among what an instruction reads from.
    fn wish_sources(&mut self, reads: &[Read], span: Span) {
        for read in reads {
            match &read.named {
                Named::Image(wish) => self.wish(wish, span, &read.text),
                Named::Sibling(key) if !self.built.contains_key(&key.id()) => {
                    self.missing.push((key.clone(), read.span));
                }
                Named::Sibling(_) | Named::Stage(_) | Named::Scratch | Named::Files(_) => {}
            }
        }
    }

    fn resolve(&mut self, pool: &mut Pool<'_>) -> Result<(), Option<CompileError>> {
        let wishes = std::mem::take(&mut self.wishes);
        pool.resolve(wishes.keys().map(|(_, wish)| wish.clone()));
        for ((span, wish), written) in wishes {
            match pool.take(&wish) {
                Ok(image) => {
                    self.images.insert(wish, image);
                }
                Err(error) => {
                    let suggestion = self.stages.near(&written).map(str::to_owned);
                    let file = FileId::default();
                    return Err(error.map(|error| CompileError::Source {
                        reference: wish.0,
                        file,
                        span,
                        suggestion,
                        error,
                    }));
                }
            }
        }
        Ok(())
    }

    /// Fires the triggers of a stage's image, or has the stage wait for it.
    fn fire_image_triggers(&mut self, index: usize, diagnostics: &mut Vec<Diagnostic>) {
        let Named::Image(wish) = &self.stages.list[index].base else { return };
        match self.images.get(wish).cloned() {
            None => self.waiting.push(index),
            Some(image) => {
                let texts = image.config.config.on_build.iter().map(String::as_str).collect();
                self.fire(index, texts, diagnostics);
            }
        }
    }

    fn fire(&mut self, index: usize, texts: Vec<&str>, diagnostics: &mut Vec<Diagnostic>) {
        let stages = self.stages;
        let span = stages.list[index].syntax.span;
        let below = match stages.list[index].base {
            Named::Stage(parent) => Some(&stages.list[parent].variables),
            _ => None,
        };
        let mut walk = Walk::new(below, &stages.globals, &stages.options, stages.escape);
        for text in texts {
            let before = diagnostics.len();
            match parse_trigger(text) {
                Ok(instruction) => {
                    let mentions = walk.instruction(&instruction, diagnostics);
                    let mut reads = stages.reads(mentions, diagnostics);
                    for read in &mut reads {
                        // The trigger's own bytes are not in this file.
                        read.span = span;
                    }
                    for (needed, span) in needs_of(&reads) {
                        self.need(index, needed, span, diagnostics);
                    }
                    self.wish_sources(&reads, span);
                    let triggers = self.reached.entry(index).or_default();
                    triggers.push(Trigger { instruction, text: text.to_owned(), reads });
                }
                Err(errors) => diagnostics.extend(errors),
            }
            let found: Vec<_> = diagnostics.drain(before..).collect();
            diagnostics.extend(found.into_iter().map(|found| of_trigger(found, span, text)));
        }
    }
}

fn onbuild_text(instruction: &Instruction) -> Option<&str> {
    match &instruction.kind {
        InstructionKind::Onbuild(text) => Some(&text.value),
        _ => None,
    }
}

/// Moves a diagnostic of a trigger, whose text is not in the file, to the FROM that fires it.
pub(crate) fn of_trigger(mut diagnostic: Diagnostic, from: Span, text: &str) -> Diagnostic {
    diagnostic.span = from;
    diagnostic.message = format!("{} (in the base's trigger `{text}`)", diagnostic.message);
    diagnostic
}

/// Returns the stages that some stages need by their text, themselves included; triggers may need more.
pub(crate) fn needed_by_text(stages: &Stages<'_>, targets: &[usize]) -> BTreeSet<usize> {
    let mut needed = BTreeSet::new();
    let mut todo = targets.to_vec();
    while let Some(stage) = todo.pop() {
        if needed.insert(stage) {
            todo.extend(stages.list[stage].needs().map(|(needed, _)| needed));
        }
    }
    needed
}
