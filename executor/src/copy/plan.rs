//! Where copied files go, and what they become there.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use kairn_compiler::graph::{CopyOp, Ownership};

use super::View;
use super::select::{self, Selected};
use crate::BUILD_TIME;
use crate::error::{Error, host_path};
use crate::tree::{
    Found, LastComponent, LayerTree, Node, NodeKind, StackedTree, ancestors, components, file_name, join,
};
use crate::users::Owner;

/// A layer to be: its names, and where the contents of its files are.
#[derive(Debug, Default)]
pub struct LayerPlan {
    /// The names.
    pub tree: LayerTree,
    /// The content of each regular file.
    pub contents: BTreeMap<Vec<u8>, Content>,
}

/// Where a file's content is.
#[derive(Clone, Debug)]
pub struct Content {
    /// A handle to the directory of its layer, or of the archive that it comes from.
    pub root: Arc<OwnedFd>,
    /// The path in that directory.
    pub path: Vec<u8>,
}

/// What is copied from, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct From<'a> {
    /// The files.
    pub view: &'a View,
    /// BLAKE3 of contents that have been read, by path.
    pub digests: &'a BTreeMap<Vec<u8>, [u8; 32]>,
}

/// What is copied along with a file.
struct Siblings<'a> {
    entries: &'a BTreeMap<&'a [u8], Found<'a>>,
    /// Directory that they are copied from.
    from: &'a [u8],
    /// Directory that they are copied to.
    to: &'a [u8],
}

impl Siblings<'_> {
    /// Where a file of a layer is copied to, if it is copied along.
    fn target(&self, path: &[u8], layer: usize) -> Option<Vec<u8>> {
        self.entries.get(path).filter(|sibling| sibling.layer == layer)?;
        let rest = path.strip_prefix(self.from)?;
        Some(join(self.to, rest.strip_prefix(b"/").unwrap_or(rest)))
    }
}

/// Places files at a destination.
#[derive(Debug)]
pub struct Planner<'a> {
    dest: &'a StackedTree,
    op: Option<&'a CopyOp>,
    owner: Option<Owner>,
    plan: LayerPlan,
}

impl<'a> Planner<'a> {
    /// Starts a plan on the file system `dest`; `owner` is `--chown`, resolved.
    pub fn new(op: &'a CopyOp, dest: &'a StackedTree, owner: Option<Owner>) -> Self {
        Self { dest, op: Some(op), owner, plan: LayerPlan::default() }
    }

    /// Starts a plan that only makes directories, for `owner`.
    pub fn for_directories(dest: &'a StackedTree, owner: Owner) -> Self {
        Self { dest, op: None, owner: Some(owner), plan: LayerPlan::default() }
    }

    /// The finished plan.
    pub fn finish(self) -> LayerPlan {
        self.plan
    }

    /// Makes a directory and those above it, where they are missing.
    ///
    /// # Errors
    /// Fails where one of them is there and no directory.
    pub fn directory(&mut self, path: &[u8]) -> Result<(), Error> {
        let path = self.resolve(path)?;
        if self.dest.lookup(&path).is_some_and(|found| found.node.is_directory()) {
            return Ok(());
        }
        self.open_directory(&path)
    }

    /// Copies what a source of `op` selected: a directory's content into the destination, anything else into or onto it.
    ///
    /// # Errors
    /// Fails where a directory would go onto something else or the other way round.
    pub fn copy(&mut self, op: &CopyOp, selected: &Selected, from: From<'_>) -> Result<(), Error> {
        let found = from.view.tree.lookup(&selected.path);
        let resolved = self.resolve(op.dest.as_bytes())?;
        let ownership = op.sources[selected.source].ownership;
        let Some(found) = found.filter(|found| !found.node.is_directory()) else {
            self.open_directory(&resolved)?;
            let entries = select::entries(op, selected, &from.view.tree)?;
            for (path, found) in &entries {
                let rest = path.strip_prefix(selected.path.as_slice()).unwrap_or(path);
                let rest = rest.strip_prefix(b"/").unwrap_or(rest);
                let target = join(&resolved, rest);
                let siblings = Siblings { entries: &entries, from: &selected.path, to: &resolved };
                self.place(&target, path, *found, from, ownership, &siblings)?;
            }
            return Ok(());
        };
        let target = if self.is_directory_destination(&op.dest, &resolved) {
            join(&resolved, &selected.name)
        } else {
            resolved
        };
        let alone = Siblings { entries: &BTreeMap::new(), from: b"", to: b"" };
        self.place(&target, &selected.path, found, from, ownership, &alone)
    }

    /// Puts an unpacked archive's entries at the destination, with their own attributes.
    ///
    /// # Errors
    /// As [`Self::copy`].
    pub fn archive(&mut self, tree: &LayerTree, root: &Arc<OwnedFd>, dest: &str) -> Result<(), Error> {
        let resolved = self.resolve(dest.as_bytes())?;
        self.open_directory(&resolved)?;
        for (path, node) in tree.nodes.iter().filter(|(path, _)| !path.is_empty()) {
            let target = join(&resolved, path);
            let target = self.resolve_parents(&target)?;
            if node.implicit {
                self.open_directory(&target)?;
                continue;
            }
            let mut node = node.clone();
            if let NodeKind::Hardlink { target } = &mut node.kind {
                *target = self.resolve_parents(&join(&resolved, target))?;
            }
            if let Some(owner) = self.owner {
                (node.uid, node.gid) = (owner.uid, owner.gid);
            }
            self.apply_mode(&mut node);
            let content = Content { root: Arc::clone(root), path: path.clone() };
            self.put(target, node, Some(content))?;
        }
        Ok(())
    }

    fn is_directory_destination(&self, written: &str, resolved: &[u8]) -> bool {
        written.ends_with('/')
            || resolved.is_empty()
            || self.current(resolved).is_some_and(Node::is_directory)
    }

    fn place(
        &mut self,
        target: &[u8],
        path: &[u8],
        found: Found<'_>,
        from: From<'_>,
        ownership: Ownership,
        siblings: &Siblings<'_>,
    ) -> Result<(), Error> {
        let Some((link, data)) = from.view.tree.link_target(found) else {
            return Err(Error::user(format!(
                "the target of the hard link `{}` is gone",
                host_path(path).display()
            )));
        };
        let mut node = data.clone();
        if let Some(link) = link
            && let Some(target) = siblings.target(link, found.layer)
        {
            node.kind = NodeKind::Hardlink { target };
        }
        if let (NodeKind::File { content, .. }, Some(known)) = (&mut node.kind, from.digests.get(path)) {
            // What the key was made of: a file that has changed since is noticed.
            *content = *known;
        }
        (node.opaque, node.implicit) = (false, false);
        match (self.owner, ownership) {
            (Some(owner), _) => (node.uid, node.gid) = (owner.uid, owner.gid),
            (None, Ownership::Root) => (node.uid, node.gid) = (0, 0),
            (None, Ownership::Keep) => {}
        }
        self.apply_mode(&mut node);
        let content = Content { root: Arc::clone(&from.view.roots[found.layer]), path: path.to_vec() };
        self.put(target.to_vec(), node, Some(content))
    }

    fn apply_mode(&self, node: &mut Node) {
        if let Some(mode) = self.op.and_then(|op| op.mode.as_ref())
            && !matches!(node.kind, NodeKind::Symlink { .. })
        {
            node.mode = mode.apply(node.mode, node.is_directory());
        }
    }

    /// Puts a node at a path, with the directories above it.
    fn put(&mut self, target: Vec<u8>, node: Node, content: Option<Content>) -> Result<(), Error> {
        if file_name(&target).starts_with(b".wh.") {
            return Err(Error::user(format!(
                "`{}` cannot be in an image: a name that starts with `.wh.` means a removal",
                host_path(&target).display()
            ))
            .with_help("rename it, or list it in .dockerignore"));
        }
        match self.current(&target) {
            Some(existing) if existing.is_directory() != node.is_directory() => {
                let shown = host_path(&target);
                return Err(Error::user(if node.is_directory() {
                    format!("cannot copy to non-directory `/{}`", shown.display())
                } else {
                    format!("cannot copy a file over the directory `/{}`", shown.display())
                }));
            }
            _ => {}
        }
        self.open_parents(&target)?;
        if let (NodeKind::File { .. }, Some(content)) = (&node.kind, content) {
            self.plan.contents.insert(target.clone(), content);
        } else {
            self.plan.contents.remove(&target);
        }
        self.plan.tree.nodes.insert(target, node);
        Ok(())
    }

    fn open_parents(&mut self, path: &[u8]) -> Result<(), Error> {
        ancestors(path).try_for_each(|directory| self.open_one(directory))
    }

    /// Makes sure that a directory and those above it are in the layer, as they are or newly made.
    fn open_directory(&mut self, path: &[u8]) -> Result<(), Error> {
        self.open_parents(path)?;
        if path.is_empty() { Ok(()) } else { self.open_one(path) }
    }

    fn open_one(&mut self, directory: &[u8]) -> Result<(), Error> {
        let node = match self.current(directory) {
            Some(node) if node.is_directory() => Node { opaque: false, implicit: false, ..node.clone() },
            Some(_) => {
                let shown = host_path(directory);
                return Err(Error::user(format!("cannot copy to non-directory `/{}`", shown.display())));
            }
            None => {
                let owner = self.owner.unwrap_or(Owner { uid: 0, gid: 0 });
                Node::directory(0o755, owner.uid, owner.gid, BUILD_TIME)
            }
        };
        self.plan.tree.nodes.entry(directory.to_vec()).or_insert(node);
        Ok(())
    }

    fn current(&self, path: &[u8]) -> Option<&Node> {
        self.plan.tree.nodes.get(path).or_else(|| self.dest.lookup(path).map(|found| found.node))
    }

    fn resolve(&self, path: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.dest.resolve(path, LastComponent::Follow)?)
    }

    fn resolve_parents(&self, path: &[u8]) -> Result<Vec<u8>, Error> {
        let clean: Vec<&[u8]> = components(path).collect();
        Ok(self.dest.resolve(&clean.join(&b'/'), LastComponent::Keep)?)
    }
}
