//! The contexts of a build: folders that are read once, however many images copy from them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kairn_compiler::Op;
use kairn_executor::Settings;
use kairn_executor::context::Context;
use kairn_spec::ignore::IgnoreFile;
use tempfile::TempDir;

use super::context::{self, Location, ignore_file, local_context};
use super::files::SourceFile;
use super::tree::Tree;
use crate::failure::Failure;
use crate::lock::Lock;

/// The contexts so far.
pub struct Contexts<'s> {
    settings: &'s Settings,
    lock: Option<&'s Lock>,
    /// Where files are read from.
    pub tree: &'s Tree,
    /// The folders behind the names, and what is left out of each.
    pub roots: BTreeMap<String, (PathBuf, Option<Arc<IgnoreFile>>)>,
    /// What is read, by the names that the graph has for them.
    pub by_name: BTreeMap<String, Arc<Context>>,
    /// Names by folder and ignore rules.
    known: BTreeMap<(PathBuf, String), String>,
    /// Contexts from elsewhere, as steps that fetch them.
    pub remotes: Vec<Op>,
    /// Folders that archives and URLs became.
    fetched: BTreeMap<String, PathBuf>,
    /// Keeps standard input while it is needed.
    pub kept: Vec<TempDir>,
}

/// A context that was found.
pub struct Found {
    /// The name that the graph has for it.
    pub name: String,
    /// What is left out of it.
    pub ignore: Option<Arc<IgnoreFile>>,
}

/// A folder to be read, or what became one.
pub struct Root {
    /// The folder.
    pub path: PathBuf,
    /// Whether it is the user's own: only those have an ignore file, as with BuildKit.
    pub is_local: bool,
    /// The Dockerfile, where standard input is one.
    pub file: Option<SourceFile>,
}

impl<'s> Contexts<'s> {
    /// No contexts so far.
    pub fn new(settings: &'s Settings, lock: Option<&'s Lock>, tree: &'s Tree) -> Self {
        Self {
            settings,
            lock,
            tree,
            roots: BTreeMap::new(),
            remotes: Vec::new(),
            by_name: BTreeMap::new(),
            known: BTreeMap::new(),
            fetched: BTreeMap::new(),
            kept: Vec::new(),
        }
    }

    /// Finds the folder of a context; an archive or URL is fetched into the store, once.
    pub fn locate(&mut self, text: &str) -> Result<Root, Failure> {
        if let Some(path) = self.fetched.get(text) {
            return Ok(Root { path: path.clone(), is_local: false, file: None });
        }
        let path = match context::locate(text)? {
            Location::Folder(path) => return Ok(Root { path, is_local: true, file: None }),
            Location::Archive(archive, folder) => {
                self.kept.extend(folder);
                context::unpack(&archive, self.settings)?
            }
            Location::Remote(remote) => {
                let (op, path) = context::fetch_remote(&remote, self.settings, self.lock)?;
                self.remotes.push(op);
                path
            }
            Location::Nowhere(file, folder) => {
                let path = folder.path().to_owned();
                self.kept.push(folder);
                return Ok(Root { path, is_local: false, file: Some(file) });
            }
        };
        self.fetched.insert(text.to_owned(), path.clone());
        Ok(Root { path, is_local: false, file: None })
    }

    /// Notes a folder of this machine, with the ignore file of a Dockerfile or its own; `name` is what it is to be called.
    pub fn folder(&mut self, path: &Path, dockerfile: Option<&Path>, name: &str) -> Result<Found, Failure> {
        let ignore = ignore_file(path, dockerfile, self.tree)?;
        Ok(self.note(path.to_owned(), ignore, name))
    }

    /// As [`Contexts::folder`], of any context: only a folder of the user's own has an ignore file.
    pub fn root(&mut self, root: &Root, dockerfile: Option<&Path>, name: &str) -> Result<Found, Failure> {
        if root.is_local {
            self.folder(&root.path, dockerfile, name)
        } else {
            Ok(self.note(root.path.clone(), None, name))
        }
    }

    fn note(&mut self, path: PathBuf, ignore: Option<Arc<IgnoreFile>>, name: &str) -> Found {
        let rules = ignore.as_ref().map(|ignore| ignore.rules()).unwrap_or_default();
        let key = (path.clone(), rules);
        if let Some(known) = self.known.get(&key) {
            return Found { name: known.clone(), ignore };
        }
        let numbered = (2..).map(|number| format!("{name} ({number})"));
        let mut names = std::iter::once(name.to_owned()).chain(numbered);
        let name = names.find(|name| !self.by_name.contains_key(name)).unwrap_or_default();
        self.roots.insert(name.clone(), (path.clone(), ignore.clone()));
        let context = local_context(path, ignore.clone(), &self.settings.store);
        self.by_name.insert(name.clone(), Arc::new(context));
        self.known.insert(key, name.clone());
        Found { name, ignore }
    }
}
