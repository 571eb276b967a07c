//! Lists of the files that went into a step, so that a later build can say which of them changed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use kairn_image::{Descriptor, Digest};

use super::{FileChange, FileChangeKind};
use crate::error::Error;
use crate::store::Store;
use crate::tree::{Node, NodeKind};

/// Media type of a list as a blob.
pub const MEDIA_TYPE: &str = "application/vnd.kairn.files.v1+zstd";

/// Most bytes of a list that is read.
const MAX_BYTES: u64 = 256 << 20;

/// Most changes that are told one by one.
const TOLD: usize = 5;

/// Files by path, with what of them counts.
pub type FileList = BTreeMap<Vec<u8>, Node>;

/// Keeps a list as a blob of the store.
///
/// # Errors
/// Fails where the disk does.
pub fn keep(list: &FileList, store: &Store) -> Result<Descriptor, Error> {
    let failed = |e: std::io::Error| Error::world("cannot keep a list of files", e);
    let plain = postcard::to_allocvec(list).map_err(|e| Error::world("cannot encode a list of files", e))?;
    let bytes = zstd::bulk::compress(&plain, 1).map_err(failed)?;
    let digest =
        store.layout().put_bytes(&bytes).map_err(|e| Error::world("cannot keep a list of files", e))?;
    Ok(Descriptor::new(MEDIA_TYPE, digest, bytes.len() as u64))
}

/// Reads a list that the store has.
pub fn read(digest: &Digest, store: &Store) -> Option<FileList> {
    let blob = store.layout().open_blob(digest).ok()?;
    let mut plain = Vec::new();
    zstd::stream::read::Decoder::new(blob).ok()?.take(MAX_BYTES).read_to_end(&mut plain).ok()?;
    postcard::from_bytes(&plain).ok()
}

/// What changed from one list to another: the first few, and how many in all.
pub fn differences(old: &FileList, new: &FileList) -> (Vec<FileChange>, usize) {
    let mut changes = Vec::new();
    let removed: Vec<&Vec<u8>> = old.keys().filter(|path| !new.contains_key(*path)).collect();
    let mut added: BTreeSet<&Vec<u8>> = new.keys().filter(|path| !old.contains_key(*path)).collect();
    for path in removed {
        let twin = added.iter().find(|to| is_file(&new[**to]) && new[**to] == old[path]).copied();
        let change = match twin {
            Some(to) => {
                added.remove(to);
                FileChangeKind::Renamed { to: text(to) }
            }
            None => FileChangeKind::Removed,
        };
        changes.push((path, change));
    }
    changes.extend(added.into_iter().map(|path| (path, FileChangeKind::Added)));
    for (path, now) in new {
        let Some(was) = old.get(path).filter(|was| *was != now) else { continue };
        changes.push((path, difference(was, now)));
    }
    changes.sort_by(|a, b| a.0.cmp(b.0));
    // A directory that came or went with all it holds is told by what it holds.
    let paths: BTreeSet<&Vec<u8>> = changes.iter().map(|(path, _)| *path).collect();
    let holds_change = |directory: &Vec<u8>| {
        let start = [directory.as_slice(), b"/"].concat();
        paths.range::<Vec<u8>, _>(&start..).next().is_some_and(|path| path.starts_with(&start))
    };
    let told: Vec<FileChange> = (changes.iter())
        .filter(|(path, change)| {
            let came = matches!(change, FileChangeKind::Added | FileChangeKind::Removed);
            !(came && holds_change(path))
        })
        .map(|(path, change)| FileChange { path: text(path), change: change.clone() })
        .collect();
    let count = told.len();
    (told.into_iter().take(TOLD).collect(), count)
}

fn is_file(node: &Node) -> bool {
    matches!(node.kind, NodeKind::File { .. })
}

fn difference(was: &Node, now: &Node) -> FileChangeKind {
    match (&was.kind, &now.kind) {
        (NodeKind::File { .. }, NodeKind::File { .. }) if was.kind != now.kind => FileChangeKind::Content,
        (NodeKind::Symlink { .. }, NodeKind::Symlink { .. }) if was.kind != now.kind => FileChangeKind::Link,
        (NodeKind::Hardlink { .. }, NodeKind::Hardlink { .. }) if was.xattrs != now.xattrs => {
            FileChangeKind::Content
        }
        _ if was.kind != now.kind => FileChangeKind::Type,
        _ if was.mode != now.mode => FileChangeKind::Mode { old: was.mode, new: now.mode },
        _ if was.owner() != now.owner() => FileChangeKind::Owner,
        _ => FileChangeKind::Attributes,
    }
}

fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
