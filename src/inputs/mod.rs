//! The user's files and options to a compiled graph.

pub mod context;
pub mod grants;
mod named;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kairn_compiler::compile::{
    CompileError, CompileOptions, Compiled, ImageSource, PlatformChoice, Purpose, check_names, compile,
};
use kairn_compiler::graph;
use kairn_executor::Settings;
use kairn_executor::context::Context;
use kairn_executor::snapshot::read::{open_file, open_root};
use kairn_image::Platform;
use kairn_spec::checks::Checks;
use kairn_spec::diagnostic::{Color, render};
use kairn_spec::dockerfile::{Dockerfile, Parsed, parse};
use kairn_spec::ignore::IgnoreFile;
use kairn_spec::{Diagnostic, Severity};
use tempfile::TempDir;

use crate::args::{self, Input};
use crate::failure::{Failure, chain};
use context::{Location, read_text};
use named::Named;

/// Build argument that replaces `# check=`.
const CHECK_ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// A Dockerfile's text and where it came from.
#[derive(Debug)]
pub struct SourceFile {
    /// As the user names it.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

impl SourceFile {
    /// Shows diagnostics with the lines they point at.
    pub fn render(&self, diagnostics: &[Diagnostic]) -> String {
        use std::io::IsTerminal as _;
        let color = if std::io::stderr().is_terminal() { Color::Ansi } else { Color::Plain };
        render(diagnostics, &self.path.display().to_string(), &self.text, color)
    }
}

/// Everything that a build is made of, read from where it is.
pub struct Project {
    /// The Dockerfile.
    pub file: SourceFile,
    /// The build context's ignore file.
    ignore: Option<Arc<IgnoreFile>>,
    /// The build context and the named folders, by name.
    pub contexts: BTreeMap<String, Arc<Context>>,
    named: kairn_compiler::compile::contexts::NamedContexts,
    /// Keeps standard input while it is needed.
    _kept: Option<TempDir>,
}

impl Project {
    /// Reads the Dockerfile and finds the contexts; one that is not a folder is fetched into the store.
    pub fn load(input: &Input, settings: &Settings) -> Result<Self, Failure> {
        if input.file.as_deref() == Some("-") && input.context == "-" {
            return Err(Failure::user("the Dockerfile and the build context cannot both be standard input"));
        }
        let Named { contexts: named, folders: mut contexts } =
            named::read(&input.build_context, &settings.store)?;
        let mut kept = None;
        let mut given = None;
        let (root, is_local) = match context::locate(&input.context)? {
            Location::Folder(folder) => (folder, true),
            Location::Archive(archive, folder) => {
                kept = folder;
                (context::unpack(&archive, settings)?, false)
            }
            Location::Remote(remote) => (context::fetch_remote(&remote, settings)?, false),
            Location::Nowhere(file, folder) => {
                let root = folder.path().to_owned();
                kept = Some(folder);
                given = Some(file);
                (root, false)
            }
        };
        let file = match given {
            Some(file) => file,
            None => dockerfile(input, &root, is_local, settings)?,
        };
        // As with BuildKit, only a folder of this machine has an ignore file.
        let ignore = if is_local { context::ignore_file(&root, Some(&file.path))? } else { None };
        let main = Arc::new(context::local_context(root, ignore.clone(), &settings.store));
        contexts.insert("context".to_owned(), main);
        Ok(Self { file, ignore, contexts, named, _kept: kept })
    }
}

/// What is built, for the next build of it: the same text for the same Dockerfile, context and target on this machine.
pub fn project_name(input: &Input) -> String {
    let absolute = |text: &str| {
        std::path::absolute(text).map_or_else(|_| text.to_owned(), |path| path.display().to_string())
    };
    let is_url = |text: &str| text == "-" || text.contains("://");
    let context = if is_url(&input.context) { input.context.clone() } else { absolute(&input.context) };
    let file = match input.file.as_deref() {
        None => String::new(),
        Some(file) if is_url(file) => file.to_owned(),
        Some(file) => absolute(file),
    };
    [context.trim_end_matches(['/', '.']), &file, input.target.as_deref().unwrap_or_default()].join("\n")
}

/// What the graph calls each stage of a Dockerfile: its name in lower case, or its number.
pub fn stage_names(text: &str) -> Vec<String> {
    let stages = parse(text).dockerfile.stages.into_iter();
    stages.map(|stage| stage.name.map_or_else(|| stage.index.to_string(), |name| name.value)).collect()
}

/// Reads the Dockerfile that `-f` names, or the context's own.
fn dockerfile(
    input: &Input,
    root: &Path,
    is_local: bool,
    settings: &Settings,
) -> Result<SourceFile, Failure> {
    let name = input.file.as_deref();
    if name == Some("-") {
        let text = read_text(std::io::stdin().lock(), "-")?;
        return Ok(SourceFile { path: PathBuf::from("-"), text });
    }
    if let Some(url) = name.filter(|name| name.starts_with("http://") || name.starts_with("https://")) {
        let path = context::fetch_file(url, settings)?;
        let file = std::fs::File::open(path)
            .map_err(|e| Failure::environment(format!("cannot read what `{url}` gave: {e}")))?;
        return Ok(SourceFile { path: PathBuf::from(url), text: read_text(file, url)? });
    }
    if name.is_some_and(|name| Path::new(name).extension().is_some_and(|extension| extension == "toml")) {
        let text = format!("`{}` is a kairn.toml, which is not supported yet", name.unwrap_or_default());
        return Err(Failure::user(text));
    }
    let unreadable = |path: &Path, error: &dyn std::fmt::Display| {
        Failure::user(format!("cannot read the Dockerfile `{}`: {error}", path.display()))
            .with_help("name it with `-f`, or give the folder that it is in as the last argument")
    };
    if is_local {
        let usual = || {
            let usual = Path::new(&input.context).join("Dockerfile");
            let lower = Path::new(&input.context).join("dockerfile");
            if !usual.exists() && lower.exists() { lower } else { usual }
        };
        let path = name.map_or_else(usual, PathBuf::from);
        let file = std::fs::File::open(&path).map_err(|e| unreadable(&path, &e))?;
        let text = text_of(file, &path)?;
        return Ok(SourceFile { path, text });
    }
    // What a stranger packed may hold links that lead out of the context.
    let path = PathBuf::from(name.unwrap_or("Dockerfile"));
    let handle = open_root(root).map_err(|e| unreadable(&path, &e))?;
    let names =
        if name.is_some() { vec![path.clone()] } else { vec![path.clone(), PathBuf::from("dockerfile")] };
    let mut file = Err(unreadable(&path, &"it is not there"));
    for name in names {
        use std::os::fd::AsFd as _;
        use std::os::unix::ffi::OsStrExt as _;
        file = open_file(handle.as_fd(), name.as_os_str().as_bytes()).map_err(|e| unreadable(&path, &e));
        if file.is_ok() {
            break;
        }
    }
    let text = text_of(file?, &path)?;
    Ok(SourceFile { path, text })
}

fn text_of(file: impl Read, path: &Path) -> Result<String, Failure> {
    read_text(file, &path.display().to_string())
}

/// The checks that a Dockerfile wants.
pub fn checks(input: &Input, dockerfile: &Dockerfile) -> Result<Checks, Failure> {
    let argument = build_args(input).remove(CHECK_ARGUMENT);
    Checks::of(dockerfile, argument.as_deref()).map_err(|error| Failure::user(format!("checks: {error}")))
}

/// Parses and compiles; warnings are printed on the way.
pub fn compile_project(
    input: &Input,
    project: &Project,
    source: &dyn ImageSource,
) -> Result<Compiled, Failure> {
    let file = &project.file;
    let parsed = parse(&file.text);
    if has_error(&parsed.diagnostics) {
        let found = with_names(input, project, parsed)?;
        return Err(Failure::diagnostics(file.render(&found)));
    }
    let checks = checks(input, &parsed.dockerfile)?;
    let options = options(input, project, Purpose::Build)?;
    let compiled = compile(&parsed.dockerfile, &options, source).map_err(|error| failure(&error, file))?;
    let warnings = checks.filter(parsed.diagnostics.into_iter().chain(compiled.warnings.clone()).collect());
    if !warnings.is_empty() {
        let text = file.render(&warnings);
        if checks.is_fatal() {
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

/// Parses and compiles for a check: everything that is wrong, but for what the checks leave out.
pub fn diagnose(
    input: &Input,
    project: &Project,
    source: &dyn ImageSource,
) -> Result<(Vec<Diagnostic>, Checks), Failure> {
    let parsed = parse(&project.file.text);
    let checks = checks(input, &parsed.dockerfile)?;
    let mut found;
    if has_error(&parsed.diagnostics) {
        found = with_names(input, project, parsed)?;
    } else {
        found = parsed.diagnostics;
        let options = options(input, project, Purpose::Check)?;
        match compile(&parsed.dockerfile, &options, source) {
            Ok(compiled) => found.extend(compiled.warnings),
            Err(CompileError::Diagnostics(diagnostics)) => found.extend(diagnostics),
            Err(error) => return Err(failure(&error, &project.file)),
        }
    }
    found.sort_by_key(|diagnostic| (diagnostic.span, diagnostic.severity));
    Ok((checks.filter(found), checks))
}

fn has_error(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
}

/// The mistakes of a file that cannot be read to its end, with those in its names.
fn with_names(input: &Input, project: &Project, parsed: Parsed) -> Result<Vec<Diagnostic>, Failure> {
    let mut found = parsed.diagnostics;
    if parsed.has_all_stages {
        found.extend(check_names(&parsed.dockerfile, &options(input, project, Purpose::Check)?));
        found.sort_by_key(|diagnostic| (diagnostic.span, diagnostic.severity));
    }
    Ok(found)
}

fn failure(error: &CompileError, file: &SourceFile) -> Failure {
    match error {
        CompileError::Diagnostics(diagnostics) => Failure::diagnostics(file.render(diagnostics)),
        CompileError::UnknownTarget { name, known, suggestion } => {
            let help =
                suggestion.as_ref().map_or_else(String::new, |name| format!("did you mean `{name}`? "));
            Failure::user(format!("there is no stage `{name}`"))
                .with_help(format!("{help}the stages are: {}", known.join(", ")))
        }
        CompileError::Source { reference, span, suggestion, error } => {
            let message = format!("cannot resolve the image `{reference}`: {}", chain(error.as_ref()));
            let mut diagnostic = Diagnostic::error("image-not-resolved", *span, message);
            if let Some(name) = suggestion {
                diagnostic = diagnostic.with_help(format!("did you mean the stage `{name}`?"));
            }
            // A bare name so near to a stage's is a slip of the pen, whatever the registry said.
            let code =
                if diagnostic.help.is_some() { crate::failure::USER } else { crate::failure::ENVIRONMENT };
            Failure { code, ..Failure::diagnostics(file.render(&[diagnostic])) }
        }
    }
}

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

fn options(input: &Input, project: &Project, purpose: Purpose) -> Result<CompileOptions, Failure> {
    let host = Platform::host();
    let platform = match input.platform.as_deref() {
        None => host.clone(),
        Some(list) if list.contains(',') => {
            return Err(Failure::user("more than one platform at a time is not supported yet")
                .with_help("build once for each platform"));
        }
        Some(text) => text.parse().map_err(|e| Failure::user(format!("{e}")))?,
    };
    let labels = input
        .label
        .iter()
        .map(|label| match label.split_once('=') {
            Some(("", _)) | None => {
                Err(Failure::user(format!("`--label {label}` is not of the form NAME=VALUE")))
            }
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        })
        .collect::<Result<_, _>>()?;
    let platform_choice =
        if input.platform.is_some() { PlatformChoice::Explicit } else { PlatformChoice::Implied };
    Ok(CompileOptions {
        target: input.target.clone(),
        build_args: build_args(input),
        labels,
        platform,
        platform_choice,
        build_platform: host,
        named_contexts: project.named.clone(),
        ignore: project.ignore.clone(),
        network: match input.network {
            args::Network::Default => graph::Network::Default,
            args::Network::None => graph::Network::None,
            args::Network::Host => graph::Network::Host,
        },
        purpose,
    })
}
