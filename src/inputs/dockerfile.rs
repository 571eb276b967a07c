//! A Dockerfile and its context, as the command line gives them: a build of one image.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kairn_compiler::CompileOptions;
use kairn_compiler::compile::Unit;
use kairn_executor::Settings;
use kairn_executor::snapshot::read::{open_file, open_root};
use kairn_image::Platform;
use kairn_spec::FileId;
use kairn_spec::checks::Checks;
use kairn_spec::dockerfile::{Dockerfile, parse};

use super::context::{self, read_text};
use super::contexts::{Contexts, Root};
use super::files::{Files, SourceFile};
use super::tree::Tree;
use super::{CHECK_ARGUMENT, ImagePlan, Project, build_args, choice, labels, named, network, platforms};
use crate::args::Input;
use crate::failure::Failure;

/// Reads the Dockerfile that is meant.
pub fn load(
    input: &Input,
    context: &str,
    settings: &Settings,
    contexts: &mut Contexts<'_>,
) -> Result<Project, Failure> {
    if input.file.as_deref() == Some("-") && context == "-" {
        return Err(Failure::user("the Dockerfile and the build context cannot both be standard input"));
    }
    let mut root = contexts.locate(context)?;
    let file = match root.file.take() {
        Some(file) => file,
        None => of_command_line(input.file.as_deref(), context, &root, settings, contexts.tree)?,
    };
    let found = contexts.root(&root, Some(&file.path), "context")?;
    let host = Platform::host();
    let platforms = platforms(input)?;
    let options = CompileOptions {
        target: input.target.clone(),
        build_args: build_args(input),
        labels: labels(input)?,
        platform: platforms.first().cloned().unwrap_or_else(|| host.clone()),
        platform_choice: choice(&platforms),
        context: found.name,
        named_contexts: named::read(&input.build_context, contexts)?,
        ignore: found.ignore,
        network: network(input.network),
        ..CompileOptions::new(host)
    };
    let parsed = parse(&file.text);
    let mut project = Project::empty(name(input, context), Files(vec![file]));
    let argument = options.build_args.get(CHECK_ARGUMENT).map(String::as_str);
    project.checks.insert(FileId(0), checks(&parsed.dockerfile, argument)?);
    if parsed.has_all_stages {
        project.whole.push(FileId(0));
    }
    project.diagnostics = parsed.diagnostics;
    let mut options = options;
    options.build_args.remove(CHECK_ARGUMENT);
    let unit = Unit { platforms, ..Unit::new(Arc::new(parsed.dockerfile), options) };
    (project.units, project.images, project.selected) = (vec![unit], vec![ImagePlan::default()], vec![0]);
    Ok(project)
}

/// The checks that a Dockerfile wants.
pub fn checks(dockerfile: &Dockerfile, argument: Option<&str>) -> Result<Checks, Failure> {
    Checks::of(dockerfile, argument).map_err(|error| Failure::user(format!("checks: {error}")))
}

/// What is built, for the next build of it: the same text for the same Dockerfile, context and target on this machine.
pub fn name(input: &Input, context: &str) -> String {
    let absolute = |text: &str| {
        std::path::absolute(text).map_or_else(|_| text.to_owned(), |path| path.display().to_string())
    };
    let is_url = |text: &str| text == "-" || text.contains("://");
    let context = if is_url(context) { context.to_owned() } else { absolute(context) };
    let file = match input.file.as_deref() {
        None => String::new(),
        Some(file) if is_url(file) => file.to_owned(),
        Some(file) => absolute(file),
    };
    [context.trim_end_matches(['/', '.']), &file, input.target.as_deref().unwrap_or_default()].join("\n")
}

/// Reads the Dockerfile that `-f` names, or the context's own.
fn of_command_line(
    name: Option<&str>,
    context: &str,
    root: &Root,
    settings: &Settings,
    tree: &Tree,
) -> Result<SourceFile, Failure> {
    if name == Some("-") {
        let text = read_text(std::io::stdin().lock(), "-")?;
        return Ok(SourceFile { path: PathBuf::from("-"), text });
    }
    if let Some(url) = name.filter(|name| name.starts_with("http://") || name.starts_with("https://")) {
        return of_url(url, settings);
    }
    if !root.is_local {
        return of_fetched(name, &root.path);
    }
    let path = name.map_or_else(|| usual(Path::new(context), tree), PathBuf::from);
    of_path(path, tree)
}

/// The Dockerfile of a folder where nobody names another.
pub fn usual(folder: &Path, tree: &Tree) -> PathBuf {
    let (usual, lower) = (folder.join("Dockerfile"), folder.join("dockerfile"));
    if !tree.is_file(&usual) && tree.is_file(&lower) { lower } else { usual }
}

/// Reads a Dockerfile of a web server.
pub fn of_url(url: &str, settings: &Settings) -> Result<SourceFile, Failure> {
    let path = context::fetch_file(url, settings)?;
    let file = std::fs::File::open(path)
        .map_err(|e| Failure::environment(format!("cannot read what `{url}` gave: {e}")))?;
    Ok(SourceFile { path: PathBuf::from(url), text: read_text(file, url)? })
}

/// Reads a Dockerfile of this machine.
pub fn of_path(path: PathBuf, tree: &Tree) -> Result<SourceFile, Failure> {
    let bytes = tree.read(&path).map_err(|e| unreadable(&path, &e))?;
    let text = text_of(&bytes[..], &path)?;
    Ok(SourceFile { path, text })
}

/// Reads a Dockerfile of a context that a stranger may have packed: its links may lead out of it.
pub fn of_fetched(name: Option<&str>, root: &Path) -> Result<SourceFile, Failure> {
    use std::os::fd::AsFd as _;
    use std::os::unix::ffi::OsStrExt as _;
    let path = PathBuf::from(name.unwrap_or("Dockerfile"));
    let handle = open_root(root).map_err(|e| unreadable(&path, &e))?;
    let names =
        if name.is_some() { vec![path.clone()] } else { vec![path.clone(), PathBuf::from("dockerfile")] };
    let mut file = Err(unreadable(&path, &"it is not there"));
    for name in names {
        file = open_file(handle.as_fd(), name.as_os_str().as_bytes()).map_err(|e| unreadable(&path, &e));
        if file.is_ok() {
            break;
        }
    }
    let text = text_of(file?, &path)?;
    Ok(SourceFile { path, text })
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::user(format!("cannot read the Dockerfile `{}`: {error}", path.display()))
        .with_help("name it with `-f`, or give the folder that it is in as the last argument")
}

fn text_of(file: impl Read, path: &Path) -> Result<String, Failure> {
    read_text(file, &path.display().to_string())
}
