//! Build contexts made for one test.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::bases;
use super::tools::test_dir;

/// A directory with a Dockerfile and what it copies.
pub(crate) struct Context {
    dir: TempDir,
}

impl Context {
    /// Makes a context whose Dockerfile is the given text.
    ///
    /// `{busybox}`, `{debian}` and `{registry}` stand for the shared registry's images and its host; the text's common
    /// indentation is taken off.
    pub(crate) fn new(dockerfile: &str) -> Self {
        let context = Self { dir: test_dir("context-") };
        context.file("Dockerfile", &resolve(dockerfile))
    }

    /// Adds or replaces a file, and the folders it is in.
    pub(crate) fn file(self, path: &str, text: &str) -> Self {
        self.write(path, text.as_bytes());
        self
    }

    /// Adds or replaces a file of any bytes.
    pub(crate) fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a file is in a folder"))
            .expect("a folder of the context");
        std::fs::write(path, bytes).expect("a file of the context");
    }

    /// Adds a symbolic link.
    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        std::os::unix::fs::symlink(target, self.dir.path().join(path)).expect("a link of the context");
        self
    }

    /// Returns the context's directory.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the path of a file of the context.
    pub(crate) fn join(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }
}

/// Returns bytes that do not compress, the same each time.
pub(crate) fn noise(size_bytes: usize) -> Vec<u8> {
    let words = (1..).map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(n));
    words.flat_map(u64::to_le_bytes).take(size_bytes).collect()
}

/// Puts the shared registry's names into a text and takes its common indentation off.
pub(crate) fn resolve(text: &str) -> String {
    resolve_names(&unindent(text))
}

/// Puts the shared registry's names into a text.
pub(crate) fn resolve_names(text: &str) -> String {
    let mut text = text.to_owned();
    if text.contains("{busybox}") || text.contains("{debian}") || text.contains("{registry}") {
        let registry = bases::shared();
        text = text.replace("{busybox}", &registry.reference("busybox:latest"));
        text = text.replace("{debian}", &registry.reference("debian:latest"));
        text = text.replace("{registry}", &registry.host());
    }
    text
}

fn unindent(text: &str) -> String {
    let text = text.strip_prefix('\n').unwrap_or(text);
    let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let common = text.lines().filter(|line| !line.trim().is_empty()).map(indent).min().unwrap_or(0);
    let mut out = String::new();
    for line in text.lines() {
        out += line.get(common..).unwrap_or("");
        out.push('\n');
    }
    out
}
