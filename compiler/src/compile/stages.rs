//! Stages: what their names, their FROM and the names that they read from stand for, and cycles among them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use kairn_image::Platform;
use kairn_image::reference::Reference;
use kairn_spec::dockerfile::{Dockerfile, Stage, Word};
use kairn_spec::remote::GitSource;
use kairn_spec::{Diagnostic, Span, Spanned};

use super::arguments::Globals;
use super::contexts::{self, NamedContext};
use super::lint;
use super::mentions::{Mention, Reader, Walk};
use super::siblings::{Found, Key, Siblings};
use super::source::Wish;
use super::variables::Variables;
use super::{CompileError, CompileOptions};
use kairn_spec::suggest::nearest;

/// What a name in FROM or COPY --from stands for.
#[derive(Clone, Debug)]
pub(crate) enum Named {
    /// A stage of the file.
    Stage(usize),
    /// Nothing at all.
    Scratch,
    /// An image.
    Image(Wish),
    /// Files that are neither: a named context.
    Files(Files),
    /// Another image of the build.
    Sibling(Key),
}

/// Where the files of a named context are.
#[derive(Clone, Debug)]
pub(crate) enum Files {
    /// A directory, by the name of its context.
    Local(String),
    /// A Git repository.
    Git(GitSource),
    /// A file of a web server.
    Http(String),
}

/// A name that an instruction reads from, found.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) reader: Reader,
    pub(crate) named: Named,
    pub(crate) span: Span,
    /// The name.
    pub(crate) text: String,
}

/// All stages of a file, names resolved.
#[derive(Debug)]
pub(crate) struct Stages<'a> {
    pub(crate) list: Vec<ResolvedStage<'a>>,
    pub(crate) escape: char,
    pub(crate) globals: Arc<Globals>,
    pub(crate) options: Arc<CompileOptions>,
    siblings: &'a Siblings,
    /// The image's own place among them.
    image: usize,
    /// The last stage of each name.
    by_name: HashMap<&'a str, usize>,
}

/// A stage whose FROM is known.
#[derive(Debug)]
pub(crate) struct ResolvedStage<'a> {
    pub(crate) syntax: &'a Stage,
    pub(crate) base: Named,
    /// Whether a named context stands for the whole stage.
    pub(crate) is_replaced: bool,
    /// What its commands run on.
    platform: Platform,
    /// What each of its instructions reads from.
    pub(crate) reads: Vec<Vec<Read>>,
    /// The variables that its last line leaves.
    pub(crate) variables: Variables,
}

impl ResolvedStage<'_> {
    /// Returns the stage's name, or its number.
    pub(crate) fn label(&self) -> String {
        label(self.syntax)
    }

    /// Returns the stages that it needs, its triggers left aside, each with the bytes that say so.
    pub(crate) fn needs(&self) -> impl Iterator<Item = (usize, Span)> {
        let base = match self.base {
            Named::Stage(base) => Some((base, self.syntax.base.span)),
            _ => None,
        };
        base.into_iter().chain(needs_of(self.reads.iter().flatten()))
    }
}

/// Returns the stages among what is read, each with the bytes that say so.
pub(crate) fn needs_of<'r>(reads: impl IntoIterator<Item = &'r Read>) -> impl Iterator<Item = (usize, Span)> {
    reads.into_iter().filter_map(|read| match read.named {
        Named::Stage(stage) => Some((stage, read.span)),
        _ => None,
    })
}

fn label(stage: &Stage) -> String {
    stage.name.as_ref().map_or_else(|| stage.index.to_string(), |name| name.value.clone())
}

impl<'a> Stages<'a> {
    /// Resolves the names of all stages, needed or not.
    pub(crate) fn new(
        dockerfile: &'a Dockerfile,
        globals: &Arc<Globals>,
        options: &Arc<CompileOptions>,
        (siblings, image): (&'a Siblings, usize),
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut stages = Self {
            list: Vec::new(),
            escape: dockerfile.escape,
            globals: Arc::clone(globals),
            options: Arc::clone(options),
            siblings,
            image,
            by_name: HashMap::new(),
        };
        for stage in &dockerfile.stages {
            let wanted = stage.platform.as_ref().and_then(|word| platform(word, stage, globals, diagnostics));
            let replacement = stages.replacement(stage, wanted.as_ref(), diagnostics);
            let is_replaced = replacement.is_some();
            let base = replacement.unwrap_or_else(|| stages.base(stage, wanted.as_ref(), diagnostics));
            let platform = stages.platform_of(&base);
            if let (Some(wanted), Some(word)) = (wanted, &stage.platform)
                && wanted != platform
            {
                diagnostics.push(ignored_platform(word, &base, &platform));
            }
            let (reads, variables) = (Vec::new(), Variables::default());
            stages.list.push(ResolvedStage { syntax: stage, base, is_replaced, platform, reads, variables });
            if let Some(name) = &stage.name {
                stages.by_name.insert(&name.value, stage.index);
            }
        }
        for index in 0..stages.list.len() {
            let stage = &stages.list[index];
            if stage.is_replaced {
                continue;
            }
            let below = match stage.base {
                Named::Stage(parent) => Some(&stages.list[parent].variables),
                _ => None,
            };
            let mut walk = Walk::new(below, globals, options, stages.escape);
            let mentions = walk.stage(stage.syntax, diagnostics);
            let reads = mentions.into_iter().map(|mentions| stages.reads(mentions, diagnostics)).collect();
            stages.list[index].reads = reads;
            stages.list[index].variables = walk.finish();
        }
        stages.report_cycles(diagnostics);
        stages
    }

    /// Finds what an instruction's names stand for.
    pub(crate) fn reads(&self, mentions: Vec<Mention>, diagnostics: &mut Vec<Diagnostic>) -> Vec<Read> {
        let mut reads = Vec::new();
        for Mention { reader, name, span, has_variables } in mentions {
            if has_variables {
                diagnostics.push(lint::variable_in_from(span, &name));
            }
            match self.named(reader, &name, span) {
                Ok(named) => reads.push(Read { reader, named, span, text: name }),
                Err(error) => diagnostics.push(error),
            }
        }
        reads
    }

    /// Finds what a `from` names. Only a COPY knows stages by their number.
    fn named(&self, reader: Reader, text: &str, span: Span) -> Result<Named, Diagnostic> {
        if let (Reader::Copy, Ok(number)) = (reader, text.parse::<i64>()) {
            return match usize::try_from(number) {
                Ok(index) if index < self.list.len() => Ok(Named::Stage(index)),
                _ => Err(Diagnostic::error(
                    "unknown-stage",
                    span,
                    format!("there is no stage number {number}"),
                )
                .with_help(format!("the file has {} stages, counted from 0", self.list.len()))),
            };
        }
        if let Some(&index) = self.by_name.get(text.to_lowercase().as_str()) {
            return Ok(Named::Stage(index));
        }
        self.outside(text, &self.options.platform, span)
    }

    /// Returns the name of a stage that is near to what was written, if that can be one: a stage has no tag, digest or
    /// registry.
    pub(crate) fn near(&self, written: &str) -> Option<&str> {
        if written.contains([':', '@', '/']) {
            return None;
        }
        nearest(written, self.by_name.keys().copied())
    }

    fn base(&self, stage: &Stage, platform: Option<&Platform>, diagnostics: &mut Vec<Diagnostic>) -> Named {
        let Some(name) = self.globals.expand(&stage.base, diagnostics) else { return Named::Scratch };
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
        let platform = platform.unwrap_or(&self.options.platform);
        self.outside(&name, platform, stage.base.span).unwrap_or_else(|error| {
            diagnostics.push(error);
            Named::Scratch
        })
    }

    /// Finds the named context that stands for a stage.
    fn replacement(
        &self,
        stage: &Stage,
        platform: Option<&Platform>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<Named> {
        let name = stage.name.as_ref()?;
        let platform = platform.unwrap_or(&self.options.platform);
        let (given, context) = contexts::find(&self.options.named_contexts, &name.value, platform)?;
        let named = self.context(given, context, platform, name.span);
        Some(named.unwrap_or_else(|error| {
            diagnostics.push(error);
            Named::Scratch
        }))
    }

    /// Finds what a name that is no stage's stands for.
    fn outside(&self, name: &str, platform: &Platform, span: Span) -> Result<Named, Diagnostic> {
        if let Some((given, context)) = contexts::find(&self.options.named_contexts, name, platform) {
            return self.context(given, context, platform, span);
        }
        match self.siblings.find(name, self.image) {
            Ok(Some(found)) => self.sibling(found, platform, span),
            Ok(None) => self.image(name, platform, span),
            Err(several) => {
                let text = format!("`{name}` can be any of the images {}", several.join(", "));
                let error = Diagnostic::error("ambiguous-image", span, text);
                Err(error.with_help("name the one that is meant, or its tag"))
            }
        }
    }

    fn context(
        &self,
        given: &str,
        context: &NamedContext,
        platform: &Platform,
        span: Span,
    ) -> Result<Named, Diagnostic> {
        Ok(match context {
            NamedContext::Local(name) => Named::Files(Files::Local(name.clone())),
            NamedContext::Git(source) => Named::Files(Files::Git(source.clone())),
            NamedContext::Http(url) => Named::Files(Files::Http(url.clone())),
            NamedContext::Image(name) if name.starts_with("oci-layout://") => {
                Named::Image((name.clone(), platform.clone()))
            }
            NamedContext::Image(name) => return self.image(name, platform, span),
            NamedContext::Sibling(name) => {
                let Some(image) = self.siblings.by_name(name) else {
                    let text = format!("the context `{given}` is the image `{name}`, which there is not");
                    return Err(Diagnostic::error("unknown-image", span, text));
                };
                let how = format!("the context `{given}`");
                return self.sibling(Found { image, how }, platform, span);
            }
            NamedContext::Stage(name) => {
                let stage = self.by_name.get(name.to_lowercase().as_str()).copied();
                Named::Stage(stage.ok_or_else(|| {
                    let text =
                        format!("the context `{given}` is the stage `{name}`, which is not defined before");
                    Diagnostic::error("unknown-stage", span, text)
                })?)
            }
        })
    }

    fn sibling(&self, found: Found, platform: &Platform, span: Span) -> Result<Named, Diagnostic> {
        let Found { image, how } = found;
        let platforms = self.siblings.platforms(image);
        if !platforms.is_empty() && !platforms.contains(platform) {
            let name = self.siblings.name(image);
            let text = format!("the image `{name}` is not built for {platform}");
            let known: Vec<String> = platforms.iter().map(ToString::to_string).collect();
            let help = format!("it is built for {}: add one to its `platforms`", known.join(", "));
            return Err(Diagnostic::error("missing-platform", span, text).with_help(help));
        }
        Ok(Named::Sibling(Key { image, platform: platform.clone(), how }))
    }

    /// Returns what a stage on this base runs on. As in BuildKit, only an image can be for another platform.
    fn platform_of(&self, base: &Named) -> Platform {
        match base {
            Named::Stage(stage) => self.list[*stage].platform.clone(),
            Named::Scratch | Named::Files(_) => self.options.platform.clone(),
            Named::Image((_, platform)) | Named::Sibling(Key { platform, .. }) => platform.clone(),
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

    /// A stage can only need itself through a name that is its own or a later stage's.
    fn report_cycles(&self, diagnostics: &mut Vec<Diagnostic>) {
        for (index, stage) in self.list.iter().enumerate() {
            for (source, span) in stage.needs().filter(|&(source, _)| source >= index) {
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
            for (next, span) in self.list[stage].needs() {
                if next != from && !reached_by.contains_key(&next) {
                    reached_by.insert(next, (stage, span));
                    queue.push_back(next);
                }
            }
        }
        None
    }
}

fn platform(
    word: &Word,
    stage: &Stage,
    globals: &Globals,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Platform> {
    let text = globals.expand(word, diagnostics)?;
    lint::platform_flag(word, &text, stage, globals, diagnostics);
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
        Named::Files(_) => "a context",
        Named::Scratch | Named::Image(_) | Named::Sibling(_) => "`scratch`",
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
