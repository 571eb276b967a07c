//! The user's files and options to a compiled graph.
//!
//! Reading order: [`chosen`] (a Dockerfile, or images of a kairn.toml), this file (what a build is made of), `dockerfile`
//! (one image of the command line), `images` (those of a kairn.toml), [`files`], [`tree`],
//! [`contexts`], [`context`], `named`,
//! [`grants`].

pub mod chosen;
pub mod context;
pub mod contexts;
mod dockerfile;
pub mod files;
pub mod grants;
mod images;
mod named;
pub mod tree;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use kairn_compiler::compile::{
    CompileError, Compiled, ImageSource, PlatformChoice, Purpose, Unit, check_names, compile_all,
};
use kairn_compiler::{Op, graph};
use kairn_executor::Settings;
use kairn_executor::context::Context;
use kairn_image::Platform;
use kairn_spec::checks::Checks;
use kairn_spec::ignore::IgnoreFile;
use kairn_spec::workspace::At;
use kairn_spec::workspace::types::{Allow, BuildOptions};
use kairn_spec::{Diagnostic, FileId, Severity};
use tempfile::TempDir;

use crate::args::{self, Input};
use crate::failure::{Failure, chain};
use crate::lock::{self, Lock, Locked};
use chosen::Chosen;
use contexts::Contexts;
pub use files::{Files, SourceFile};
use tree::Tree;

/// Build argument that replaces `# check=`.
const CHECK_ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// Everything that a build is made of, read from where it is.
pub struct Project {
    /// What is built, for the next build of it: the same text for the same files and target on this machine.
    pub name: String,
    /// Dockerfiles and kairn.tomls.
    pub files: Files,
    /// The images, as the compiler takes them.
    pub units: Vec<Unit>,
    /// What is to become of each of them.
    pub images: Vec<ImagePlan>,
    /// Those that are asked for.
    pub selected: Vec<usize>,
    /// The contexts, by the names that the graph has for them.
    pub contexts: BTreeMap<String, Arc<Context>>,
    /// The folders of the contexts, and what is left out of each.
    pub roots: BTreeMap<String, (PathBuf, Option<Arc<IgnoreFile>>)>,
    /// Contexts from elsewhere, as steps that fetch them.
    pub remotes: Vec<Op>,
    /// How to build.
    pub build: BuildOptions,
    /// Where the lock is, or would be.
    pub lock_path: PathBuf,
    /// What names stand for.
    lock: Option<Lock>,
    /// How many of the files are kairn.tomls: the first ones.
    specs: usize,
    /// What was said when the files were parsed.
    diagnostics: Vec<Diagnostic>,
    /// Files whose stages are all known, so that a check of names means something.
    whole: Vec<FileId>,
    /// The checks that each Dockerfile wants.
    checks: BTreeMap<FileId, Checks>,
    /// Keeps standard input while it is needed.
    _kept: Kept,
}

/// Folders that go when the build is over.
#[derive(Default)]
#[expect(dead_code, reason = "they are only to be kept")]
struct Kept(Vec<TempDir>);

/// What is to become of an image.
#[derive(Clone, Debug, Default)]
pub struct ImagePlan {
    /// Its tags.
    pub tags: Vec<String>,
    /// Where it goes, as `--output` says it.
    pub outputs: Vec<String>,
    /// Whether it is pushed.
    pub push: bool,
    /// Secrets that its RUNs may mount, as `--secret` says them.
    pub secrets: Vec<String>,
    /// Agents that its RUNs may mount, as `--ssh` says them.
    pub ssh: Vec<String>,
    /// What its RUNs are allowed, if the command line allows it as well.
    pub allow: Vec<At<Allow>>,
    /// Annotations, their keys perhaps with `index:` or `manifest:` before them.
    pub annotations: BTreeMap<String, String>,
    /// Whether everything is done again.
    pub no_cache: bool,
    /// Stages whose work is done again.
    pub no_cache_filter: Vec<String>,
}

impl Project {
    /// Reads the files and finds the contexts; one that is not a folder is fetched into the store.
    pub fn load(input: &Input, chosen: Chosen, settings: &Settings) -> Result<Self, Failure> {
        Self::load_in(input, chosen, settings, &Tree::default())
    }

    /// As [`Project::load`], with files as they are in a tree.
    pub fn load_in(input: &Input, chosen: Chosen, settings: &Settings, tree: &Tree) -> Result<Self, Failure> {
        let lock = Lock::of(&chosen, tree)?;
        Self::load_with(input, chosen, settings, tree, lock)
    }

    /// As [`Project::load`], with another lock than its own.
    pub fn load_with(
        input: &Input,
        chosen: Chosen,
        settings: &Settings,
        tree: &Tree,
        lock: Option<Lock>,
    ) -> Result<Self, Failure> {
        let mut contexts = Contexts::new(settings, lock.as_ref(), tree);
        let lock_path = lock::path_of(&chosen).unwrap_or_default();
        let mut project = match chosen {
            Chosen::Dockerfile(context) => dockerfile::load(input, &context, settings, &mut contexts)?,
            Chosen::Spec(spec) => images::load(input, *spec, &mut contexts)?,
        };
        project.contexts = contexts.by_name;
        project.remotes = contexts.remotes;
        project.roots = contexts.roots;
        Ok(Self { _kept: Kept(contexts.kept), lock, lock_path, ..project })
    }

    /// A project of nothing.
    fn empty(name: String, files: Files) -> Self {
        Self {
            name,
            files,
            units: Vec::new(),
            images: Vec::new(),
            selected: Vec::new(),
            contexts: BTreeMap::new(),
            roots: BTreeMap::new(),
            remotes: Vec::new(),
            build: BuildOptions::default(),
            lock_path: PathBuf::new(),
            lock: None,
            specs: 0,
            diagnostics: Vec::new(),
            whole: Vec::new(),
            checks: BTreeMap::new(),
            _kept: Kept::default(),
        }
    }

    /// Compiles; names stand for what the lock says, if there is one. Warnings are printed on the way.
    pub fn compile(&self, source: &dyn ImageSource) -> Result<Compiled, Failure> {
        let locked = Locked::new(self.lock.as_ref(), source);
        let mut compiled = self.compile_with(&locked)?;
        self.pin(&mut compiled);
        let missing = locked.missing();
        if !missing.is_empty() {
            let names = missing.join(", ");
            eprintln!("warning: {} does not have {names}: `kairn lock` adds them", lock::NAME);
        }
        Ok(compiled)
    }

    /// As [`Project::compile`], without a word about warnings.
    pub fn compile_silently(&self, source: &dyn ImageSource) -> Result<Compiled, Failure> {
        let locked = Locked::new(self.lock.as_ref(), source);
        let (mut compiled, _) = self.compiled(&locked)?;
        self.pin(&mut compiled);
        Ok(compiled)
    }

    fn pin(&self, compiled: &mut Compiled) {
        if let Some(lock) = &self.lock {
            lock.apply(&mut compiled.graph);
        }
    }

    /// Compiles with names as `source` has them. Warnings are printed on the way.
    pub fn compile_with(&self, source: &dyn ImageSource) -> Result<Compiled, Failure> {
        let (compiled, warnings) = self.compiled(source)?;
        if !warnings.is_empty() {
            let text = self.files.render(&warnings);
            if warnings.iter().any(|found| self.is_fatal(found.file)) {
                return Err(Failure::diagnostics(text).with_help(
                    "`# check=error=true` makes warnings errors; `# check=skip=RULE` leaves one out",
                ));
            }
            eprintln!("{}", text.trim_end());
        }
        for notice in &compiled.notices {
            eprintln!("warning: {notice}");
        }
        Ok(compiled)
    }

    /// Compiles; what came out, and the warnings that nobody left out.
    fn compiled(&self, source: &dyn ImageSource) -> Result<(Compiled, Vec<Diagnostic>), Failure> {
        if has_error(&self.diagnostics) {
            return Err(Failure::diagnostics(self.files.render(&self.with_names())));
        }
        let compiled =
            compile_all(&self.units, &self.selected, source).map_err(|error| self.failure(&error))?;
        let mut warnings = self.diagnostics.clone();
        warnings.extend(compiled.warnings.clone());
        let warnings = self.filtered(warnings);
        Ok((compiled, warnings))
    }

    /// Compiles for a check: everything that is wrong, but for what the checks leave out.
    pub fn diagnose(&self, source: &dyn ImageSource) -> Result<Vec<Diagnostic>, Failure> {
        if has_error(&self.diagnostics) {
            return Ok(self.filtered(self.with_names()));
        }
        let mut found = self.diagnostics.clone();
        let mut units = self.units.clone();
        for unit in &mut units {
            unit.options.purpose = Purpose::Check;
        }
        match compile_all(&units, &self.selected, source) {
            Ok(compiled) => found.extend(compiled.warnings),
            Err(CompileError::Diagnostics(diagnostics)) => found.extend(diagnostics),
            Err(error) => return Err(self.failure(&error)),
        }
        Ok(self.filtered(found))
    }

    /// The images that are asked for, and those that they need.
    pub fn used(&self) -> impl Iterator<Item = (&Unit, &ImagePlan)> {
        self.units.iter().zip(&self.images).filter(|(unit, _)| unit.is_read)
    }

    /// Refuses rights that an image wants and the command line does not give.
    pub fn check_rights(&self, given: &[args::Allow]) -> Result<(), Failure> {
        for At { value, place } in self.used().flat_map(|(_, plan)| &plan.allow) {
            let (wanted, name) = match value {
                Allow::NetworkHost => (args::Allow::NetworkHost, "network.host"),
                Allow::SecurityInsecure => (args::Allow::SecurityInsecure, "security.insecure"),
            };
            if !given.contains(&wanted) {
                let error = place.error("not-allowed", format!("the image wants `{name}`"));
                let error = error.with_help(format!("if it may have that, give `--allow {name}`"));
                return Err(Failure::diagnostics(self.files.render(&[error])));
            }
        }
        Ok(())
    }

    /// The kairn.tomls.
    pub fn specs(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.0.iter().take(self.specs).map(|file| &file.path)
    }

    /// Whether this is a build of one image, of a Dockerfile alone.
    pub fn is_one(&self) -> bool {
        self.units.len() == 1 && self.units[0].name.is_empty()
    }

    /// Whether warnings of a file are to fail.
    pub fn is_fatal(&self, file: FileId) -> bool {
        self.checks.get(&file).is_some_and(Checks::is_fatal)
    }

    fn filtered(&self, found: Vec<Diagnostic>) -> Vec<Diagnostic> {
        let mut found: Vec<Diagnostic> = found
            .into_iter()
            .flat_map(|found| match self.checks.get(&found.file) {
                Some(checks) => checks.filter(vec![found]),
                None => vec![found],
            })
            .collect();
        found.sort_by_key(|found| (found.file, found.span, found.severity));
        found
    }

    /// The mistakes of files that cannot be read to their end, with those in their names.
    fn with_names(&self) -> Vec<Diagnostic> {
        let mut found = self.diagnostics.clone();
        // Names of other images are known only where all files could be read.
        if let [unit] = &self.units[..]
            && self.whole.contains(&unit.file)
        {
            let names = check_names(&unit.dockerfile, &unit.options);
            found.extend(names.into_iter().map(|error| error.in_file(unit.file)));
        }
        found.sort_by_key(|found| (found.file, found.span, found.severity));
        found
    }

    fn failure(&self, error: &CompileError) -> Failure {
        match error {
            CompileError::Diagnostics(diagnostics) => Failure::diagnostics(self.files.render(diagnostics)),
            CompileError::UnknownTarget { name, known, suggestion } => {
                let help =
                    suggestion.as_ref().map_or_else(String::new, |name| format!("did you mean `{name}`? "));
                Failure::user(format!("there is no stage `{name}`"))
                    .with_help(format!("{help}the stages are: {}", known.join(", ")))
            }
            CompileError::Source { reference, file, span, suggestion, error } => {
                let message = format!("cannot resolve the image `{reference}`: {}", chain(error.as_ref()));
                let mut diagnostic = Diagnostic::error("image-not-resolved", *span, message).in_file(*file);
                if let Some(name) = suggestion {
                    diagnostic = diagnostic.with_help(format!("did you mean the stage `{name}`?"));
                }
                // A bare name so near to a stage's is a slip of the pen, whatever the registry said.
                let code = if diagnostic.help.is_some() {
                    crate::failure::USER
                } else {
                    crate::failure::ENVIRONMENT
                };
                Failure { code, ..Failure::diagnostics(self.files.render(&[diagnostic])) }
            }
        }
    }
}

fn has_error(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
}

/// Values of `--build-arg`; one without a value has the environment's, if that has one.
fn build_args(input: &Input) -> BTreeMap<String, String> {
    let mut build_args = BTreeMap::new();
    for argument in &input.build_arg {
        match argument.split_once('=') {
            Some((name, value)) => {
                build_args.insert(name.to_owned(), value.to_owned());
            }
            None => {
                if let Ok(value) = std::env::var(argument) {
                    build_args.insert(argument.clone(), value);
                }
            }
        }
    }
    build_args
}

/// Values of `--label`.
fn labels(input: &Input) -> Result<BTreeMap<String, String>, Failure> {
    let labels = input.label.iter().map(|label| match label.split_once('=') {
        Some(("", _)) | None => {
            Err(Failure::user(format!("`--label {label}` is not of the form NAME=VALUE")))
        }
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
    });
    labels.collect()
}

/// Reads a platform; `local` is that of this machine.
fn platform(text: &str) -> Result<Platform, <Platform as FromStr>::Err> {
    if text == "local" { Ok(Platform::host()) } else { text.parse() }
}

/// Values of `--platform`, each once.
fn platforms(input: &Input) -> Result<Vec<Platform>, Failure> {
    let mut platforms: Vec<Platform> = Vec::new();
    for text in &input.platform {
        let platform = platform(text.trim()).map_err(|e| Failure::user(format!("{e}")))?;
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    Ok(platforms)
}

fn network(network: args::Network) -> graph::Network {
    match network {
        args::Network::Default => graph::Network::Default,
        args::Network::None => graph::Network::None,
        args::Network::Host => graph::Network::Host,
    }
}

fn choice(platforms: &[Platform]) -> PlatformChoice {
    if platforms.is_empty() { PlatformChoice::Implied } else { PlatformChoice::Explicit }
}
