//! Lowering: the instructions of the reached stages, in the order of the text, to steps and configs.

mod copy;
mod metadata;
mod mounts;
mod run;

use std::collections::HashMap;
use std::sync::Arc;

use kairn_image::{ImageConfig, Platform};
use kairn_spec::dockerfile::{Instruction, InstructionKind, Stage, Word};
use kairn_spec::{Diagnostic, Span, Spanned};

use super::arguments::{Globals, NOT_IN_ENVIRONMENT};
use super::reach::{Reach, of_trigger};
use super::siblings::Key;
use super::source::{ResolvedImage, Wish};
use super::stages::{Files, Named, Read, Stages};
use super::state::StageState;
use super::{ArtifactWish, CompileOptions, PlatformChoice, Unit, paths};
use crate::graph::{
    Archives, Artifact, BaseImage, ContextOp, CopyOp, CopySource, Demand, GraphBuilder, HttpOp, ImageOp,
    ImageTarget, Input, Op, Origin, Ownership, StepId, TargetHistory,
};
use copy::git_op;
use kairn_spec::suggest::nearest;

/// What an image is lowered with.
pub(crate) struct Lower<'a, 'd> {
    /// The image.
    pub(crate) unit: &'a Unit,
    /// Its stages.
    pub(crate) stages: &'a Stages<'a>,
    /// What is reached of them.
    pub(crate) reach: &'a Reach<'a>,
    /// The stage that is the image.
    pub(crate) target: usize,
    /// Stages that have to be well before it is published.
    pub(crate) gates: &'a [usize],
    /// The stages that its artifacts are in.
    pub(crate) artifacts: &'a [usize],
    /// The images that it may need, lowered.
    pub(crate) built: &'a BuiltImages,
    /// Where the steps go.
    pub(crate) builder: &'d mut GraphBuilder,
    /// Where mistakes go.
    pub(crate) diagnostics: &'d mut Vec<Diagnostic>,
}

/// Images that are lowered, by their places and platforms.
pub(crate) type BuiltImages = HashMap<(usize, Platform), Arc<BuiltImage>>;

/// An image that is lowered.
#[derive(Clone, Debug)]
pub(crate) struct BuiltImage {
    /// The image.
    pub(crate) target: ImageTarget,
    /// What its commands ran on.
    pub(crate) platform: Platform,
    /// The image at the bottom.
    pub(crate) base: Option<(StepId, Arc<ResolvedImage>)>,
}

/// Lowers what the target needs, and makes the target's image.
pub(crate) fn image(lower: Lower<'_, '_>) -> BuiltImage {
    let Lower { unit, stages, reach, target, gates, artifacts, built, builder, diagnostics } = lower;
    let options = &*stages.options;
    let mut lowering = Lowering {
        stages,
        globals: &stages.globals,
        options,
        unit,
        reach,
        built,
        builder,
        done: stages.list.iter().map(|_| None).collect(),
        diagnostics,
    };
    for index in reach.stages() {
        let state = lowering.stage(index);
        lowering.done[index] = Some(state);
    }
    lowering.artifacts(artifacts);
    let mut image = lowering.image(target);
    image.gates.extend(gates.iter().map(|gate| lowering.done(*gate).step));
    let state = lowering.done(target);
    BuiltImage { target: image, platform: state.platform.clone(), base: state.base.clone() }
}

struct Lowering<'a, 'd> {
    stages: &'a Stages<'a>,
    globals: &'a Globals,
    options: &'a CompileOptions,
    unit: &'a Unit,
    reach: &'a Reach<'a>,
    built: &'a BuiltImages,
    builder: &'d mut GraphBuilder,
    /// States of the stages lowered so far.
    done: Vec<Option<StageState>>,
    diagnostics: &'d mut Vec<Diagnostic>,
}

impl Lowering<'_, '_> {
    fn stage(&mut self, index: usize) -> StageState {
        let (stages, reach) = (self.stages, self.reach);
        let stage = &stages.list[index];
        let mut origins = Vec::new();
        let state = self.base(&stage.base, stage.syntax, &mut origins);
        let position = origins.len();
        let mut lowering = StageLowering { build: self, state, position, origins };
        for trigger in reach.triggers_of(index) {
            let before = lowering.build.diagnostics.len();
            let line = Line { span: stage.syntax.span, text: format!("ONBUILD {}", trigger.text) };
            lowering.instruction(&trigger.instruction, &trigger.reads, &line);
            for diagnostic in &mut lowering.build.diagnostics[before..] {
                *diagnostic = of_trigger(diagnostic.clone(), stage.syntax.span, &trigger.text);
            }
        }
        for (instruction, reads) in stage.syntax.instructions.iter().zip(&stage.reads) {
            let line = Line { span: instruction.span, text: instruction.text.clone() };
            lowering.instruction(instruction, reads, &line);
        }
        let StageLowering { state, origins, position: total, .. } = lowering;
        let (label, file) = (self.label(index), self.unit.file);
        let demand = self.unit.demand(&stages.list[index].label());
        for origin in origins {
            let PendingOrigin { step, position, line } = origin;
            let Line { span, text } = line;
            self.builder.origin(step, Origin { stage: label.clone(), position, total, text, file, span });
            if self.builder.is_run(step) && demand != Demand::default() {
                self.builder.demand(step, demand);
            }
        }
        state
    }

    /// Returns what a stage is called among those of all images.
    fn label(&self, stage: usize) -> String {
        let label = self.stages.list[stage].label();
        let image = if self.unit.name.is_empty() { String::new() } else { format!("{}/", self.unit.name) };
        let is_one = self.unit.platforms.len() < 2;
        let is_usual = self.unit.name.is_empty() || self.options.platform == self.unit.options.platform;
        let platform = if is_one && is_usual { String::new() } else { format!(" {}", self.options.platform) };
        format!("{image}{label}{platform}")
    }

    /// Notes the files that are copied out of stages.
    fn artifacts(&mut self, stages: &[usize]) {
        for (ArtifactWish { path, dest, .. }, &index) in self.unit.artifacts.iter().zip(stages) {
            let state = self.done(index);
            let step = state.step;
            let path = paths::workdir(&state.config.config.working_dir, path);
            let artifact =
                Artifact { stage: self.label(index), step, path: paths::clean(&path), dest: dest.clone() };
            self.builder.artifact(artifact);
        }
    }

    fn sibling(&self, key: &Key) -> &Arc<BuiltImage> {
        self.built.get(&key.id()).expect("an image that another needs is lowered before it")
    }

    fn base(&mut self, base: &Named, stage: &Stage, origins: &mut Vec<PendingOrigin>) -> StageState {
        match base {
            Named::Stage(parent) => StageState::child(self.done(*parent)),
            Named::Scratch => {
                StageState::scratch(self.builder.step(Op::Scratch, &[]), &self.options.platform)
            }
            Named::Image(wish) => {
                let image = Arc::clone(self.reach.image(wish));
                let step = self.image_step(&image);
                let line = Line { span: stage.span, text: from_text(stage) };
                origins.push(PendingOrigin { step, position: 1, line });
                self.check_platform(wish, &image, stage.base.span);
                StageState::image(step, &wish.1, &image)
            }
            Named::Sibling(key) => StageState::sibling(self.sibling(key)),
            Named::Files(files) => {
                let step = self.files_as_root(files);
                let line = Line { span: stage.span, text: from_text(stage) };
                origins.push(PendingOrigin { step, position: 1, line });
                let mut state = StageState::scratch(step, &self.options.platform);
                state.history.push(TargetHistory { created_by: String::new(), step: Some(step) });
                state
            }
        }
    }

    /// Returns the step that has the files of a named context.
    fn files_step(&mut self, files: &Files) -> StepId {
        let op = match files {
            Files::Local(name) => Op::Context(ContextOp { name: name.clone() }),
            Files::Git(source) => Op::Git(git_op(source, None)),
            Files::Http(url) => return self.unpacked(url),
        };
        self.builder.step(op, &[])
    }

    /// Returns a step whose root file system is the files of a named context.
    fn files_as_root(&mut self, files: &Files) -> StepId {
        if let Files::Http(url) = files {
            return self.unpacked(url);
        }
        let source = self.files_step(files);
        self.copied_to_root(source, ".", Archives::Copy)
    }

    /// Returns a step whose root file system is a web server's file, unpacked.
    fn unpacked(&mut self, url: &str) -> StepId {
        let op = HttpOp { url: url.to_owned(), name: "context".to_owned(), checksum: None };
        let source = self.builder.step(Op::Http(op), &[]);
        self.copied_to_root(source, "context", Archives::Unpack)
    }

    fn copied_to_root(&mut self, source: StepId, path: &str, archives: Archives) -> StepId {
        let scratch = self.builder.step(Op::Scratch, &[]);
        let source_of = CopySource {
            input: 0,
            path: path.to_owned(),
            parents: None,
            ownership: Ownership::Root,
            archives,
        };
        let op = CopyOp {
            sources: vec![source_of],
            dest: "/".to_owned(),
            chown: None,
            mode: None,
            excludes: Vec::new(),
        };
        self.builder.step(Op::Copy(op), &[(Input::Root, scratch), (Input::Source(0), source)])
    }

    fn done(&self, stage: usize) -> &StageState {
        self.done[stage]
            .as_ref()
            .expect("a stage that is needed is reached, and lowered before the one that needs it")
    }

    fn image_step(&mut self, image: &ResolvedImage) -> StepId {
        let diff_ids = image.config.rootfs.diff_ids.clone();
        if diff_ids.is_empty() && image.manifest.layers.is_empty() {
            return self.builder.step(Op::Scratch, &[]);
        }
        let ResolvedImage { reference, manifest_digest, .. } = image;
        let op = ImageOp { reference: reference.clone(), manifest_digest: *manifest_digest, diff_ids };
        self.builder.step(Op::Image(op), &[])
    }

    fn check_platform(&mut self, (reference, wanted): &Wish, image: &ResolvedImage, span: Span) {
        let ImageConfig { os, architecture, .. } = &image.config;
        if (os, architecture) == (&wanted.os, &wanted.architecture)
            || os.is_empty()
            || architecture.is_empty()
        {
            return;
        }
        let text = format!("`{reference}` is an image for {os}/{architecture}, not for {wanted}");
        self.diagnostics.push(Diagnostic::warning("InvalidBaseImagePlatform", span, text));
    }

    fn image(&self, target: usize) -> ImageTarget {
        let state = self.done(target);
        let mut config = state.finish();
        let labels = self.options.labels.iter().map(|(name, value)| (name.clone(), value.clone()));
        config.config.labels.extend(labels);
        if self.options.platform_choice == PlatformChoice::Explicit {
            claim_platform(&mut config, &self.options.platform);
        }
        config.variant = config.variant.filter(|variant| !is_default_variant(&config.architecture, variant));
        let platform = Platform {
            architecture: config.architecture.clone(),
            os: config.os.clone(),
            variant: config.variant.clone(),
            os_version: None,
        };
        let base = state.base.as_ref().map(|(step, image)| BaseImage {
            step: *step,
            reference: image.reference.clone(),
            manifest: image.manifest.clone(),
            created: image.config.created.clone(),
            history: image.config.history.clone(),
        });
        let named = Some(&self.unit.name).filter(|name| !name.is_empty()).cloned();
        let name = named.unwrap_or_else(|| self.stages.list[target].label());
        let history = self.history(target);
        ImageTarget { name, step: state.step, gates: Vec::new(), platform, config, base, history }
    }

    /// Returns the history of a stage after that of the stages below it.
    fn history(&self, target: usize) -> Vec<TargetHistory> {
        let below = |&stage: &usize| match self.stages.list[stage].base {
            Named::Stage(parent) => Some(parent),
            Named::Scratch | Named::Image(_) | Named::Files(_) | Named::Sibling(_) => None,
        };
        let mut chain: Vec<usize> = std::iter::successors(Some(target), below).collect();
        chain.reverse();
        let sibling = match &self.stages.list[chain[0]].base {
            Named::Sibling(key) => self.sibling(key).target.history.clone(),
            Named::Stage(_) | Named::Scratch | Named::Image(_) | Named::Files(_) => Vec::new(),
        };
        let own = chain.into_iter().flat_map(|stage| self.done(stage).history.iter().cloned());
        sibling.into_iter().chain(own).collect()
    }
}

/// Makes the config say the platform that was asked for; a variant that nobody asked for stays.
fn claim_platform(config: &mut ImageConfig, platform: &Platform) {
    let same = (&config.os, &config.architecture) == (&platform.os, &platform.architecture);
    config.os.clone_from(&platform.os);
    config.architecture.clone_from(&platform.architecture);
    if platform.variant.is_some() || !same {
        config.variant.clone_from(&platform.variant);
    }
}

/// Says whether a variant is what the architecture alone means.
fn is_default_variant(architecture: &str, variant: &str) -> bool {
    matches!((architecture, variant), ("arm64", "v8" | "8") | ("amd64", "v1") | (_, ""))
}

fn from_text(stage: &Stage) -> String {
    let platform =
        stage.platform.as_ref().map_or_else(String::new, |word| format!("--platform={} ", word.raw));
    let name = stage.name.as_ref().map_or_else(String::new, |name| format!(" AS {}", name.value));
    format!("FROM {platform}{}{name}", stage.base.raw)
}

/// The line of the file that an instruction stands on; for a trigger, the FROM.
struct Line {
    span: Span,
    text: String,
}

/// An origin while the number of the stage's steps is not known.
struct PendingOrigin {
    step: StepId,
    position: usize,
    line: Line,
}

/// One stage on its way.
struct StageLowering<'l, 'a, 'd> {
    build: &'l mut Lowering<'a, 'd>,
    state: StageState,
    /// Number of steps so far.
    position: usize,
    origins: Vec<PendingOrigin>,
}

/// An instruction was given up; its mistakes are among the diagnostics.
struct Wrong;

impl StageLowering<'_, '_, '_> {
    fn instruction(&mut self, instruction: &Instruction, reads: &[Read], line: &Line) {
        // What is wrong has been noted; the instructions after it may have mistakes of their own.
        let (Ok(()) | Err(Wrong)) = match &instruction.kind {
            InstructionKind::Cmd(command) => return self.cmd(command, line),
            InstructionKind::Entrypoint(command) => return self.entrypoint(command, line),
            InstructionKind::Healthcheck(healthcheck) => return self.healthcheck(healthcheck, line),
            InstructionKind::Maintainer(author) => return self.maintainer(&author.value),
            InstructionKind::Onbuild(trigger) => return self.onbuild(&trigger.value),
            InstructionKind::Shell(shell) => return self.shell(shell),
            InstructionKind::Add(copy) => self.add(copy, line),
            InstructionKind::Arg(declarations) => self.arg(declarations, line),
            InstructionKind::Copy(copy) => self.copy(copy, reads, line),
            InstructionKind::Env(pairs) => self.env(pairs, line),
            InstructionKind::Expose(words) => self.expose(words),
            InstructionKind::Label(pairs) => self.label(pairs),
            InstructionKind::Run(run) => self.run(run, reads, line),
            InstructionKind::Stopsignal(word) => self.stopsignal(word),
            InstructionKind::User(word) => self.user(word),
            InstructionKind::Volume(words) => self.volume(words),
            InstructionKind::Workdir(word) => self.workdir(word, line),
        };
    }

    /// Expands a word with the stage's environment.
    fn expand(&mut self, word: &Word) -> Result<String, Wrong> {
        let state = &self.state;
        let lookup = |name: &str| state.env.get(name).map(str::to_owned);
        let expansion = match word.expand(self.build.stages.escape, &lookup) {
            Ok(expansion) => expansion,
            Err(error) => return self.wrong(error),
        };
        self.note_undefined(expansion.undefined);
        Ok(expansion.value)
    }

    /// Warns of names that neither the environment nor an ARG knows.
    fn note_undefined(&mut self, undefined: Vec<Spanned<String>>) {
        let state = &self.state;
        for name in undefined {
            if state.args.contains(&name.value) || NOT_IN_ENVIRONMENT.contains(&&*name.value) {
                continue;
            }
            let text = format!("`{}` is set by no ENV and no ARG before this", name.value);
            let mut warning = Diagnostic::warning("UndefinedVar", name.span, text);
            if let Some(near) = nearest(&name.value, state.env.names()) {
                warning = warning.with_help(format!("did you mean `{near}`?"));
            }
            self.build.diagnostics.push(warning);
        }
    }

    fn expand_all<'w>(&mut self, words: impl IntoIterator<Item = &'w Word>) -> Result<Vec<String>, Wrong> {
        // Every word has its say before the first that is wrong stops the instruction.
        let expanded: Vec<_> = words.into_iter().map(|word| self.expand(word)).collect();
        expanded.into_iter().collect()
    }

    fn wrong<T>(&mut self, error: Diagnostic) -> Result<T, Wrong> {
        self.build.diagnostics.push(error);
        Err(Wrong)
    }

    /// Makes a step the stage's state, and notes which line asked for it.
    fn advance(&mut self, step: StepId, line: &Line, created_by: String) {
        self.position += 1;
        self.note_origin(step, self.position, line);
        self.state.step = step;
        self.state.history.push(TargetHistory { created_by, step: Some(step) });
    }

    fn note_origin(&mut self, step: StepId, position: usize, line: &Line) {
        let line = Line { span: line.span, text: line.text.clone() };
        self.origins.push(PendingOrigin { step, position, line });
    }

    /// Returns the step that something is read from, and whether its files keep their owners.
    fn source(&mut self, named: &Named, span: Span, line: &Line) -> (StepId, Ownership) {
        let step = match named {
            Named::Stage(stage) => self.build.done(*stage).step,
            Named::Scratch => self.build.builder.step(Op::Scratch, &[]),
            Named::Sibling(key) => self.build.sibling(key).target.step,
            Named::Image(wish) => {
                let image = Arc::clone(self.build.reach.image(wish));
                self.build.check_platform(wish, &image, span);
                let step = self.build.image_step(&image);
                // The image belongs to the instruction, and has no position of its own.
                self.note_origin(step, self.position + 1, line);
                step
            }
            Named::Files(files) => return (self.build.files_step(files), Ownership::Root),
        };
        (step, Ownership::Keep)
    }

    /// Returns the step that has the files of the build context.
    fn context(&mut self) -> StepId {
        self.build.builder.step(Op::Context(ContextOp { name: self.build.options.context.clone() }), &[])
    }

    /// Notes an instruction that only changes the config.
    fn note(&mut self, created_by: String) {
        self.state.history.push(TargetHistory { created_by, step: None });
    }
}
