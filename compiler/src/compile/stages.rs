//! Stages: what their names, their FROM and their COPY --from stand for, and cycles among them.

use std::collections::{HashMap, VecDeque};

use kairn_image::Platform;
use kairn_image::reference::Reference;
use kairn_spec::dockerfile::{Dockerfile, InstructionKind, Stage, Word};
use kairn_spec::{Diagnostic, Span, Spanned};

use super::arguments::Globals;
use super::source::Wish;
use super::suggest::nearest;
use super::{CompileError, CompileOptions};

/// What a name in FROM or COPY --from stands for.
#[derive(Clone, Debug)]
pub(crate) enum Named {
    /// A stage of the file.
    Stage(usize),
    /// Nothing at all.
    Scratch,
    /// An image.
    Image(Wish),
}

/// All stages of a file, names resolved.
#[derive(Debug)]
pub(crate) struct Stages<'a> {
    pub(crate) list: Vec<ResolvedStage<'a>>,
    pub(crate) escape: char,
    /// The last stage of each name.
    by_name: HashMap<&'a str, usize>,
    platform: &'a Platform,
}

/// A stage whose FROM is known.
#[derive(Debug)]
pub(crate) struct ResolvedStage<'a> {
    pub(crate) syntax: &'a Stage,
    pub(crate) base: Named,
    /// What its commands run on.
    platform: Platform,
    /// The stages that it needs, each with the bytes that say so.
    needs: Vec<(usize, Span)>,
}

impl ResolvedStage<'_> {
    /// Returns the stage's name, or its number.
    pub(crate) fn label(&self) -> String {
        label(self.syntax)
    }
}

fn label(stage: &Stage) -> String {
    stage.name.as_ref().map_or_else(|| stage.index.to_string(), |name| name.value.clone())
}

impl<'a> Stages<'a> {
    /// Resolves the names of all stages, needed or not.
    pub(crate) fn new(
        dockerfile: &'a Dockerfile,
        globals: &Globals,
        options: &'a CompileOptions,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut stages = Self {
            list: Vec::new(),
            escape: dockerfile.escape,
            by_name: HashMap::new(),
            platform: &options.platform,
        };
        for stage in &dockerfile.stages {
            let wanted = stage.platform.as_ref().and_then(|word| platform(word, globals, diagnostics));
            let base = stages.base(stage, wanted.as_ref(), globals, diagnostics);
            let platform = stages.platform_of(&base);
            if let (Some(wanted), Some(word)) = (wanted, &stage.platform)
                && wanted != platform
            {
                diagnostics.push(ignored_platform(word, &base, &platform));
            }
            stages.list.push(ResolvedStage { syntax: stage, base, platform, needs: Vec::new() });
            if let Some(name) = &stage.name {
                stages.by_name.insert(&name.value, stage.index);
            }
        }
        for index in 0..stages.list.len() {
            stages.list[index].needs = stages.needs(index, diagnostics);
        }
        stages.report_cycles(diagnostics);
        stages
    }

    /// Finds what a `--from` names.
    pub(crate) fn named(&self, from: &Spanned<String>) -> Result<Named, Diagnostic> {
        let text = from.value.as_str();
        let expansion = Word::new(text, from.span).expand(self.escape, &|_| None)?;
        if expansion.value != text {
            return Err(Diagnostic::error(
                "variable-in-from",
                from.span,
                "variables are not expanded in `--from`",
            )
            .with_help("declare a stage with `FROM ${NAME} AS name` and copy from that"));
        }
        if let Ok(number) = text.parse::<i64>() {
            return match usize::try_from(number) {
                Ok(index) if index < self.list.len() => Ok(Named::Stage(index)),
                _ => Err(Diagnostic::error(
                    "unknown-stage",
                    from.span,
                    format!("there is no stage number {number}"),
                )
                .with_help(format!("the file has {} stages, counted from 0", self.list.len()))),
            };
        }
        if let Some(&index) = self.by_name.get(text.to_lowercase().as_str()) {
            return Ok(Named::Stage(index));
        }
        self.image(text, self.platform, from.span)
    }

    /// Returns the stages that a stage needs, its triggers left aside.
    pub(crate) fn needs_of(&self, index: usize) -> impl Iterator<Item = (usize, Span)> {
        self.list[index].needs.iter().copied()
    }

    /// Returns the name of a stage that is near to what was written, if that can be one: a stage has no tag, digest or
    /// registry.
    pub(crate) fn near(&self, written: &str) -> Option<&str> {
        if written.contains([':', '@', '/']) {
            return None;
        }
        nearest(written, self.by_name.keys().copied())
    }

    fn base(
        &self,
        stage: &Stage,
        platform: Option<&Platform>,
        globals: &Globals,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Named {
        let Some(name) = globals.expand(&stage.base, diagnostics) else { return Named::Scratch };
        if name.is_empty() {
            let text = format!("the base image `{}` expands to nothing", stage.base.raw);
            diagnostics.push(
                Diagnostic::error("empty-base", stage.base.span, text)
                    .with_help("give the ARG before the first FROM a default, or set it with `--build-arg`"),
            );
            return Named::Scratch;
        }
        if let Some(&index) = self.by_name.get(name.to_lowercase().as_str()) {
            return Named::Stage(index);
        }
        self.image(&name, platform.unwrap_or(self.platform), stage.base.span).unwrap_or_else(|error| {
            diagnostics.push(error);
            Named::Scratch
        })
    }

    /// Returns what a stage on this base runs on. As in BuildKit, only an image can be for another platform.
    fn platform_of(&self, base: &Named) -> Platform {
        match base {
            Named::Stage(stage) => self.list[*stage].platform.clone(),
            Named::Scratch => self.platform.clone(),
            Named::Image((_, platform)) => platform.clone(),
        }
    }

    fn image(&self, name: &str, platform: &Platform, span: Span) -> Result<Named, Diagnostic> {
        if name == "scratch" {
            return Ok(Named::Scratch);
        }
        let reference: Reference = name.parse().map_err(|error| {
            let diagnostic = Diagnostic::error(
                "invalid-reference",
                span,
                format!("`{name}` names no stage and no image: {error}"),
            );
            match self.near(name) {
                Some(near) => diagnostic.with_help(format!("did you mean the stage `{near}`?")),
                None => diagnostic,
            }
        })?;
        Ok(Named::Image((reference.to_string(), platform.clone())))
    }

    fn needs(&self, index: usize, diagnostics: &mut Vec<Diagnostic>) -> Vec<(usize, Span)> {
        let stage = &self.list[index];
        let mut needs = Vec::new();
        if let Named::Stage(base) = stage.base {
            needs.push((base, stage.syntax.base.span));
        }
        for instruction in &stage.syntax.instructions {
            let InstructionKind::Copy(copy) = &instruction.kind else { continue };
            let Some(from) = &copy.from else { continue };
            match self.named(from) {
                Ok(Named::Stage(source)) => needs.push((source, from.span)),
                Ok(Named::Scratch | Named::Image(_)) => {}
                Err(error) => diagnostics.push(error),
            }
        }
        needs
    }

    /// A stage can only need itself through a COPY --from that names itself or a later stage.
    fn report_cycles(&self, diagnostics: &mut Vec<Diagnostic>) {
        for (index, stage) in self.list.iter().enumerate() {
            for &(source, span) in stage.needs.iter().filter(|&&(source, _)| source >= index) {
                let Some(path) = self.path(source, index) else { continue };
                let names: Vec<_> = std::iter::once(index)
                    .chain(path.iter().map(|&(stage, _)| stage))
                    .map(|stage| format!("`{}`", self.list[stage].label()))
                    .collect();
                let text = format!("stage {} needs itself: {}", names[0], names.join(" -> "));
                let mut error = Diagnostic::error("stage-cycle", span, text);
                for pair in path.windows(2) {
                    let (needing, needed) = (self.list[pair[0].0].label(), self.list[pair[1].0].label());
                    error = error.with_related(pair[1].1, format!("`{needing}` needs `{needed}` here"));
                }
                diagnostics.push(error);
            }
        }
    }

    /// Returns the shortest chain of needs between two stages, each stage with the bytes that ask for it.
    fn path(&self, from: usize, to: usize) -> Option<Vec<(usize, Span)>> {
        let mut reached_by: HashMap<usize, (usize, Span)> = HashMap::new();
        let mut queue = VecDeque::from([from]);
        while let Some(stage) = queue.pop_front() {
            if stage == to {
                let mut path = vec![];
                let mut at = to;
                while at != from {
                    let (previous, span) = reached_by[&at];
                    path.push((at, span));
                    at = previous;
                }
                path.push((from, Span::default()));
                path.reverse();
                return Some(path);
            }
            for &(next, span) in &self.list[stage].needs {
                if next != from && !reached_by.contains_key(&next) {
                    reached_by.insert(next, (stage, span));
                    queue.push_back(next);
                }
            }
        }
        None
    }
}

fn platform(word: &Word, globals: &Globals, diagnostics: &mut Vec<Diagnostic>) -> Option<Platform> {
    let text = globals.expand(word, diagnostics)?;
    if text.is_empty() {
        let message = format!("the platform `{}` expands to nothing", word.raw);
        diagnostics.push(Diagnostic::error("empty-platform", word.span, message));
        return None;
    }
    match text.parse::<Platform>() {
        Ok(platform) => Some(platform),
        Err(error) => {
            let error = Diagnostic::error("invalid-platform", word.span, error.to_string());
            diagnostics.push(error.with_help("write `os/architecture` or `os/architecture/variant`"));
            None
        }
    }
}

fn ignored_platform(word: &Word, base: &Named, platform: &Platform) -> Diagnostic {
    let what = match base {
        Named::Stage(_) => "a stage",
        Named::Scratch | Named::Image(_) => "`scratch`",
    };
    let text = format!("`--platform` does nothing on {what}: this one is for {platform}");
    Diagnostic::warning("ignored-platform", word.span, text)
}

/// Finds the target among the stages' names: by name in any case, then by number; without one it is the last.
pub(crate) fn find_target(
    target: Option<&str>,
    names: &[Option<&Spanned<String>>],
) -> Result<usize, CompileError> {
    let Some(last) = names.len().checked_sub(1) else {
        let error = Diagnostic::error("no-stages", Span::default(), "the Dockerfile has no FROM");
        return Err(CompileError::Diagnostics(vec![error]));
    };
    let Some(target) = target else { return Ok(last) };
    let lower = target.to_lowercase();
    let by_name = names.iter().rposition(|name| name.is_some_and(|name| name.value == lower));
    let by_number = || target.parse::<usize>().ok().filter(|&index| index < names.len());
    by_name.or_else(by_number).ok_or_else(|| CompileError::UnknownTarget {
        name: target.to_owned(),
        known: (names.iter().enumerate())
            .map(|(index, name)| name.map_or_else(|| index.to_string(), |name| name.value.clone()))
            .collect(),
        suggestion: nearest(target, names.iter().flatten().map(|name| name.value.as_str()))
            .map(str::to_owned),
    })
}

/// Returns what `TARGETSTAGE` says: the target's name as it was asked for, `default` for a stage without one.
pub(crate) fn target_name(dockerfile: &Dockerfile, target: Option<&str>) -> String {
    let stage_name = |stage: &Stage| stage.name.as_ref().map_or("default", |name| &name.value).to_owned();
    match target {
        None => dockerfile.stages.last().map_or_else(String::new, stage_name),
        Some(target) => {
            let number = target.parse::<usize>().ok();
            number
                .and_then(|index| dockerfile.stages.get(index))
                .map_or_else(|| target.to_owned(), stage_name)
        }
    }
}
