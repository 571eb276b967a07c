//! The user's files: as they are, or as they were at a commit.

use std::collections::BTreeSet;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use kairn_spec::glob::Glob;

use crate::failure::Failure;

/// Where files are read from.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// What is read from a commit instead of the disk.
    before: Option<Before>,
}

/// A commit of a repository, and what is not as it was then.
#[derive(Clone, Debug)]
struct Before {
    repository: PathBuf,
    commit: String,
    /// Absolute paths, no folder of them a link.
    changed: BTreeSet<PathBuf>,
}

/// What changed since a commit.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Absolute paths, no folder of them a link: of both names, for what was renamed.
    pub paths: BTreeSet<PathBuf>,
    /// The files as they were, where there is a commit to read them from.
    pub before: Option<Tree>,
}

impl Tree {
    /// Reads a file.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let Some(before) = &self.before else { return std::fs::read(path) };
        let real = real(path);
        if !before.changed.contains(&real) {
            return std::fs::read(path);
        }
        before.show(&real).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Says whether there is such a file.
    pub fn is_file(&self, path: &Path) -> bool {
        match &self.before {
            Some(before) if before.changed.contains(&real(path)) => before.show(&real(path)).is_some(),
            _ => path.is_file(),
        }
    }

    /// Lists the files that a path with `*` in its names stands for, sorted.
    pub fn find(&self, pattern: &Path) -> Vec<PathBuf> {
        let mut found = on_disk(pattern);
        if let Some(before) = &self.before {
            let absolute = real(pattern);
            let glob = Glob::parse(&absolute.to_string_lossy());
            let gone = before
                .changed
                .iter()
                .filter(|path| glob.as_ref().is_ok_and(|glob| glob.matches(&path.to_string_lossy())));
            let known: BTreeSet<PathBuf> = found.iter().map(|path| real(path)).collect();
            found.extend(gone.filter(|path| !known.contains(*path)).cloned());
            found.retain(|path| self.is_file(path));
            found.sort();
        }
        found
    }
}

impl Before {
    /// A file's content at the commit.
    fn show(&self, path: &Path) -> Option<Vec<u8>> {
        let inside = path.strip_prefix(&self.repository).ok()?;
        let name = format!("{}:{}", self.commit, inside.display());
        git(&self.repository, &["cat-file", "blob", &name]).ok()
    }
}

impl Changes {
    /// Asks Git what is not as it was at a revision, what is not committed and what is new included.
    pub fn since(revision: &str, folder: &Path) -> Result<Self, Failure> {
        let wrong = |what: String| Failure::user(format!("`{revision}`: {what}"));
        if revision.starts_with('-') {
            return Err(wrong("not a revision".to_owned()));
        }
        let folder = real(folder);
        let text = |args: &[&str]| -> Result<String, Failure> {
            let output = git(&folder, args).map_err(wrong)?;
            Ok(String::from_utf8_lossy(&output).into_owned())
        };
        let repository = PathBuf::from(text(&["rev-parse", "--show-toplevel"])?.trim_end_matches('\n'));
        let commit = text(&["rev-parse", "--verify", "--quiet", &format!("{revision}^{{commit}}")])
            .map_err(|_| wrong("the repository has no such revision".to_owned()))?;
        let commit = commit.trim().to_owned();
        let root = repository.display().to_string();
        let diff = text(&["-C", &root, "diff", "--name-only", "--no-renames", "-z", &commit, "--"])?;
        let new = text(&["-C", &root, "ls-files", "--others", "--exclude-standard", "-z"])?;
        let names = diff.split('\0').chain(new.split('\0')).filter(|name| !name.is_empty());
        let paths: BTreeSet<PathBuf> = names.map(|name| repository.join(name)).collect();
        let before = Before { repository, commit, changed: paths.clone() };
        Ok(Self { paths, before: Some(Tree { before: Some(before) }) })
    }

    /// Takes a list of files, one on a line, from this folder on.
    pub fn listed(text: &str) -> Self {
        let names = text.lines().map(str::trim).filter(|line| !line.is_empty());
        Self { paths: names.map(|name| real(Path::new(name))).collect(), before: None }
    }
}

/// Runs Git in a folder; what it printed, or what it said was wrong.
fn git(folder: &Path, args: &[&str]) -> Result<Vec<u8>, String> {
    let output = Command::new("git")
        .args(args)
        .current_dir(folder)
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run Git: {error}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

/// Makes a path absolute, and takes `.` and `..` out of it as text.
pub fn clean(path: &Path) -> PathBuf {
    let here = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let absolute = std::path::absolute(here).unwrap_or_else(|_| path.to_owned());
    let mut clean = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean
}

/// Makes a path absolute, with the folders that its links lead to; what is not there stays as it is.
pub fn real(path: &Path) -> PathBuf {
    let clean = clean(path);
    let mut rest: Vec<&std::ffi::OsStr> = clean.file_name().into_iter().collect();
    let mut folder = clean.parent();
    while let Some(above) = folder {
        if let Ok(real) = above.canonicalize() {
            return rest.iter().rev().fold(real, |path, name| path.join(name));
        }
        rest.extend(above.file_name());
        folder = above.parent();
    }
    clean.clone()
}

fn on_disk(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let text = part.as_os_str().to_string_lossy().into_owned();
        if !text.contains('*') {
            for path in &mut found {
                path.push(part);
            }
            continue;
        }
        let glob = Glob::parse(&text);
        let mut next = Vec::new();
        for folder in &found {
            let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            let entries = std::fs::read_dir(here).into_iter().flatten().flatten();
            let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
            let names = names.filter(|name| glob.as_ref().is_ok_and(|glob| glob.matches(name)));
            next.extend(names.map(|name| folder.join(name)));
        }
        next.sort();
        found = next;
    }
    found.retain(|path| path.is_file());
    found
}
