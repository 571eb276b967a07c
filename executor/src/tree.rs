//! What a layer and a file-system state hold, name by name, without their bytes.
//!
//! A [`LayerTree`] lists one layer's entries with a digest of each file's content; a [`StackedTree`] looks through a
//! stack of them as an overlay mount would. COPY, WORKDIR and content digests need no more than this, so no root
//! file system has to stand on the disk for them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use kairn_image::Digest;
use kairn_image::layer::{Entry, EntryKind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::users::Owner;

/// The most symbolic links that one path may pass, as in the kernel.
const MAX_LINKS: usize = 40;

/// One name in a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits, at most 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds and nanoseconds of the last change of the content; never part of a digest.
    pub mtime: (i64, u32),
    /// Extended attributes by full name.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Set where the layer hides whatever is below this name (an opaque directory, or one made anew).
    pub opaque: bool,
    /// Set where no entry of the layer spoke of this directory: it stands only because something is in it.
    pub implicit: bool,
}

/// What a name in a layer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeKind {
    /// A regular file.
    File {
        /// Length in bytes.
        size_bytes: u64,
        /// BLAKE3 of the content; zeros where nobody has read it yet (a build context's files).
        content: [u8; 32],
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Its text.
        target: Vec<u8>,
    },
    /// A further name of another file of the same layer.
    Hardlink {
        /// Path of that file.
        target: Vec<u8>,
    },
    /// A character device.
    CharDevice(u32, u32),
    /// A block device.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
    /// The name is removed from the layers below.
    Whiteout,
}

impl Node {
    /// Makes a directory node.
    pub fn directory(mode: u32, uid: u32, gid: u32, mtime: Timestamp) -> Self {
        Self {
            kind: NodeKind::Directory,
            mode,
            uid,
            gid,
            mtime: (mtime.seconds, mtime.nanoseconds),
            xattrs: BTreeMap::new(),
            opaque: false,
            implicit: false,
        }
    }

    /// Makes the node that says that a name is gone.
    pub fn whiteout() -> Self {
        Self { kind: NodeKind::Whiteout, ..Self::directory(0, 0, 0, crate::BUILD_TIME) }
    }

    /// Takes the metadata of a tar entry; `content` is the file's BLAKE3.
    pub fn from_entry(entry: &Entry, content: [u8; 32]) -> Self {
        let kind = match &entry.kind {
            EntryKind::File { size_bytes } => NodeKind::File { size_bytes: *size_bytes, content },
            EntryKind::Directory => NodeKind::Directory,
            EntryKind::Symlink { target } => NodeKind::Symlink { target: target.clone() },
            EntryKind::Hardlink { target } => NodeKind::Hardlink { target: target.clone() },
            EntryKind::CharDevice { major, minor } => NodeKind::CharDevice(*major, *minor),
            EntryKind::BlockDevice { major, minor } => NodeKind::BlockDevice(*major, *minor),
            EntryKind::Fifo => NodeKind::Fifo,
        };
        Self {
            kind,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: (entry.mtime.seconds, entry.mtime.nanoseconds),
            xattrs: entry.xattrs.clone(),
            opaque: false,
            implicit: false,
        }
    }

    /// User and group.
    pub fn owner(&self) -> Owner {
        Owner { uid: self.uid, gid: self.gid }
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == NodeKind::Directory
    }

    /// The tar entry for this node at `path`; `None` for a whiteout, which has another name in a tar.
    pub fn to_entry(&self, path: &[u8]) -> Option<Entry> {
        let kind = match &self.kind {
            NodeKind::File { size_bytes, .. } => EntryKind::File { size_bytes: *size_bytes },
            NodeKind::Directory => EntryKind::Directory,
            NodeKind::Symlink { target } => EntryKind::Symlink { target: target.clone() },
            NodeKind::Hardlink { target } => EntryKind::Hardlink { target: target.clone() },
            NodeKind::CharDevice(major, minor) => EntryKind::CharDevice { major: *major, minor: *minor },
            NodeKind::BlockDevice(major, minor) => EntryKind::BlockDevice { major: *major, minor: *minor },
            NodeKind::Fifo => EntryKind::Fifo,
            NodeKind::Whiteout => return None,
        };
        Some(Entry {
            path: path.to_vec(),
            kind,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            mtime: Timestamp { seconds: self.mtime.0, nanoseconds: self.mtime.1 },
            xattrs: self.xattrs.clone(),
        })
    }
}

/// The entries of one layer, by path from the root without a leading slash.
///
/// Byte order puts every directory before what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerTree {
    /// The names.
    pub nodes: BTreeMap<Vec<u8>, Node>,
}

impl LayerTree {
    /// Digests names, types, modes, owners, sizes, contents, link targets, devices and xattrs: everything but times.
    ///
    /// Two layers with one digest change a file system in the same way. An empty layer has the digest of no bytes.
    pub fn content_digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        for (path, node) in &self.nodes {
            hash_node(&mut hasher, path, node);
        }
        Digest::from_bytes(*hasher.finalize().as_bytes())
    }

    /// The names strictly below `directory`, in order.
    pub fn below<'a>(&'a self, directory: &[u8]) -> impl Iterator<Item = (&'a Vec<u8>, &'a Node)> + use<'a> {
        let root = directory.is_empty();
        let start = if root { Vec::new() } else { [directory, b"/"].concat() };
        let end = if root { Bound::Unbounded } else { Bound::Excluded([directory, b"0"].concat()) };
        let range = self.nodes.range::<Vec<u8>, _>((Bound::Included(start), end));
        range.filter(move |(path, _)| !(root && path.is_empty()))
    }

    /// Makes the first name of every file, by order, the file, and the others links to it: whoever makes the files in
    /// order then finds what a link stands for.
    pub fn order_links(&mut self) {
        let target = |node: Option<&Node>| match node.map(|node| &node.kind) {
            Some(NodeKind::Hardlink { target }) => Some(target.clone()),
            _ => None,
        };
        let mut files: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
        for (path, node) in &self.nodes {
            let Some(mut file) = target(Some(node)) else { continue };
            for _ in 0..MAX_LINKS {
                let Some(next) = target(self.nodes.get(&file)) else { break };
                file = next;
            }
            files.entry(file).or_default().push(path.clone());
        }
        for (file, mut names) in files {
            let Some(node) = self.nodes.get(&file).filter(|node| !node.is_directory()).cloned() else {
                continue;
            };
            names.push(file);
            names.sort_unstable();
            let (first, others) = names.split_first().expect("a file has a name");
            for name in others {
                let kind = NodeKind::Hardlink { target: first.clone() };
                self.nodes.insert(name.clone(), Node { kind, ..node.clone() });
            }
            self.nodes.insert(first.clone(), node);
        }
    }

    /// Adds the directories that entries stand in and that the layer does not speak of.
    pub fn add_implicit_directories(&mut self) {
        let missing: BTreeSet<Vec<u8>> = self
            .nodes
            .keys()
            .flat_map(|path| ancestors(path))
            .filter(|dir| !self.nodes.contains_key(*dir))
            .map(<[u8]>::to_vec)
            .collect();
        for directory in missing {
            let node = Node { implicit: true, ..Node::directory(0o755, 0, 0, crate::BUILD_TIME) };
            self.nodes.insert(directory, node);
        }
    }
}

/// Adds one name with everything but its time to a digest, unambiguously framed.
pub fn hash_node(hasher: &mut blake3::Hasher, path: &[u8], node: &Node) {
    let mut frame = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    frame(path);
    match &node.kind {
        NodeKind::File { size_bytes, content } => {
            frame(b"file");
            frame(&size_bytes.to_le_bytes());
            frame(content);
        }
        NodeKind::Directory => frame(if node.opaque { b"opaque directory" } else { b"directory" }),
        NodeKind::Symlink { target } => {
            frame(b"symlink");
            frame(target);
        }
        NodeKind::Hardlink { target } => {
            frame(b"hardlink");
            frame(target);
        }
        NodeKind::CharDevice(major, minor) => {
            frame(b"char");
            frame(&major.to_le_bytes());
            frame(&minor.to_le_bytes());
        }
        NodeKind::BlockDevice(major, minor) => {
            frame(b"block");
            frame(&major.to_le_bytes());
            frame(&minor.to_le_bytes());
        }
        NodeKind::Fifo => frame(b"fifo"),
        NodeKind::Whiteout => frame(b"whiteout"),
    }
    for number in [node.mode, node.uid, node.gid] {
        frame(&number.to_le_bytes());
    }
    frame(&(node.xattrs.len() as u64).to_le_bytes());
    for (name, value) in &node.xattrs {
        frame(name);
        frame(value);
    }
}

/// The directories above a path, outermost first; the root is not among them.
pub fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at])
}

/// Joins a directory and a name; the root is the empty path.
pub fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() {
        name.to_vec()
    } else if name.is_empty() {
        directory.to_vec()
    } else {
        [directory, b"/", name].concat()
    }
}

/// The last component of a path.
pub fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// The directory that a path stands in; `None` for the root.
pub fn parent(path: &[u8]) -> Option<&[u8]> {
    if path.is_empty() {
        return None;
    }
    Some(path.iter().rposition(|byte| *byte == b'/').map_or(&[][..], |at| &path[..at]))
}

/// A node found in a stack of layers.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Index of the layer it is in, base first.
    pub layer: usize,
    /// The node; never a whiteout.
    pub node: &'a Node,
}

/// A stack of layers seen as one file system.
#[derive(Clone, Debug, Default)]
pub struct StackedTree {
    /// The layers, base first.
    pub layers: Vec<Arc<LayerTree>>,
}

/// A path passes more symbolic links than the kernel would follow.
#[derive(Debug, thiserror::Error)]
#[error("too many symbolic links in `{}`", String::from_utf8_lossy(.0))]
pub struct TooManyLinks(pub Vec<u8>);

impl StackedTree {
    /// Looks a name up without following symbolic links in it. The root is always a directory and not looked up here.
    pub fn lookup(&self, path: &[u8]) -> Option<Found<'_>> {
        let mut implicit = None;
        for (layer, tree) in self.layers.iter().enumerate().rev() {
            if let Some(node) = tree.nodes.get(path) {
                if node.kind == NodeKind::Whiteout {
                    return implicit;
                }
                if !node.implicit || node.opaque {
                    // An implicit directory takes its attributes from the directory below, and only from one.
                    return implicit.filter(|_| !node.is_directory()).or(Some(Found { layer, node }));
                }
                implicit = implicit.or(Some(Found { layer, node }));
            }
            let hidden = ancestors(path)
                .filter_map(|dir| tree.nodes.get(dir))
                .any(|above| above.opaque || !above.is_directory());
            if hidden || tree.nodes.get(&[][..]).is_some_and(|root| root.opaque) {
                return implicit;
            }
        }
        implicit
    }

    /// Follows the symbolic links of all components but, unless it says so, the last; never leaves the root.
    /// What does not exist is kept as it is written.
    ///
    /// # Errors
    /// Fails where more than 40 links are passed.
    pub fn resolve(&self, path: &[u8], last: LastComponent) -> Result<Vec<u8>, TooManyLinks> {
        follow_links(path, last, |candidate| {
            Ok(match self.lookup(candidate).map(|found| &found.node.kind) {
                Some(NodeKind::Symlink { target }) => Some(target.clone()),
                _ => None,
            })
        })
    }

    /// The names that a test picks and that nothing above hides, with their layers; in no order.
    pub fn visible<'a>(
        &'a self,
        picks: &'a dyn Fn(&Node) -> bool,
    ) -> impl Iterator<Item = (usize, &'a Vec<u8>, &'a Node)> + 'a {
        let all = self
            .layers
            .iter()
            .enumerate()
            .flat_map(|(layer, tree)| tree.nodes.iter().map(move |(path, node)| (layer, path, node)));
        all.filter(move |(layer, path, node)| {
            picks(node) && self.lookup(path).is_some_and(|found| found.layer == *layer)
        })
    }

    /// Everything below a directory (which must be resolved), as the merged file system shows it.
    pub fn walk(&self, directory: &[u8]) -> BTreeMap<&[u8], Found<'_>> {
        if let [only] = &self.layers[..] {
            let shown = only.below(directory).filter(|(_, node)| node.kind != NodeKind::Whiteout);
            return shown.map(|(path, node)| (path.as_slice(), Found { layer: 0, node })).collect();
        }
        let mut seen: BTreeMap<&[u8], Found<'_>> = BTreeMap::new();
        let mut hiding: BTreeSet<&[u8]> = BTreeSet::new();
        for (layer, tree) in self.layers.iter().enumerate().rev() {
            let mut newly_hiding = Vec::new();
            for (path, node) in tree.below(directory) {
                let hidden =
                    hiding.contains(path.as_slice()) || ancestors(path).any(|dir| hiding.contains(dir));
                if node.opaque || !node.is_directory() {
                    newly_hiding.push(path.as_slice());
                }
                if hidden || node.kind == NodeKind::Whiteout {
                    continue;
                }
                seen.entry(path)
                    .and_modify(|above| {
                        if above.node.implicit && node.is_directory() {
                            *above = Found { layer, node };
                        }
                    })
                    .or_insert(Found { layer, node });
            }
            hiding.extend(newly_hiding);
            let cut = ancestors(directory)
                .chain([directory, &[][..]])
                .filter_map(|dir| tree.nodes.get(dir))
                .any(|above| above.opaque || !above.is_directory());
            if cut {
                break;
            }
        }
        seen
    }

    /// The node that a hard link stands for, in the link's own layer; the node itself where it is no link.
    pub fn link_target<'a>(&'a self, found: Found<'a>) -> Option<(Option<&'a [u8]>, &'a Node)> {
        match &found.node.kind {
            NodeKind::Hardlink { target } => {
                self.layers[found.layer].nodes.get(target).map(|node| (Some(target.as_slice()), node))
            }
            _ => Some((None, found.node)),
        }
    }
}

/// Follows the symbolic links of a path, which never leads above the root. `link` gives the text of a link, and nothing
/// for what is no link; it is not asked about a last component that is kept.
///
/// # Errors
/// Those of `link`, and where more than 40 links are passed.
pub(crate) fn follow_links<E: From<TooManyLinks>>(
    path: &[u8],
    last: LastComponent,
    mut link: impl FnMut(&[u8]) -> Result<Option<Vec<u8>>, E>,
) -> Result<Vec<u8>, E> {
    let mut pending: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
    let mut resolved: Vec<u8> = Vec::new();
    let mut links = 0;
    while let Some(component) = pending.pop() {
        if component == b".." {
            resolved.truncate(parent(&resolved).map_or(0, <[u8]>::len));
            continue;
        }
        let candidate = join(&resolved, &component);
        let follow = last == LastComponent::Follow || !pending.is_empty();
        let Some(target) = (if follow { link(&candidate)? } else { None }) else {
            resolved = candidate;
            continue;
        };
        links += 1;
        if links > MAX_LINKS {
            return Err(TooManyLinks(path.to_vec()).into());
        }
        if target.starts_with(b"/") {
            resolved.clear();
        }
        pending.extend(components(&target).rev().map(<[u8]>::to_vec));
    }
    Ok(resolved)
}

/// Whether a symbolic link as the last component of a path is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastComponent {
    /// It is.
    Follow,
    /// It is not.
    Keep,
}

/// The components of a path, without empty ones and `.`.
pub fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(entries: &[(&str, NodeKind)]) -> Arc<LayerTree> {
        let mut layer = LayerTree::default();
        for (path, kind) in entries {
            let node = Node { kind: kind.clone(), ..Node::directory(0o755, 0, 0, Timestamp::default()) };
            layer.nodes.insert(path.as_bytes().to_vec(), node);
        }
        layer.add_implicit_directories();
        Arc::new(layer)
    }

    fn file(byte: u8) -> NodeKind {
        NodeKind::File { size_bytes: 1, content: [byte; 32] }
    }

    fn link(target: &str) -> NodeKind {
        NodeKind::Symlink { target: target.as_bytes().to_vec() }
    }

    #[test]
    fn the_first_name_of_a_file_is_the_file() {
        let hard = |target: &str| NodeKind::Hardlink { target: target.as_bytes().to_vec() };
        let mut layer =
            (*tree(&[("a", hard("c")), ("b", hard("a")), ("c", file(1)), ("d", hard("missing"))])).clone();
        layer.order_links();
        let kinds: Vec<NodeKind> = layer.nodes.values().map(|node| node.kind.clone()).collect();
        assert_eq!(kinds, [file(1), hard("a"), hard("a"), hard("missing")]);
    }

    #[test]
    fn upper_layers_win_and_whiteouts_hide() {
        let stack = StackedTree {
            layers: vec![
                tree(&[
                    ("etc", NodeKind::Directory),
                    ("etc/a", file(1)),
                    ("etc/b", file(1)),
                    ("gone/x", file(1)),
                ]),
                tree(&[("etc/a", file(2)), ("etc/b", NodeKind::Whiteout), ("gone", NodeKind::Whiteout)]),
            ],
        };
        assert_eq!(stack.lookup(b"etc/a").map(|f| f.layer), Some(1));
        assert!(stack.lookup(b"etc/b").is_none());
        assert!(stack.lookup(b"gone/x").is_none());
        assert_eq!(stack.lookup(b"etc").map(|f| f.node.implicit), Some(false));
        let names: Vec<&[u8]> = stack.walk(b"").into_keys().collect();
        assert_eq!(names, [&b"etc"[..], b"etc/a"]);
    }

    #[test]
    fn opaque_directories_hide_what_is_below() {
        let mut upper = (*tree(&[("d", NodeKind::Directory), ("d/new", file(2))])).clone();
        upper.nodes.get_mut(&b"d"[..]).unwrap().opaque = true;
        let stack = StackedTree { layers: vec![tree(&[("d/old", file(1))]), Arc::new(upper)] };
        assert!(stack.lookup(b"d/old").is_none());
        assert!(stack.lookup(b"d/new").is_some());
        assert_eq!(stack.walk(b"d").into_keys().collect::<Vec<_>>(), [&b"d/new"[..]]);
    }

    #[test]
    fn links_never_leave_the_root() {
        let stack = StackedTree {
            layers: vec![tree(&[
                ("up", link("../../etc")),
                ("etc/passwd", file(1)),
                ("abs", link("/up")),
                ("loop", link("loop")),
            ])],
        };
        let follow = |p: &str| stack.resolve(p.as_bytes(), LastComponent::Follow);
        assert_eq!(follow("up/passwd").unwrap(), b"etc/passwd");
        assert_eq!(follow("abs/passwd").unwrap(), b"etc/passwd");
        assert_eq!(follow("../../abs/../x").unwrap(), b"x");
        assert!(follow("loop/x").is_err());
        assert_eq!(stack.resolve(b"abs", LastComponent::Keep).unwrap(), b"abs");
    }

    #[test]
    fn times_are_outside_the_digest_and_modes_inside() {
        let base = tree(&[("a", file(1))]);
        let mut later = (*base).clone();
        later.nodes.get_mut(&b"a"[..]).unwrap().mtime = (5, 5);
        assert_eq!(base.content_digest(), later.content_digest());
        later.nodes.get_mut(&b"a"[..]).unwrap().mode = 0o700;
        assert_ne!(base.content_digest(), later.content_digest());
    }
}
