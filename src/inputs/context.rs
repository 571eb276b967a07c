//! The build context: a folder of this machine, or something that becomes one.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kairn_compiler::graph::{
    Archives, ContextOp, CopyOp, CopySource, GitOp, GraphBuilder, HttpOp, Input, Op, Ownership,
};
use kairn_executor::Settings;
use kairn_executor::build::fetch;
use kairn_executor::context::Context;
use kairn_executor::snapshot::read::Verdict;
use kairn_executor::store::{ContextMemory, Store};
use kairn_image::compression::is_tar_archive;
use kairn_spec::ignore::IgnoreFile;
use kairn_spec::remote::RemoteSource;
use tempfile::TempDir;

use super::SourceFile;
use super::tree::Tree;
use crate::failure::{Failure, chain, code};
use crate::lock::Lock;

/// Longest Dockerfile that is read, in bytes.
pub const MAX_DOCKERFILE_BYTES: u64 = 16 * 1024 * 1024;

/// Where the build context is.
pub enum Location {
    /// A folder.
    Folder(PathBuf),
    /// An archive: a file, or standard input kept in one.
    Archive(PathBuf, Option<TempDir>),
    /// A Git or other URL.
    Remote(RemoteSource),
    /// Nowhere: standard input is the Dockerfile.
    Nowhere(SourceFile, TempDir),
}

/// Finds out what a CONTEXT argument is. Standard input is read.
pub fn locate(text: &str) -> Result<Location, Failure> {
    if text == "-" {
        return standard_input();
    }
    if let Some(remote) = RemoteSource::parse(text) {
        let remote = remote.map_err(|error| Failure::user(format!("the build context `{text}`: {error}")))?;
        return Ok(Location::Remote(remote));
    }
    let path = std::path::absolute(text)
        .map_err(|e| Failure::environment(format!("cannot find the build context `{text}`: {e}")))?;
    if path.is_dir() {
        return Ok(Location::Folder(path));
    }
    let is_archive = std::fs::File::open(&path).is_ok_and(|file| is_tar_archive(file).unwrap_or(false));
    if is_archive {
        return Ok(Location::Archive(path, None));
    }
    let what = if path.exists() { "neither a folder nor an archive" } else { "not there" };
    Err(Failure::user(format!("the build context `{text}` is {what}"))
        .with_help("a build context is the folder, archive or URL that COPY and ADD take files from"))
}

/// Keeps standard input in a file: an archive, or else the Dockerfile.
fn standard_input() -> Result<Location, Failure> {
    let unreadable = |e| Failure::environment(format!("cannot read standard input: {e}"));
    let folder = TempDir::with_prefix("kairn-context-").map_err(unreadable)?;
    let path = folder.path().join("context");
    let mut file = std::fs::File::create(&path).map_err(unreadable)?;
    std::io::copy(&mut std::io::stdin().lock(), &mut file).map_err(unreadable)?;
    drop(file);
    let open = || std::fs::File::open(&path).map_err(unreadable);
    if is_tar_archive(open()?).map_err(unreadable)? {
        return Ok(Location::Archive(path, Some(folder)));
    }
    let text = read_text(open()?, "-")?;
    std::fs::remove_file(&path).map_err(unreadable)?;
    Ok(Location::Nowhere(SourceFile { path: PathBuf::from("-"), text }, folder))
}

/// Reads a Dockerfile's text.
pub fn read_text(from: impl std::io::Read, name: &str) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    from.take(MAX_DOCKERFILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::user(format!("cannot read the Dockerfile `{name}`: {e}")))?;
    if bytes.len() as u64 > MAX_DOCKERFILE_BYTES {
        let limit = MAX_DOCKERFILE_BYTES / (1024 * 1024);
        return Err(Failure::user(format!("the Dockerfile `{name}` has more than {limit} MiB")));
    }
    String::from_utf8(bytes).map_err(|_| Failure::user(format!("`{name}` is not UTF-8 text")))
}

/// Unpacks an archive into the store and returns the folder.
pub fn unpack(archive: &Path, settings: &Settings) -> Result<PathBuf, Failure> {
    let missing = || Failure::user(format!("the archive `{}` is in no folder", archive.display()));
    let folder = archive.parent().ok_or_else(missing)?;
    let name = archive.file_name().and_then(|name| name.to_str()).ok_or_else(missing)?.to_owned();
    let only = name.clone();
    let context = Context::new(
        folder.to_owned(),
        Some(Box::new(move |path, _| if path == only { Verdict::Keep } else { Verdict::Skip })),
    );
    let mut settings = settings.clone();
    settings.contexts.insert("archive".to_owned(), Arc::new(context));
    let mut builder = GraphBuilder::default();
    let source = builder.step(Op::Context(ContextOp { name: "archive".to_owned() }), &[]);
    copied(builder, source, &literal(&name), Archives::Unpack, &settings)
}

/// Fetches a remote context into the store; returns what fetches it, as the user says it, and the folder.
pub fn fetch_remote(
    remote: &RemoteSource,
    settings: &Settings,
    lock: Option<&Lock>,
) -> Result<(Op, PathBuf), Failure> {
    let mut builder = GraphBuilder::default();
    let (op, path, archives) = match remote {
        RemoteSource::Git(source) => (Op::Git(GitOp::from(source)), ".", Archives::Copy),
        RemoteSource::Http(url) => (Op::Http(http(url)), "context", Archives::Unpack),
    };
    let mut pinned = op.clone();
    if let Some(lock) = lock {
        lock.pin(&mut pinned);
    }
    let step = builder.step(pinned, &[]);
    Ok((op, copied(builder, step, path, archives, settings)?))
}

/// Fetches one file of a web server.
pub fn fetch_file(url: &str, settings: &Settings) -> Result<PathBuf, Failure> {
    let mut builder = GraphBuilder::default();
    let step = builder.step(Op::Http(http(url)), &[]);
    Ok(copied(builder, step, "context", Archives::Copy, settings)?.join("context"))
}

fn http(url: &str) -> HttpOp {
    HttpOp { url: url.to_owned(), name: "context".to_owned(), checksum: None }
}

/// Copies files onto nothing, and returns the folder that they are in.
fn copied(
    mut builder: GraphBuilder,
    source: kairn_compiler::StepId,
    path: &str,
    archives: Archives,
    settings: &Settings,
) -> Result<PathBuf, Failure> {
    let root = builder.step(Op::Scratch, &[]);
    let source_of =
        CopySource { input: 0, path: path.to_owned(), parents: None, ownership: Ownership::Root, archives };
    let op = CopyOp {
        sources: vec![source_of],
        dest: "/".to_owned(),
        chown: None,
        mode: None,
        excludes: Vec::new(),
    };
    let step = builder.step(Op::Copy(op), &[(Input::Root, root), (Input::Source(0), source)]);
    fetch(&builder.finish(), step, settings).map_err(|error| {
        let help = error.help();
        Failure { code: code(&error), help, ..Failure::user(format!("the build context: {}", chain(&error))) }
    })
}

/// Writes a name so that no letter of it is a wildcard.
fn literal(name: &str) -> String {
    let mut pattern = String::new();
    for ch in name.chars() {
        if matches!(ch, '*' | '?' | '[' | '\\') {
            pattern.push('\\');
        }
        pattern.push(ch);
    }
    pattern
}

/// Reads the ignore file of a folder: that of the Dockerfile, if it has one, or the folder's own.
pub fn ignore_file(
    root: &Path,
    dockerfile: Option<&Path>,
    tree: &Tree,
) -> Result<Option<Arc<IgnoreFile>>, Failure> {
    let own = dockerfile.map(|path| {
        let mut own = path.as_os_str().to_owned();
        own.push(".dockerignore");
        PathBuf::from(own)
    });
    let path = own.filter(|own| tree.is_file(own)).unwrap_or_else(|| root.join(".dockerignore"));
    let text = match tree.read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::environment(format!("cannot read `{}`: {error}", path.display()))),
    };
    let ignore = IgnoreFile::parse(&text);
    if !ignore.diagnostics().is_empty() {
        return Err(Failure::diagnostics(SourceFile { path, text }.render(ignore.diagnostics())));
    }
    Ok(Some(Arc::new(ignore)))
}

/// The files of a folder, without those that an ignore file leaves out; unchanged ones are read once for all builds.
pub fn local_context(root: PathBuf, ignore: Option<Arc<IgnoreFile>>, store: &Arc<Store>) -> Context {
    let ignore = ignore.filter(|ignore| !ignore.is_empty());
    let rules = ignore.as_ref().map(|ignore| ignore.rules()).unwrap_or_default();
    let memory = ContextMemory::new(store, &root, &rules);
    let Some(ignore) = ignore else {
        return Context::of_directory(root, None).with_memory(memory);
    };
    Context::new(
        root,
        Some(Box::new(move |name, is_directory| {
            if !ignore.matches(name) {
                Verdict::Keep
            } else if is_directory && ignore.could_reinclude_below(name) {
                Verdict::Descend
            } else {
                Verdict::Skip
            }
        })),
    )
    .with_memory(memory)
}
