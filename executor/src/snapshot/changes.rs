//! What of a RUN's files is a change: the same answer whether an overlay or a plain directory recorded it.
//!
//! An overlay's upper directory holds whatever was opened for writing, and a directory's walk finds whatever has
//! another inode or change time. Of both, only what differs from the state below is a change, together with the
//! directories above it; a directory made anew in the place of another is told apart by what it no longer has.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Error;
use crate::tree::{Found, LayerTree, Node, NodeKind, StackedTree, ancestors};

/// Gives the BLAKE3 of a file of the tree.
pub(crate) type DigestOf<'a> = &'a mut dyn FnMut(&[u8]) -> Result<[u8; 32], Error>;

/// Leaves in a tree what differs from the state below it, and the directories that this stands in.
///
/// # Errors
/// Those of `digest`.
pub(crate) fn keep_changes(
    tree: &mut LayerTree,
    below: &StackedTree,
    digest: DigestOf<'_>,
) -> Result<(), Error> {
    spell_out_opaque(tree, below);
    tree.nodes.retain(|path, node| node.kind != NodeKind::Whiteout || below.lookup(path).is_some());
    let unchanged = unchanged_files(tree, below, digest)?;
    tree.nodes.retain(|path, _| !unchanged.contains(path));
    let mut needed: BTreeSet<Vec<u8>> = BTreeSet::new();
    let mut idle = Vec::new();
    for (path, node) in tree.nodes.iter().rev() {
        let changed = !node.is_directory()
            || below.lookup(path).is_none_or(|found| !has_same_attributes(node, found.node));
        if !path.is_empty() && !changed && !needed.contains(path) {
            idle.push(path.clone());
            continue;
        }
        needed.extend(ancestors(path).map(<[u8]>::to_vec));
    }
    for path in idle {
        tree.nodes.remove(&path);
    }
    Ok(())
}

/// Replaces the mark of a directory that hides the one below by the removals that it stands for.
fn spell_out_opaque(tree: &mut LayerTree, below: &StackedTree) {
    let opaque: Vec<Vec<u8>> =
        tree.nodes.iter().filter(|(_, node)| node.opaque).map(|(path, _)| path.clone()).collect();
    for directory in opaque {
        if below.lookup(&directory).is_some_and(|found| found.node.is_directory()) {
            remove_missing(tree, &below.walk(&directory));
        }
        tree.nodes.get_mut(&directory).expect("listed above").opaque = false;
    }
}

/// Adds a removal for every name of `before` that the tree does not have, unless its directory is gone as well.
fn remove_missing(tree: &mut LayerTree, before: &BTreeMap<&[u8], Found<'_>>) {
    for path in before.keys() {
        if tree.nodes.contains_key(*path) {
            continue;
        }
        let hidden = ancestors(path).filter_map(|dir| tree.nodes.get(dir)).any(|above| !above.is_directory());
        if !hidden {
            tree.nodes.insert(path.to_vec(), Node::whiteout());
        }
    }
}

/// The names that are no directories and are as they were. Names of one file change together or not at all.
fn unchanged_files(
    tree: &LayerTree,
    below: &StackedTree,
    digest: DigestOf<'_>,
) -> Result<BTreeSet<Vec<u8>>, Error> {
    let mut files: BTreeMap<&[u8], Vec<&[u8]>> = BTreeMap::new();
    for (path, node) in &tree.nodes {
        match &node.kind {
            NodeKind::Directory | NodeKind::Whiteout => {}
            NodeKind::Hardlink { target } => files.entry(target).or_default().push(path),
            _ => files.entry(path).or_default().push(path),
        }
    }
    let mut unchanged = BTreeSet::new();
    for (file, names) in files {
        let Some(node) = tree.nodes.get(file) else { continue };
        let mut before = names.iter().map(|name| {
            let found = below.lookup(name)?;
            let (link, data) = below.link_target(found)?;
            Some(((found.layer, link.unwrap_or(name).to_vec()), data))
        });
        let Some(Some((identity, data))) = before.next() else { continue };
        let is_one_file = before.all(|other| other.is_some_and(|(other, _)| other == identity));
        if is_one_file && has_same_attributes(node, data) && has_same_content(node, data, file, digest)? {
            unchanged.extend(names.into_iter().map(<[u8]>::to_vec));
        }
    }
    Ok(unchanged)
}

/// Whether everything but a file's content is equal, its time too.
fn has_same_attributes(node: &Node, before: &Node) -> bool {
    let (a, b) = (node, before);
    std::mem::discriminant(&a.kind) == std::mem::discriminant(&b.kind)
        && (a.mode, a.uid, a.gid, a.mtime) == (b.mode, b.uid, b.gid, b.mtime)
        && a.xattrs == b.xattrs
}

fn has_same_content(node: &Node, before: &Node, path: &[u8], digest: DigestOf<'_>) -> Result<bool, Error> {
    match (&node.kind, &before.kind) {
        (
            NodeKind::File { size_bytes, .. },
            NodeKind::File { size_bytes: size_before, content: content_before },
        ) => Ok(size_bytes == size_before && digest(path)? == *content_before),
        (after, before) => Ok(after == before),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use kairn_image::layer::Timestamp;

    fn node(kind: NodeKind) -> Node {
        Node { kind, ..Node::directory(0o755, 0, 0, Timestamp::default()) }
    }

    fn file(byte: u8) -> Node {
        node(NodeKind::File { size_bytes: 1, content: [byte; 32] })
    }

    fn tree<const N: usize>(entries: [(&str, Node); N]) -> LayerTree {
        LayerTree {
            nodes: entries.into_iter().map(|(path, node)| (path.as_bytes().to_vec(), node)).collect(),
        }
    }

    fn names(tree: &LayerTree) -> Vec<String> {
        let shown = |(path, node): (&Vec<u8>, &Node)| {
            let mark = if node.kind == NodeKind::Whiteout { "-" } else { "" };
            format!("{mark}{}", String::from_utf8_lossy(path))
        };
        tree.nodes.iter().map(shown).collect()
    }

    fn link(target: &str) -> Node {
        node(NodeKind::Hardlink { target: target.as_bytes().to_vec() })
    }

    #[test]
    fn what_was_only_opened_is_no_change() {
        let dir = || node(NodeKind::Directory);
        let base = tree([("a", dir()), ("a/b", dir()), ("a/b/f", file(1)), ("a/g", file(1)), ("x", dir())]);
        let below = StackedTree { layers: vec![Arc::new(base.clone())] };
        let mut upper = base.clone();
        keep_changes(&mut upper, &below, &mut |_| Ok([1; 32])).unwrap();
        assert_eq!(names(&upper), Vec::<String>::new());
        let mut upper = base;
        upper.nodes.get_mut(&b"a/b/f"[..]).unwrap().mode = 0o700;
        keep_changes(&mut upper, &below, &mut |_| Ok([1; 32])).unwrap();
        assert_eq!(names(&upper), ["a", "a/b", "a/b/f"]);
    }

    #[test]
    fn a_directory_made_anew_says_what_is_gone() {
        let dir = || node(NodeKind::Directory);
        let base =
            tree([("d", dir()), ("d/e", dir()), ("d/e/f", file(1)), ("d/g", file(1)), ("d/h", file(1))]);
        let below = StackedTree { layers: vec![Arc::new(base)] };
        let opaque = Node { opaque: true, ..dir() };
        let mut upper = tree([("d", opaque), ("d/g", file(1)), ("d/h", file(2))]);
        keep_changes(&mut upper, &below, &mut |path| Ok(if path == b"d/g" { [1; 32] } else { [2; 32] }))
            .unwrap();
        assert_eq!(names(&upper), ["d", "-d/e", "d/h"]);
        assert!(!upper.nodes[&b"d"[..]].opaque);
    }

    #[test]
    fn names_of_one_file_change_together() {
        let base = tree([("a", file(1)), ("b", file(1)), ("c", file(1)), ("d", link("c"))]);
        let below = StackedTree { layers: vec![Arc::new(base)] };
        let mut one = |_: &[u8]| Ok([1; 32]);
        let mut joined = tree([("a", file(1)), ("b", link("a"))]);
        keep_changes(&mut joined, &below, &mut one).unwrap();
        assert_eq!(names(&joined), ["a", "b"]);
        let mut kept = tree([("c", file(1)), ("d", link("c"))]);
        keep_changes(&mut kept, &below, &mut one).unwrap();
        assert_eq!(names(&kept), Vec::<String>::new());
        let mut further = tree([("c", file(1)), ("e", link("c"))]);
        keep_changes(&mut further, &below, &mut one).unwrap();
        assert_eq!(names(&further), ["c", "e"]);
    }
}
