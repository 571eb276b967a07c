//! Whether everything in the store is what it should be; what is not is thrown away, and made or fetched again.

use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Mutex;

use kairn_image::Digest;
use rayon::prelude::*;

use super::{BuildRecord, StepRecord, Store, unseal};
use crate::error::{Error, host_path};
use crate::snapshot::read::{Reading, Verdict, open_file, open_root, scan};
use crate::snapshot::unpack::digest_of;
use crate::tree::{LayerTree, NodeKind};

/// What was looked at, and what was bad.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many blobs, records and unpacked layers.
    pub checked: usize,
    /// What was thrown away, and why.
    pub bad: Vec<String>,
}

impl Store {
    /// Reads everything, and throws away what is bad.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn verify(&self) -> Result<Verified, Error> {
        let verified = Mutex::new(Verified::default());
        let check = |path: &Path, what: &str, problem: Result<Option<String>, Error>| -> Result<(), Error> {
            let problem = problem.unwrap_or_else(|error| Some(error.to_string()));
            // Another kairn may have removed it meanwhile.
            let problem = problem.filter(|_| path.symlink_metadata().is_ok());
            verified.lock().expect("no holder of this lock panics").checked += 1;
            if let Some(problem) = problem {
                self.discard(path)?;
                let mut verified = verified.lock().expect("no holder of this lock panics");
                verified.bad.push(format!("{what}: {problem}"));
            }
            Ok(())
        };
        let names = |folder: &str| -> Vec<std::path::PathBuf> {
            let entries = std::fs::read_dir(self.root().join(folder)).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect()
        };
        names("blobs/sha256").par_iter().try_for_each(|path| check(path, &said("blob", path), blob(path)))?;
        for folder in ["steps", "trees", "memories", "resolved", "builds"] {
            for path in names(folder) {
                check(&path, &said(folder, &path), document(folder, &path))?;
            }
        }
        for folder in ["snapshots", "recorded", "contents", "contexts"] {
            let check_one =
                |path: &std::path::PathBuf| check(path, &said(folder, path), self.unpacked(folder, path));
            names(folder).par_iter().try_for_each(check_one)?;
        }
        for path in names("http") {
            check(&path, &said("http", &path), downloaded(&path))?;
        }
        let mut verified = verified.into_inner().expect("no holder of this lock panics");
        verified.bad.extend(
            self.layout()
                .drop_dead_names()
                .map_err(|e| Error::world("cannot look at the names of images", e))?,
        );
        verified.bad.sort();
        Ok(verified)
    }

    /// Compares an unpacked layer with the list of its names.
    fn unpacked(&self, folder: &str, path: &Path) -> Result<Option<String>, Error> {
        let chain_id: Option<Digest> = name_of(path).and_then(|name| format!("sha256:{name}").parse().ok());
        let Some(tree) = chain_id.and_then(|chain_id| self.tree(&chain_id)) else {
            return Ok(Some("nobody knows what should be in it".to_owned()));
        };
        let root = open_root(path)?;
        if matches!(folder, "snapshots" | "recorded")
            && let Some(problem) = differs(&tree, path)?
        {
            return Ok(Some(problem));
        }
        for (name, node) in &tree.nodes {
            let NodeKind::File { size_bytes, content } = node.kind else { continue };
            let shown = host_path(name).display().to_string();
            let Ok(mut file) = open_file(root.as_fd(), name) else {
                return Ok(Some(format!("`{shown}` is not there")));
            };
            let is_right =
                file.metadata()?.len() == size_bytes && digest_of(&mut file, &mut io::sink())? == content;
            if !is_right {
                return Ok(Some(format!("`{shown}` holds something else")));
            }
        }
        Ok(None)
    }
}

/// Says how names and attributes on the disk differ from a list of them.
fn differs(tree: &LayerTree, path: &Path) -> Result<Option<String>, Error> {
    let found = scan(path, Reading::OverlayUpper, &|_: &str, _| Verdict::Keep)?.tree;
    for (name, node) in &tree.nodes {
        let shown = host_path(name).display().to_string();
        let Some(on_disk) = found.nodes.get(name) else {
            return Ok(Some(format!("`{shown}` is not there")));
        };
        let kinds = (&node.kind, &on_disk.kind);
        let is_link = matches!(kinds, (NodeKind::Symlink { .. }, _));
        let is_same_kind = match kinds {
            (NodeKind::File { .. } | NodeKind::Hardlink { .. }, other) => {
                matches!(other, NodeKind::File { .. } | NodeKind::Hardlink { .. })
            }
            (wanted, other) => wanted == other,
        };
        let is_same = node.kind == NodeKind::Whiteout
            || (is_link || node.mode == on_disk.mode) && node.owner() == on_disk.owner();
        if !is_same_kind || !is_same {
            return Ok(Some(format!("`{shown}` has other attributes")));
        }
    }
    let extra = found.nodes.keys().find(|name| !tree.nodes.contains_key(*name));
    Ok(extra.map(|name| format!("`{}` should not be there", host_path(name).display())))
}

fn said(what: &str, path: &Path) -> String {
    format!("{what} {}", name_of(path).unwrap_or_default())
}

fn name_of(path: &Path) -> Option<&str> {
    path.file_name().and_then(|name| name.to_str())
}

fn blob(path: &Path) -> Result<Option<String>, Error> {
    let mut hasher = kairn_image::digest::DigestWriter::new(io::sink());
    io::copy(&mut fs_err::File::open(path)?, &mut hasher)?;
    let (digest, ..) = hasher.finish();
    let is_right = name_of(path) == Some(&*digest.hex());
    Ok((!is_right).then(|| format!("its bytes have the digest {digest}")))
}

/// Whether what a server gave is still what it was; a download that is under way is none yet.
fn downloaded(folder: &Path) -> Result<Option<String>, Error> {
    let (content, about) = (folder.join("content"), folder.join("about"));
    let Ok(about) = std::fs::read(about) else { return Ok(None) };
    let about: serde_json::Value = serde_json::from_slice(&about).unwrap_or_default();
    let mut hasher = kairn_image::digest::DigestWriter::new(io::sink());
    io::copy(&mut fs_err::File::open(content)?, &mut hasher)?;
    let (digest, ..) = hasher.finish();
    let is_right = about["digest"].as_str() == Some(&*digest.to_string());
    Ok((!is_right).then(|| format!("its bytes have the digest {digest}")))
}

fn document(folder: &str, path: &Path) -> Result<Option<String>, Error> {
    let bytes = fs_err::read(path)?;
    let is_right = match folder {
        "steps" => StepRecord::unseal(&bytes).is_some(),
        "builds" => serde_json::from_slice::<BuildRecord>(&bytes).is_ok(),
        _ => unseal(&bytes).is_some(),
    };
    Ok((!is_right).then(|| "it is damaged".to_owned()))
}
