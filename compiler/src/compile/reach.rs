//! What the target needs: stages, images, and the triggers of bases, which may need more.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use kairn_spec::dockerfile::{Instruction, InstructionKind, parse_trigger};
use kairn_spec::{Diagnostic, Span};

use super::CompileError;
use super::source::{ImageSource, ResolvedImage, Wish, resolve_all};
use super::stages::{Named, Stages};

/// The stages and images that the target needs.
#[derive(Debug)]
pub(crate) struct Reach<'a> {
    stages: &'a Stages<'a>,
    /// Triggers of each reached stage, in the order of the text.
    reached: BTreeMap<usize, Vec<Trigger>>,
    images: HashMap<Wish, Arc<ResolvedImage>>,
    /// Reached stages that are not looked at yet.
    todo: Vec<usize>,
    /// Reached stages whose base is not resolved yet.
    waiting: Vec<usize>,
    /// Images that are not resolved yet, by the place of the instruction that asks first.
    wishes: BTreeMap<(Span, Wish), String>,
}

/// An ONBUILD instruction of a base, about to run.
#[derive(Clone, Debug)]
pub(crate) struct Trigger {
    pub(crate) instruction: Instruction,
    pub(crate) text: String,
}

impl<'a> Reach<'a> {
    /// Walks from the target, resolving images in rounds until no trigger asks for more.
    pub(crate) fn new(
        stages: &'a Stages<'a>,
        target: usize,
        source: &dyn ImageSource,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<Self, CompileError> {
        let mut reach = Self {
            stages,
            reached: BTreeMap::new(),
            images: HashMap::new(),
            todo: vec![target],
            waiting: Vec::new(),
            wishes: BTreeMap::new(),
        };
        loop {
            while let Some(index) = reach.todo.pop() {
                reach.visit(index, diagnostics);
            }
            if reach.wishes.is_empty() {
                return Ok(reach);
            }
            reach.resolve(source)?;
            for index in std::mem::take(&mut reach.waiting) {
                reach.fire_image_triggers(index, diagnostics);
            }
        }
    }

    /// Returns the reached stages in the order of the text.
    pub(crate) fn stages(&self) -> impl Iterator<Item = usize> {
        self.reached.keys().copied()
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
        for (needed, span) in stages.needs_of(index) {
            self.need(index, needed, span, diagnostics);
        }
        match &stage.base {
            Named::Image(wish) => {
                self.wish(wish, stage.syntax.span, &stage.syntax.base.raw);
                self.fire_image_triggers(index, diagnostics);
            }
            Named::Scratch => {}
            Named::Stage(parent) => {
                let triggers =
                    stages.list[*parent].syntax.instructions.iter().filter_map(onbuild_text).collect();
                self.fire(index, triggers, diagnostics);
            }
        }
        for instruction in &stage.syntax.instructions {
            self.wish_source(instruction, instruction.span);
        }
    }

    fn need(&mut self, index: usize, needed: usize, span: Span, diagnostics: &mut Vec<Diagnostic>) {
        if needed < index {
            self.todo.push(needed);
            return;
        }
        let stages = self.stages;
        let (this, other) = (stages.list[index].label(), &stages.list[needed]);
        let text = format!("stage `{this}` copies from `{}`, which is defined after it", other.label());
        diagnostics.push(
            Diagnostic::error("later-stage", span, text)
                .with_related(other.syntax.span, format!("`{}` is defined here", other.label()))
                .with_help(format!("move the stage `{}` above `{this}`", other.label())),
        );
    }

    fn wish(&mut self, wish: &Wish, span: Span, written: &str) {
        if !self.images.contains_key(wish) {
            self.wishes.insert((span, wish.clone()), written.to_owned());
        }
    }

    /// Wishes for the image of a COPY --from, if it names one.
    fn wish_source(&mut self, instruction: &Instruction, span: Span) {
        let InstructionKind::Copy(copy) = &instruction.kind else { return };
        let Some(from) = &copy.from else { return };
        // Names that are wrong have been reported.
        if let Ok(Named::Image(wish)) = self.stages.named(from) {
            self.wish(&wish, span, &from.value);
        }
    }

    fn resolve(&mut self, source: &dyn ImageSource) -> Result<(), CompileError> {
        let mut known = HashSet::new();
        let first: Vec<(Span, Wish, String)> = std::mem::take(&mut self.wishes)
            .into_iter()
            .filter(|((_, wish), _)| known.insert(wish.clone()))
            .map(|((span, wish), written)| (span, wish, written))
            .collect();
        let wishes: Vec<Wish> = first.iter().map(|(_, wish, _)| wish.clone()).collect();
        for ((span, wish, written), answer) in first.into_iter().zip(resolve_all(&wishes, source)) {
            match answer {
                Ok(image) => {
                    self.images.insert(wish, Arc::new(image));
                }
                Err(error) => {
                    let suggestion = self.stages.near(&written).map(str::to_owned);
                    return Err(CompileError::Source { reference: wish.0, span, suggestion, error });
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
        for text in texts {
            let instruction = match parse_trigger(text) {
                Ok(instruction) => instruction,
                Err(errors) => {
                    diagnostics.extend(errors.into_iter().map(|error| of_trigger(error, span, text)));
                    continue;
                }
            };
            if let InstructionKind::Copy(copy) = &instruction.kind
                && let Some(from) = &copy.from
            {
                match stages.named(from) {
                    Ok(Named::Stage(needed)) => {
                        let before = diagnostics.len();
                        self.need(index, needed, span, diagnostics);
                        let errors: Vec<_> = diagnostics.drain(before..).collect();
                        diagnostics.extend(errors.into_iter().map(|error| of_trigger(error, span, text)));
                    }
                    Ok(Named::Scratch | Named::Image(_)) => {}
                    Err(error) => diagnostics.push(of_trigger(error, span, text)),
                }
            }
            self.wish_source(&instruction, span);
            let triggers = self.reached.entry(index).or_default();
            triggers.push(Trigger { instruction, text: text.to_owned() });
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
