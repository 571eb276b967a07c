//! Folders with a kairn.toml, made for one test.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::context::resolve;
use super::kairn::{Invocation, Kairn};
use super::tools::{run, test_dir};

/// A folder with a kairn.toml and what it speaks of.
pub(crate) struct Workspace {
    dir: TempDir,
}

impl Workspace {
    /// Makes a workspace whose kairn.toml is the given text, in which names stand for images as in a context's Dockerfile.
    pub(crate) fn new(toml: &str) -> Self {
        Self { dir: test_dir("workspace-") }.file("kairn.toml", toml)
    }

    /// Adds or replaces a file, names resolved.
    pub(crate) fn file(self, path: &str, text: &str) -> Self {
        self.write(path, &resolve(text));
        self
    }

    /// Adds or replaces a file.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file of the workspace");
    }

    /// Returns the folder.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the path of a file.
    pub(crate) fn join(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Prepares a command on it.
    pub(crate) fn on(&self, kairn: &Kairn, name: &str) -> Invocation {
        let file = self.join("kairn.toml");
        kairn.command(name).args([Path::new("-f"), &file])
    }

    /// Makes a Git repository of it, or a commit of what it is now.
    pub(crate) fn commit(&self) {
        let git = |args: &[&str]| {
            let identity = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "gc.auto=0"];
            run(Command::new("git").args(identity).args(args).current_dir(self.path()));
        };
        if !self.join(".git").exists() {
            git(&["init", "--quiet", "."]);
        }
        git(&["add", "--all"]);
        git(&["commit", "--quiet", "--allow-empty", "--message", "as it is"]);
    }
}
