//! What the sources of a COPY name.

use std::collections::BTreeMap;

use kairn_compiler::glob::Glob;
use kairn_compiler::graph::{CopyOp, CopySource, Ownership};
use kairn_compiler::ignore::IgnoreFile;
use kairn_image::Digest;
use kairn_image::layer::Timestamp;

use crate::error::Error;
use crate::tree::{Found, LastComponent, Node, NodeKind, StackedTree, ancestors, file_name, hash_node, join};

/// A file or directory that a source names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// Which of the copy's sources names it.
    pub source: usize,
    /// The name it gets in a destination directory.
    pub name: Vec<u8>,
    /// Where it is, after following a link that the source itself is.
    pub path: Vec<u8>,
}

/// Finds what some sources of a copy name, in the order of the sources and, under a wildcard, of the names.
///
/// # Errors
/// Fails where a source without wildcards is missing, or a wildcard stands below a missing directory.
pub fn select(op: &CopyOp, input: u16, tree: &StackedTree) -> Result<Vec<Selected>, Error> {
    let excludes = Filter::new(op, None)?;
    let mut selected = Vec::new();
    for (index, source) in op.sources.iter().enumerate().filter(|(_, source)| source.input == input) {
        let components: Vec<&str> =
            source.path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let matched = expand(&source.path, &components, tree)?;
        for path in matched {
            let resolved = tree.resolve(&path, LastComponent::Follow)?;
            let found = tree.lookup(&resolved);
            if !resolved.is_empty() && found.is_none() {
                return Err(missing(&source.path));
            }
            let is_directory = found.is_none_or(|found| found.node.is_directory());
            let name = file_name(&path).to_vec();
            if !is_directory && !excludes.keeps(&name) {
                continue;
            }
            let item = Selected { source: index, name, path: resolved };
            if let Some(parents) = source.parents.as_ref().filter(|parents| parents.required) {
                let pattern = Filter::new(op, Some(source))?;
                if !tree.walk(&item.path).keys().any(|path| pattern.keeps(below(path, &item.path))) {
                    return Err(missing(&parents.pattern));
                }
            }
            selected.push(item);
        }
    }
    Ok(selected)
}

/// Which names below a source are copied: those that `--parents` asks for, without those that `--exclude` leaves out.
struct Filter {
    wanted: Option<IgnoreFile>,
    excluded: IgnoreFile,
}

impl Filter {
    fn new(op: &CopyOp, source: Option<&CopySource>) -> Result<Self, Error> {
        let parents = source.and_then(|source| source.parents.as_ref());
        let wanted = parents
            .filter(|parents| parents.pattern != ".")
            .map(|parents| IgnoreFile::of_patterns([&*parents.pattern]))
            .transpose();
        let excluded = IgnoreFile::of_patterns(op.excludes.iter().map(String::as_str));
        Ok(Self { wanted: wanted.map_err(Error::user)?, excluded: excluded.map_err(Error::user)? })
    }

    fn keeps_all(&self) -> bool {
        self.wanted.is_none() && self.excluded.is_empty()
    }

    /// Whether a path relative to the source is copied for its own sake.
    fn keeps(&self, path: &[u8]) -> bool {
        let path = String::from_utf8_lossy(path);
        self.wanted.as_ref().is_none_or(|wanted| wanted.matches(&path)) && !self.excluded.matches(&path)
    }
}

/// The part of a path below a directory.
fn below<'p>(path: &'p [u8], directory: &[u8]) -> &'p [u8] {
    let rest = &path[directory.len()..];
    rest.strip_prefix(b"/").unwrap_or(rest)
}

/// What is copied of a directory: paths from the root of the tree, with the directories that lead to them.
///
/// # Errors
/// Fails where a pattern is malformed.
pub fn entries<'t>(
    op: &CopyOp,
    item: &Selected,
    tree: &'t StackedTree,
) -> Result<BTreeMap<&'t [u8], Found<'t>>, Error> {
    let mut entries = tree.walk(&item.path);
    let filter = Filter::new(op, Some(&op.sources[item.source]))?;
    if filter.keeps_all() {
        return Ok(entries);
    }
    let kept: Vec<&[u8]> =
        entries.keys().copied().filter(|path| filter.keeps(below(path, &item.path))).collect();
    let leading: Vec<&[u8]> = kept.iter().flat_map(|path| ancestors(path)).collect();
    let wanted: std::collections::BTreeSet<&[u8]> = kept.iter().chain(&leading).copied().collect();
    entries.retain(|path, _| wanted.contains(path));
    Ok(entries)
}

/// Expands the wildcards of one source, component by component.
fn expand(source: &str, components: &[&str], tree: &StackedTree) -> Result<Vec<Vec<u8>>, Error> {
    let first = components.iter().position(|part| is_pattern(part)).unwrap_or(components.len());
    let literal = components[..first].join("/").into_bytes();
    let mut found = vec![literal];
    for part in &components[first..] {
        let pattern = Glob::parse(part).map_err(|e| Error::user(format!("`{source}`: {e}")))?;
        let mut next = Vec::new();
        for directory in &found {
            let directory = tree.resolve(directory, LastComponent::Follow)?;
            let exists = directory.is_empty() || tree.lookup(&directory).is_some();
            if !exists {
                return Err(missing(source));
            }
            for path in tree.walk(&directory).into_keys() {
                let rest = &path[directory.len()..];
                let name = rest.strip_prefix(b"/").unwrap_or(rest);
                if name.contains(&b'/') {
                    continue;
                }
                let matches = pattern.matches(&String::from_utf8_lossy(name));
                if matches {
                    next.push(join(&directory, name));
                }
            }
        }
        found = next;
    }
    Ok(found)
}

/// Whether a component holds a wildcard or an escape.
fn is_pattern(component: &str) -> bool {
    component.contains(['*', '?', '[', '\\'])
}

fn missing(source: &str) -> Error {
    Error::user(format!("`{source}` is not there"))
}

/// The regular files among what is selected whose contents nobody has read yet, by path.
///
/// # Errors
/// As [`entries`].
pub fn unread(op: &CopyOp, selected: &[Selected], tree: &StackedTree) -> Result<Vec<Vec<u8>>, Error> {
    let mut files = Vec::new();
    let is_unread = |node: &Node| matches!(node.kind, NodeKind::File { content: [0, 0, 0, 0, ..], .. });
    if !tree.layers.iter().flat_map(|layer| layer.nodes.values()).any(is_unread) {
        return Ok(files);
    }
    let mut add = |path: &[u8], found: Found<'_>| {
        let file = tree.link_target(found).map(|(_, node)| node);
        if file.is_some_and(is_unread) {
            files.push(path.to_vec());
        }
    };
    for item in selected {
        match tree.lookup(&item.path) {
            Some(found) if !found.node.is_directory() => add(&item.path, found),
            _ => entries(op, item, tree)?.into_iter().for_each(|(path, found)| add(path, found)),
        }
    }
    Ok(files)
}

/// What becomes of a directory that is selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Top {
    /// What is in it is copied; its own name and attributes are nobody's.
    Emptied,
    /// It is shown as it is.
    Shown,
}

/// Digests what is selected: names, types, contents, and of the attributes those that the copy keeps.
///
/// # Errors
/// As [`entries`].
pub fn selection_digest(
    op: &CopyOp,
    selected: &[Selected],
    top: Top,
    tree: &StackedTree,
    contents: &dyn Fn(&[u8]) -> Option<[u8; 32]>,
) -> Result<Digest, Error> {
    let mut hasher = blake3::Hasher::new();
    visit(op, selected, top, tree, contents, &mut |name, _, node| hash_node(&mut hasher, name, node))?;
    Ok(Digest::from_bytes(*hasher.finalize().as_bytes()))
}

/// Lists what [`selection_digest`] digests, by path.
///
/// # Errors
/// As [`entries`].
pub fn list(
    op: &CopyOp,
    selected: &[Selected],
    top: Top,
    tree: &StackedTree,
    contents: &dyn Fn(&[u8]) -> Option<[u8; 32]>,
) -> Result<BTreeMap<Vec<u8>, Node>, Error> {
    let mut list = BTreeMap::new();
    visit(op, selected, top, tree, contents, &mut |_, path, node| {
        list.insert(path.to_vec(), Node { mtime: (0, 0), ..node.clone() });
    })?;
    Ok(list)
}

/// Is shown a name at the destination, a path, and a node.
type Show<'s> = &'s mut dyn FnMut(&[u8], &[u8], &Node);

/// Shows everything that is selected, with what of it counts: its name at the destination, its path, its node.
fn visit(
    op: &CopyOp,
    selected: &[Selected],
    top: Top,
    tree: &StackedTree,
    contents: &dyn Fn(&[u8]) -> Option<[u8; 32]>,
    show: Show<'_>,
) -> Result<(), Error> {
    let add = |source: &CopySource, name: &[u8], path: &[u8], found: Found<'_>, show: Show<'_>| {
        let mut node = found.node.clone();
        if source.ownership == Ownership::Root || op.chown.is_some() {
            (node.uid, node.gid) = (0, 0);
        }
        if let Some(mode) = &op.mode {
            node.mode = mode.apply(node.mode, node.is_directory());
        }
        // A further name of a file holds what the file holds, also where the file itself is not selected.
        let held = contents(path).or_else(|| match tree.link_target(found)?.1.kind {
            NodeKind::File { content, .. } => Some(content),
            _ => None,
        });
        match (&mut node.kind, held) {
            (NodeKind::File { content, .. }, Some(held)) => *content = held,
            (NodeKind::Hardlink { .. }, Some(held)) => {
                node.xattrs.insert(b"content".to_vec(), held.to_vec());
            }
            _ => {}
        }
        show(name, path, &node);
    };
    for item in selected {
        let source = &op.sources[item.source];
        let found = tree.lookup(&item.path);
        let is_directory = found.is_none_or(|found| found.node.is_directory());
        match found {
            Some(found) if !is_directory || top == Top::Shown => {
                add(source, &item.name, &item.path, found, show);
            }
            // That a directory is copied makes the destination one, which the root is anyway.
            _ if top == Top::Emptied && op.dest.bytes().all(|byte| byte == b'/') => {}
            _ => show(b"", &item.path, &Node::directory(0, 0, 0, Timestamp::default())),
        }
        if is_directory {
            for (path, found) in entries(op, item, tree)? {
                add(source, &path[item.path.len()..], path, found, show);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kairn_compiler::graph::{Archives, Parents};

    use super::*;
    use crate::tree::LayerTree;

    fn copy(path: &str, parents: Option<&str>, excludes: &[&str]) -> CopyOp {
        let parents = parents.map(|pattern| Parents { pattern: pattern.to_owned(), required: false });
        CopyOp {
            sources: vec![CopySource {
                input: 0,
                path: path.to_owned(),
                parents,
                ownership: Ownership::Keep,
                archives: Archives::Copy,
            }],
            dest: "/x".to_owned(),
            chown: None,
            mode: None,
            excludes: excludes.iter().map(|&exclude| exclude.to_owned()).collect(),
        }
    }

    #[test]
    fn patterns_choose_what_is_copied() {
        let mut layer = LayerTree::default();
        for path in ["a", "a/b", "a/b/c.txt", "a/b/d.md", "a/e.txt", "f", "f/g.txt"] {
            let kind = if path.contains('.') {
                NodeKind::File { size_bytes: 1, content: [1; 32] }
            } else {
                NodeKind::Directory
            };
            let node = Node { kind, ..Node::directory(0o755, 0, 0, Timestamp::default()) };
            layer.nodes.insert(path.as_bytes().to_vec(), node);
        }
        let tree = StackedTree { layers: vec![Arc::new(layer)] };
        for (path, parents, excludes, expected) in [
            (".", None, &["**/*.txt"][..], "a a/b a/b/d.md f"),
            (".", None, &["a", "!a/e.txt"], "a a/e.txt f f/g.txt"),
            ("a", None, &["b"], "a/e.txt"),
            (".", Some("a/b/c.txt"), &[], "a a/b a/b/c.txt"),
            (".", Some("*/*.txt"), &[], "a a/e.txt f f/g.txt"),
            (".", Some("**/*.txt"), &["a/b"], "a a/e.txt f f/g.txt"),
            ("a", Some("b"), &[], "a/b a/b/c.txt a/b/d.md"),
        ] {
            let op = copy(path, parents, excludes);
            let selected = select(&op, 0, &tree).unwrap();
            let found = entries(&op, &selected[0], &tree).unwrap();
            let names: Vec<_> = found.keys().map(|path| String::from_utf8_lossy(path)).collect();
            assert_eq!(names.join(" "), expected, "{path} {parents:?} {excludes:?}");
        }
        let op = copy("a/*.txt", None, &["e.*"]);
        assert_eq!(select(&op, 0, &tree).unwrap(), []);
    }

    #[test]
    fn a_hard_link_counts_by_what_it_holds() {
        let digest = |content: u8| {
            let mut layer = LayerTree::default();
            let mut add = |path: &[u8], kind| {
                let node = Node { kind, ..Node::directory(0o644, 0, 0, Timestamp::default()) };
                layer.nodes.insert(path.to_vec(), node);
            };
            add(b"a", NodeKind::File { size_bytes: 1, content: [content; 32] });
            add(b"b", NodeKind::Hardlink { target: b"a".to_vec() });
            let tree = StackedTree { layers: vec![Arc::new(layer)] };
            let op = copy("b", None, &[]);
            let selected = select(&op, 0, &tree).unwrap();
            selection_digest(&op, &selected, Top::Emptied, &tree, &|_| None).unwrap()
        };
        assert_eq!(digest(1), digest(1));
        assert_ne!(digest(1), digest(2));
    }
}
