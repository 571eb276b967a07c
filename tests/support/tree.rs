//! Layer tars, and the file tree that a stack of them makes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use flate2::read::GzDecoder;
use sha2::{Digest as _, Sha256};

use super::bases::hex;

/// The entries of one layer in the order of its tar, by path without a slash at either end.
pub(crate) type Layer = Vec<(String, Node)>;

/// One file of any type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// What it is.
    pub(crate) kind: Kind,
    /// Mode bits.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u64,
    /// Group.
    pub(crate) gid: u64,
    /// Modification time in nanoseconds since 1970.
    pub(crate) mtime_ns: i128,
    /// Extended attributes.
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
}

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A directory.
    Directory,
    /// A file of these bytes (their count, their sha256 and, of short ones, themselves).
    File { size: u64, sha256: String, bytes: Vec<u8> },
    /// A symbolic link.
    Symlink(String),
    /// One more name of another path.
    Hardlink(String),
    /// A device or FIFO: `c`, `b` or `p`, with its numbers.
    Special(char, u32, u32),
}

/// A file tree: path to file, with hard links kept as names of the first path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    nodes: BTreeMap<String, Node>,
}

impl Tree {
    /// Stacks a layer on the tree.
    pub(crate) fn apply(&mut self, layer: Layer) {
        for (path, _) in &layer {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            if name == ".wh..wh..opq" {
                self.remove_below(parent);
            } else if let Some(name) = name.strip_prefix(".wh.") {
                let path = if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") };
                self.remove(&path);
            }
        }
        for (path, node) in layer {
            if path.rsplit('/').next().is_some_and(|name| name.starts_with(".wh.")) {
                continue;
            }
            if node.kind != Kind::Directory {
                self.remove_below(&path);
            }
            self.nodes.insert(path, node);
        }
    }

    fn remove(&mut self, path: &str) {
        self.nodes.remove(path);
        self.remove_below(path);
    }

    fn remove_below(&mut self, path: &str) {
        let prefix = format!("{path}/");
        self.nodes.retain(|other, _| !(other.starts_with(&prefix) || path.is_empty() && !other.is_empty()));
    }

    /// Returns the file at a path, through hard links.
    pub(crate) fn get(&self, path: &str) -> Option<&Node> {
        let node = self.nodes.get(path.trim_matches('/'))?;
        if let Kind::Hardlink(target) = &node.kind { self.get(target) } else { Some(node) }
    }

    /// Returns the text of a short file.
    #[track_caller]
    pub(crate) fn text(&self, path: &str) -> String {
        match self.get(path).map(|node| &node.kind) {
            Some(Kind::File { bytes, .. }) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("`{path}` is {other:?} in\n{}", self.listing("")),
        }
    }

    /// Tells whether a path exists.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.nodes.contains_key(path.trim_matches('/'))
    }

    /// Lists everything at and below a path, one line each; see [`line`].
    pub(crate) fn listing(&self, below: &str) -> String {
        let below = below.trim_matches('/');
        let prefix = format!("{below}/");
        let within = |path: &str| below.is_empty() || path == below || path.starts_with(&prefix);
        let mut text = String::new();
        for (path, node) in self.nodes.iter().filter(|(path, _)| within(path)) {
            writeln!(text, "{}", line(path, node)).expect("a string takes any text");
        }
        text
    }
}

/// Describes one file: `-rw-r--r-- 0:0 a/b "text"`, with xattrs after it.
pub(crate) fn line(path: &str, node: &Node) -> String {
    let (letter, what) = match &node.kind {
        Kind::Directory => ('d', String::new()),
        Kind::File { size, sha256, bytes } => (
            '-',
            if *size <= 40 {
                format!(" {:?}", String::from_utf8_lossy(bytes))
            } else {
                format!(" {size} {sha256}")
            },
        ),
        Kind::Symlink(target) => ('l', format!(" -> {target}")),
        Kind::Hardlink(target) => ('h', format!(" = {target}")),
        Kind::Special(letter, major, minor) => (*letter, format!(" {major},{minor}")),
    };
    let mut text = format!("{letter}{:04o} {}:{} {path}{what}", node.mode, node.uid, node.gid);
    for (name, value) in &node.xattrs {
        write!(text, " {name}={}", hex(value)).expect("a string takes any text");
    }
    text
}

/// Reads the entries of a layer.
pub(crate) fn read_layer(path: &Path) -> Layer {
    let bytes = uncompressed(path);
    let mut archive = tar::Archive::new(bytes.as_slice());
    let entries = archive.entries().expect("a layer is a tar");
    entries.map(|entry| read_entry(&mut entry.expect("a whole entry"))).collect()
}

/// Returns the tar inside a layer's blob.
pub(crate) fn uncompressed(path: &Path) -> Vec<u8> {
    let compressed = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if !compressed.starts_with(&[0x1f, 0x8b]) {
        return compressed;
    }
    let mut bytes = Vec::new();
    let mut gzip = GzDecoder::new(compressed.as_slice());
    gzip.read_to_end(&mut bytes).expect("a layer is one gzip member");
    bytes
}

fn read_entry<R: std::io::Read>(entry: &mut tar::Entry<'_, R>) -> (String, Node) {
    let path = entry.path().expect("a path").to_str().expect("test paths are text").to_owned();
    let path = path.trim_start_matches("./").trim_matches('/').to_owned();
    let link = entry.link_name().expect("a link").map(|target| target.to_string_lossy().into_owned());
    let mut mtime_ns = i128::from(entry.header().mtime().expect("a time")) * 1_000_000_000;
    let mut xattrs = BTreeMap::new();
    if let Some(extensions) = entry.pax_extensions().expect("PAX records") {
        for extension in extensions.map(|extension| extension.expect("a PAX record")) {
            let key = extension.key().expect("a PAX key");
            if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                xattrs.insert(name.to_owned(), extension.value_bytes().to_owned());
            } else if key == "mtime" {
                mtime_ns = nanoseconds(extension.value().expect("a PAX time"));
            }
        }
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).expect("an entry's bytes");
    let header = entry.header();
    let numbers = || {
        let number = |n: std::io::Result<Option<u32>>| n.ok().flatten().unwrap_or_default();
        (number(header.device_major()), number(header.device_minor()))
    };
    let special = |letter| Kind::Special(letter, numbers().0, numbers().1);
    let kind = match header.entry_type() {
        tar::EntryType::Directory => Kind::Directory,
        tar::EntryType::Symlink => Kind::Symlink(link.expect("a link has a target")),
        tar::EntryType::Link => Kind::Hardlink(
            link.expect("a link has a target").trim_start_matches("./").trim_matches('/').to_owned(),
        ),
        tar::EntryType::Char => special('c'),
        tar::EntryType::Block => special('b'),
        tar::EntryType::Fifo => special('p'),
        _ => {
            Kind::File { size: bytes.len() as u64, sha256: hex(&Sha256::digest(&bytes)), bytes: short(bytes) }
        }
    };
    let mode = header.mode().expect("a mode") & 0o7777;
    let (uid, gid) = (header.uid().expect("a uid"), header.gid().expect("a gid"));
    (path, Node { kind, mode, uid, gid, mtime_ns, xattrs })
}

fn short(bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() <= 64 * 1024 { bytes } else { Vec::new() }
}

/// `1700000000.5` to nanoseconds.
fn nanoseconds(text: &str) -> i128 {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i128 = seconds.parse().expect("seconds");
    let fraction: i128 = format!("{fraction:0<9}")[..9].parse().expect("a fraction of a second");
    seconds * 1_000_000_000 + fraction
}

/// Removes from a directory what a layer says is gone.
pub(crate) fn remove_whiteouts(layer: &Layer, rootfs: &Path) {
    for (path, _) in layer {
        let path = Path::new(path);
        let (parent, name) = (path.parent().unwrap_or(Path::new("")), path.file_name().unwrap_or_default());
        let name = name.to_str().expect("test paths are text");
        if name == ".wh..wh..opq" {
            for entry in std::fs::read_dir(rootfs.join(parent)).into_iter().flatten().flatten() {
                remove(&entry.path());
            }
        } else if let Some(name) = name.strip_prefix(".wh.") {
            remove(&rootfs.join(parent).join(name));
        }
    }
}

fn remove(path: &Path) {
    if path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
        std::fs::remove_dir_all(path).expect("a directory is removed");
    } else if path.symlink_metadata().is_ok() {
        std::fs::remove_file(path).expect("a file is removed");
    }
}
