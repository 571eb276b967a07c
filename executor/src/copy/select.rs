//! What the sources of a COPY name.

use std::collections::BTreeMap;

use kairn_compiler::graph::{CopyOp, Ownership};
use kairn_image::Digest;

use crate::error::Error;
use crate::glob;
use crate::tree::{Found, LastComponent, Node, NodeKind, StackedTree, file_name, hash_node, join};

/// A file or directory that a source names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// The name it gets in a destination directory.
    pub name: Vec<u8>,
    /// Where it is, after following a link that the source itself is.
    pub path: Vec<u8>,
}

/// Finds what the sources name, in the order of the sources and, under a wildcard, of the names.
///
/// # Errors
/// Fails where a source without wildcards is missing, or a wildcard stands below a missing directory.
pub fn select(sources: &[String], tree: &StackedTree) -> Result<Vec<Selected>, Error> {
    let mut selected = Vec::new();
    for source in sources {
        let components: Vec<&str> =
            source.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let matched = expand(source, &components, tree)?;
        for path in matched {
            let resolved = tree.resolve(&path, LastComponent::Follow)?;
            if !resolved.is_empty() && tree.lookup(&resolved).is_none() {
                return Err(missing(source));
            }
            selected.push(Selected { name: file_name(&path).to_vec(), path: resolved });
        }
    }
    Ok(selected)
}

/// Expands the wildcards of one source, component by component.
fn expand(source: &str, components: &[&str], tree: &StackedTree) -> Result<Vec<Vec<u8>>, Error> {
    let first = components.iter().position(|part| glob::is_pattern(part)).unwrap_or(components.len());
    let literal = components[..first].join("/").into_bytes();
    let mut found = vec![literal];
    for part in &components[first..] {
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
                let matches = glob::matches(part, &String::from_utf8_lossy(name))
                    .map_err(|e| Error::user(e.to_string()))?;
                if matches {
                    next.push(join(&directory, name));
                }
            }
        }
        found = next;
    }
    Ok(found)
}

fn missing(source: &str) -> Error {
    Error::user(format!("`{source}` is not there"))
}

/// The regular files among what is selected, by path.
pub fn files<'a>(selected: &[Selected], tree: &'a StackedTree) -> BTreeMap<Vec<u8>, &'a Node> {
    let mut files = BTreeMap::new();
    let is_file = |node: &Node| matches!(node.kind, NodeKind::File { .. } | NodeKind::Hardlink { .. });
    for item in selected {
        match tree.lookup(&item.path) {
            Some(found) if is_file(found.node) => {
                files.insert(item.path.clone(), found.node);
            }
            Some(found) if !found.node.is_directory() => {}
            _ => files.extend(
                tree.walk(&item.path)
                    .into_iter()
                    .filter(|(_, found)| is_file(found.node))
                    .map(|(path, found)| (path.to_vec(), found.node)),
            ),
        }
    }
    files
}

/// Digests what is selected: names, types, contents, and of the attributes those that the copy keeps.
pub fn selection_digest(
    op: &CopyOp,
    selected: &[Selected],
    tree: &StackedTree,
    contents: &dyn Fn(&[u8]) -> Option<[u8; 32]>,
) -> Digest {
    let mut hasher = blake3::Hasher::new();
    let mut add = |name: &[u8], path: &[u8], found: Found<'_>| {
        let mut node = found.node.clone();
        if op.ownership == Ownership::Root || op.chown.is_some() {
            (node.uid, node.gid) = (0, 0);
        }
        if op.mode.is_some() {
            node.mode = 0;
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
        hash_node(&mut hasher, name, &node);
    };
    for item in selected {
        if let Some(found) = tree.lookup(&item.path) {
            add(&item.name, &item.path, found);
        }
        for (path, found) in tree.walk(&item.path) {
            add(&path[item.path.len()..], path, found);
        }
    }
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kairn_compiler::graph::Archives;
    use kairn_image::layer::Timestamp;

    use super::*;
    use crate::tree::LayerTree;

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
            let op = CopyOp {
                sources: vec!["b".to_owned()],
                dest: "/b".to_owned(),
                chown: None,
                mode: None,
                ownership: Ownership::Keep,
                archives: Archives::Copy,
            };
            let selected = select(&op.sources, &tree).unwrap();
            selection_digest(&op, &selected, &tree, &|_| None)
        };
        assert_eq!(digest(1), digest(1));
        assert_ne!(digest(1), digest(2));
    }
}
