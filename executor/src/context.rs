//! Local build contexts: scanned once per build, files read only where a step takes them.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use rayon::prelude::*;

use crate::copy::View;
use crate::error::Error;
use crate::snapshot::read::{Reading, Verdict, open_file, open_root, scan};
use crate::snapshot::unpack::digest_of;
use crate::tree::StackedTree;

/// Says of each name of a context (relative, with slashes) whether it is there.
pub type IgnoreFilter = Box<dyn Fn(&str, bool) -> Verdict + Send + Sync>;

/// A local build context.
pub struct Context {
    /// The directory.
    pub root: PathBuf,
    filter: IgnoreFilter,
    view: OnceLock<View>,
    digests: Mutex<BTreeMap<Vec<u8>, [u8; 32]>>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Context {
    /// Makes a context of a directory; nothing is read yet.
    pub fn new(root: PathBuf, filter: IgnoreFilter) -> Self {
        Self { root, filter, view: OnceLock::new(), digests: Mutex::default() }
    }

    /// The context's names.
    ///
    /// # Errors
    /// Fails where a directory cannot be read.
    pub fn view(&self) -> Result<&View, Error> {
        if let Some(view) = self.view.get() {
            return Ok(view);
        }
        let found = scan(&self.root, Reading::Plain, &self.filter)?;
        let view = View {
            tree: StackedTree { layers: vec![Arc::new(found.tree)] },
            roots: vec![Arc::new(open_root(&self.root)?)],
        };
        Ok(self.view.get_or_init(|| view))
    }

    /// Digests the contents of files, each once per build.
    ///
    /// # Errors
    /// Fails where a file cannot be read.
    pub fn digests(&self, files: Vec<Vec<u8>>) -> Result<BTreeMap<Vec<u8>, [u8; 32]>, Error> {
        let known = self.digests.lock().expect("no holder of this lock panics").clone();
        let root = &self.view()?.roots[0];
        let fresh: BTreeMap<Vec<u8>, [u8; 32]> = files
            .into_par_iter()
            .filter(|path| !known.contains_key(path))
            .map(|path| {
                let mut file = open_file(root.as_fd(), &path)?;
                Ok((path, digest_of(&mut file, &mut std::io::sink())?))
            })
            .collect::<Result<_, Error>>()?;
        let mut digests = self.digests.lock().expect("no holder of this lock panics");
        digests.extend(fresh);
        Ok(digests.clone())
    }

    /// Whether a path is on the disk, though perhaps not in the context.
    pub fn is_on_disk(&self, path: &str) -> bool {
        self.root.join(path).symlink_metadata().is_ok()
    }
}
