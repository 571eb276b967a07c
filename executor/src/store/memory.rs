//! What earlier builds read of a context: a file whose attributes are the same is not read again.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use kairn_image::Digest;
use rustix::fs::Stat;
use serde::{Deserialize, Serialize};

use super::{Store, unseal};
use crate::error::Error;
use crate::tree::{LayerTree, Node, NodeKind};

/// File systems whose clock is this machine's, by the magic numbers of `statfs(2)`: ext4, xfs, btrfs, tmpfs, overlayfs,
/// f2fs and zfs.
const LOCAL: [u64; 7] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0xf2f5_2010, 0x2fc1_2fc1];

/// How much older than its reading a change must be for the next change to be sure of another time.
const LOCAL_TICK: Duration = Duration::from_millis(20);

/// The same for file systems whose clock is another machine's, or coarse.
const REMOTE_TICK: Duration = Duration::from_secs(3);

/// What a file's attributes were, and what it was.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Memory {
    attributes: Attributes,
    node: Node,
}

/// Memories by path, in the order of the paths.
type Memories = Vec<(Vec<u8>, Memory)>;

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Attributes {
    device: u64,
    inode: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    size: i64,
    modified: (i64, u64),
    changed: (i64, u64),
}

impl Attributes {
    fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

/// What earlier builds read of one context, and what this one sees.
#[derive(Debug)]
pub struct ContextMemory {
    file: PathBuf,
    store: Arc<Store>,
    known: Arc<OnceLock<Memories>>,
    /// In the order of the paths.
    seen: Mutex<Vec<(Vec<u8>, Attributes)>>,
    tick: Duration,
    /// Changes before it are told from later ones by their times; set by the first look.
    horizon: OnceLock<(i64, u64)>,
}

impl ContextMemory {
    /// The memory of a folder under an ignore file of these rules. It is read beside what else there is to do.
    pub fn new(store: &Arc<Store>, root: &Path, rules: &str) -> Self {
        let name = Digest::of(&[root.as_os_str().as_bytes(), b"\0", rules.as_bytes()].concat());
        let file = store.root().join("memories").join(name.hex());
        let known = Arc::new(OnceLock::new());
        if file.is_file() {
            let (known, file) = (Arc::clone(&known), file.clone());
            std::thread::spawn(move || {
                known.get_or_init(|| read(&file));
            });
        }
        let kind = rustix::fs::statfs(root).ok().and_then(|disk| u64::try_from(disk.f_type).ok());
        Self {
            file,
            store: Arc::clone(store),
            known,
            seen: Mutex::default(),
            tick: if kind.is_some_and(|kind| LOCAL.contains(&kind)) { LOCAL_TICK } else { REMOTE_TICK },
            horizon: OnceLock::new(),
        }
    }

    fn known(&self) -> &Memories {
        self.known.get_or_init(|| read(&self.file))
    }

    fn find(&self, path: &[u8]) -> Option<&Memory> {
        let known = self.known();
        let at = known.binary_search_by(|(name, _)| name.as_slice().cmp(path)).ok()?;
        Some(&known[at].1)
    }

    /// What a name was, if its attributes say that it still is that.
    pub fn recall(&self, path: &[u8], stat: &Stat) -> Option<Node> {
        let memory = self.find(path)?;
        (memory.attributes == Attributes::of(stat)).then(|| memory.node.clone())
    }

    /// Says that the look at the context begins.
    pub fn begin(&self) {
        self.horizon.get_or_init(|| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let horizon = now.saturating_sub(self.tick);
            (i64::try_from(horizon.as_secs()).unwrap_or(i64::MAX), u64::from(horizon.subsec_nanos()))
        });
    }

    /// Notes the attributes of a name, which were taken before it is read; names come in their order.
    pub fn note(&self, path: &[u8], stat: &Stat) {
        let mut seen = self.seen.lock().expect("no holder of this lock panics");
        seen.push((path.to_vec(), Attributes::of(stat)));
    }

    /// Keeps what this build saw, where it is news; `contents` are the digests of the files that it read.
    ///
    /// What changed so short a time ago that a further change might not show is not kept.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn save(&self, tree: &LayerTree, contents: &BTreeMap<Vec<u8>, [u8; 32]>) -> Result<(), Error> {
        let seen = self.seen.lock().expect("no holder of this lock panics");
        let Some(&horizon) = self.horizon.get() else { return Ok(()) };
        // What a further name of a file is depends on the names before it.
        let is_worth_it = |attributes: &Attributes, node: &Node| {
            let is_settled = attributes.changed < horizon && attributes.modified < horizon;
            is_settled && !matches!(node.kind, NodeKind::Hardlink { .. })
        };
        let read = |path: &Vec<u8>| contents.get(path);
        let kept: Vec<(&Vec<u8>, &Attributes, &Node)> = seen
            .iter()
            .filter_map(|(path, attributes)| Some((path, attributes, tree.nodes.get(path)?)))
            .filter(|(_, attributes, node)| is_worth_it(attributes, node))
            .collect();
        let is_known = |(path, attributes, node): &(&Vec<u8>, &Attributes, &Node)| {
            let known = self.find(path);
            known.is_some_and(|known| {
                known.attributes == **attributes && known.node == **node && read(path).is_none()
            })
        };
        if kept.len() == self.known().len() && kept.iter().all(is_known) {
            return Ok(());
        }
        let memories: Vec<(&Vec<u8>, Memory)> = kept
            .into_iter()
            .map(|(path, attributes, node)| {
                let mut node = node.clone();
                if let (NodeKind::File { content, .. }, Some(read)) = (&mut node.kind, read(path)) {
                    *content = *read;
                }
                (path, Memory { attributes: *attributes, node })
            })
            .collect();
        let bytes = postcard::to_allocvec(&memories)
            .map_err(|e| Error::world("cannot encode what was read of a context", e))?;
        self.store.write_sealed(&self.file, &bytes)
    }
}

/// What earlier builds read. A memory that cannot be read is an empty one.
fn read(file: &Path) -> Memories {
    let bytes = std::fs::read(file).unwrap_or_default();
    unseal(&bytes).and_then(|bytes| postcard::from_bytes(bytes).ok()).unwrap_or_default()
}
