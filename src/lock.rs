//! kairn.lock: what the names of bases, Git references and URLs stand for, until somebody moves them.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use kairn_compiler::graph::{GitOp, HttpOp};
use kairn_compiler::{Graph, ImageSource, Op, ResolvedImage};
use kairn_image::reference::Reference;
use kairn_image::{Digest, Platform};
use kairn_spec::remote::RemoteSource;
use serde::Deserialize;

use crate::failure::Failure;
use crate::inputs::chosen::Chosen;
use crate::inputs::tree::Tree;

/// The file's name.
pub const NAME: &str = "kairn.lock";
/// Version of the form.
const VERSION: u32 = 1;

/// What names stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// Digests of images by canonical reference: of an index, where the name is that of one.
    pub images: BTreeMap<String, Digest>,
    /// Commits by remote and reference.
    pub commits: BTreeMap<(String, String), String>,
    /// Digests of files by URL.
    pub files: BTreeMap<String, Digest>,
}

/// The file's form.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: u32,
    #[serde(default)]
    image: Vec<ImageEntry>,
    #[serde(default)]
    git: Vec<GitEntry>,
    #[serde(default)]
    file: Vec<FileEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageEntry {
    reference: String,
    digest: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GitEntry {
    remote: String,
    reference: String,
    commit: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileEntry {
    url: String,
    digest: String,
}

/// Where the lock of a build is: beside the kairn.toml, or in the context's folder; nowhere for a context from elsewhere.
pub fn path_of(chosen: &Chosen) -> Option<PathBuf> {
    match chosen {
        Chosen::Spec(spec) => Some(spec.path.with_file_name(NAME)),
        Chosen::Dockerfile(context) if context != "-" && RemoteSource::parse(context).is_none() => {
            Some(Path::new(context).join(NAME)).filter(|path| path.parent().is_some_and(Path::is_dir))
        }
        Chosen::Dockerfile(_) => None,
    }
}

impl Lock {
    /// Reads the lock of a build, if it has one.
    pub fn of(chosen: &Chosen, tree: &Tree) -> Result<Option<Self>, Failure> {
        let Some(path) = path_of(chosen) else { return Ok(None) };
        let text = match tree.read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(Failure::environment(format!("cannot read `{}`: {error}", path.display())));
            }
        };
        Self::parse(&text).map(Some).map_err(|what| {
            Failure::user(format!("`{}` is not as `kairn lock` writes it: {what}", path.display()))
                .with_help("remove it and run `kairn lock`, or take it from version control again")
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let form: Form = toml::from_str(text).map_err(|e| e.message().to_owned())?;
        if form.version != VERSION {
            return Err(format!("it has the version {}, and this kairn knows {VERSION}", form.version));
        }
        let mut lock = Self::default();
        for ImageEntry { reference, digest } in form.image {
            let canonical = reference.parse::<Reference>().map_err(|e| format!("`{reference}`: {e}"))?;
            let digest = digest.parse().map_err(|e| format!("`{digest}`: {e}"))?;
            lock.images.insert(canonical.to_string(), digest);
        }
        for GitEntry { remote, reference, commit } in form.git {
            if commit.len() != 40 || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(format!("`{commit}` is no commit"));
            }
            lock.commits.insert((remote, reference), commit);
        }
        for FileEntry { url, digest } in form.file {
            let digest = digest.parse().map_err(|e| format!("`{digest}`: {e}"))?;
            lock.files.insert(url, digest);
        }
        Ok(lock)
    }

    /// Writes the file's text; equal locks give equal texts.
    pub fn to_text(&self) -> String {
        let mut text = String::from(
            "# What the names of bases stand for. Made by `kairn lock`; `kairn lock --update` moves them.\n",
        );
        let _ = writeln!(text, "version = {VERSION}");
        let quoted = |value: &str| serde_json::Value::from(value).to_string();
        for (reference, digest) in &self.images {
            let _ = writeln!(text, "\n[[image]]\nreference = {}\ndigest = \"{digest}\"", quoted(reference));
        }
        for ((remote, reference), commit) in &self.commits {
            let (remote, reference) = (quoted(remote), quoted(reference));
            let _ = writeln!(
                text,
                "\n[[git]]\nremote = {remote}\nreference = {reference}\ncommit = \"{commit}\""
            );
        }
        for (url, digest) in &self.files {
            let _ = writeln!(text, "\n[[file]]\nurl = {}\ndigest = \"{digest}\"", quoted(url));
        }
        text
    }

    /// Makes the Git and web sources of a graph what they were when it was locked.
    pub fn apply(&self, graph: &mut Graph) {
        for step in graph.steps.node_weights_mut() {
            self.pin(&mut step.op);
        }
    }

    /// The same for one step.
    pub fn pin(&self, op: &mut Op) {
        match op {
            Op::Git(op) => self.pin_git(op),
            Op::Http(op) => self.pin_file(op),
            _ => {}
        }
    }

    fn pin_git(&self, op: &mut GitOp) {
        if let (None, Some(commit)) = (&op.checksum, self.commits.get(&git_key(op))) {
            op.checksum = Some(commit.clone());
            op.fetch_by_commit = true;
        }
    }

    fn pin_file(&self, op: &mut HttpOp) {
        if let (None, Some(digest)) = (&op.checksum, self.files.get(&op.url)) {
            op.checksum = Some(*digest);
        }
    }
}

/// What a Git source is known by.
pub fn git_key(op: &GitOp) -> (String, String) {
    (op.remote.clone(), op.reference.clone().unwrap_or_default())
}

/// A source of images that are what they were when they were locked.
pub struct Locked<'a> {
    lock: Option<&'a Lock>,
    source: &'a dyn ImageSource,
    missing: Mutex<BTreeSet<String>>,
}

impl<'a> Locked<'a> {
    /// Images of `source`; without a lock, as they are now.
    pub fn new(lock: Option<&'a Lock>, source: &'a dyn ImageSource) -> Self {
        Self { lock, source, missing: Mutex::default() }
    }

    /// Names that were asked for and that the lock does not have.
    pub fn missing(&self) -> Vec<String> {
        self.missing.lock().expect("no holder of this lock panics").iter().cloned().collect()
    }
}

impl ImageSource for Locked<'_> {
    fn resolve(
        &self,
        reference: &str,
        platform: &Platform,
    ) -> Result<ResolvedImage, Box<dyn Error + Send + Sync>> {
        let Some(lock) = self.lock else { return self.source.resolve(reference, platform) };
        let Some(digest) = lock.images.get(reference) else {
            if is_movable(reference) {
                self.missing.lock().expect("no holder of this lock panics").insert(reference.to_owned());
            }
            return self.source.resolve(reference, platform);
        };
        let parsed: Reference = reference.parse()?;
        let pinned = format!("{}/{}@{digest}", parsed.registry(), parsed.repository());
        let image = self.source.resolve(&pinned, platform)?;
        Ok(ResolvedImage { reference: reference.to_owned(), ..image })
    }
}

/// Whether a name can come to stand for another image.
pub fn is_movable(reference: &str) -> bool {
    !reference.starts_with("oci-layout://")
        && reference.parse::<Reference>().is_ok_and(|parsed| parsed.digest().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut lock = Lock::default();
        let digest = Digest::of(b"x");
        lock.images.insert("docker.io/library/debian:12".to_owned(), digest);
        lock.commits.insert(("https://h/r.git".to_owned(), "main".to_owned()), "a".repeat(40));
        lock.commits.insert(("https://h/\"q\"".to_owned(), String::new()), "b".repeat(40));
        lock.files.insert("https://h/f?a=1#\n".to_owned(), digest);
        assert_eq!(Lock::parse(&lock.to_text()), Ok(lock.clone()));
        assert_eq!(Lock::parse(&Lock::default().to_text()), Ok(Lock::default()));
        for broken in [
            "",
            "version = 2",
            "version = 1\nx = 1",
            "version = 1\n[[git]]\nremote='a'\nreference=''\ncommit='zz'",
        ] {
            assert!(Lock::parse(broken).is_err(), "{broken}");
        }
    }
}
