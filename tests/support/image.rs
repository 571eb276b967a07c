//! Images read back: config, history, layers, and the file tree they make.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::tools::{run, test_dir};
use super::tree::{self, Layer, Tree};
use super::{Registry, bases};

/// An image in an OCI layout.
pub(crate) struct Image {
    layout: PathBuf,
    /// Digest of its manifest.
    pub(crate) digest: String,
    /// Its manifest.
    pub(crate) manifest: Value,
    /// Its config, the whole document.
    pub(crate) config: Value,
    dir: Option<TempDir>,
}

impl Image {
    /// Pulls an image with `skopeo`.
    pub(crate) fn pulled(registry: &Registry, name: &str) -> Self {
        let dir = test_dir("pulled-");
        registry.pull_layout(name, &dir.path().join("oci"));
        Self::from_layout(&dir.path().join("oci"), "latest").kept_in(dir)
    }

    /// Keeps the temporary directory that the image is in as long as the image.
    pub(crate) fn kept_in(mut self, dir: TempDir) -> Self {
        self.dir = Some(dir);
        self
    }

    /// Reads an image of an OCI layout by its reference name; checks what must hold of every image.
    #[track_caller]
    pub(crate) fn from_layout(layout: &Path, name: &str) -> Self {
        let index: Value = json_file(&layout.join("index.json"));
        let entries = index["manifests"].as_array().expect("an index has manifests");
        let named = |entry: &&Value| entry["annotations"]["org.opencontainers.image.ref.name"] == name;
        let entry = match entries.iter().find(named) {
            Some(entry) => entry,
            None if entries.len() == 1 => &entries[0],
            None => panic!("no `{name}` in {index:#}"),
        };
        let digest = entry["digest"].as_str().expect("a descriptor has a digest").to_owned();
        let manifest: Value = json_file(&blob_path(layout, &digest));
        let config: Value =
            json_file(&blob_path(layout, manifest["config"]["digest"].as_str().expect("a config")));
        let image = Self { layout: layout.to_owned(), digest, manifest, config, dir: None };
        image.assert_consistent();
        image
    }

    /// Every blob has its digest and size; diff_ids are those of the layers; history names exactly the layers.
    #[track_caller]
    fn assert_consistent(&self) {
        let layers = self.manifest["layers"].as_array().expect("a manifest has layers");
        for descriptor in layers.iter().chain([&self.manifest["config"]]) {
            let digest = descriptor["digest"].as_str().expect("a descriptor has a digest");
            let bytes = std::fs::read(blob_path(&self.layout, digest)).expect("a blob of the layout");
            assert_eq!(bases::digest_of(&bytes), digest, "a blob's bytes");
            assert_eq!(descriptor["size"].as_u64(), Some(bytes.len() as u64), "a blob's size");
        }
        let diff_ids: Vec<String> = (0..layers.len())
            .map(|index| bases::digest_of(&tree::uncompressed(&self.layer_path(index))))
            .collect();
        assert_eq!(self.config["rootfs"]["diff_ids"], Value::from(diff_ids));
        let with_layer = self.history().iter().filter(|entry| entry["empty_layer"] != true).count();
        assert_eq!(with_layer, layers.len(), "history entries with a layer: {:#}", self.config["history"]);
    }

    /// Returns the history, oldest first.
    pub(crate) fn history(&self) -> &[Value] {
        self.config["history"].as_array().map_or(&[], Vec::as_slice)
    }

    /// Returns the digests of the compressed layers, base first.
    pub(crate) fn layer_digests(&self) -> Vec<String> {
        let layers = self.manifest["layers"].as_array().expect("a manifest has layers");
        layers.iter().map(|layer| layer["digest"].as_str().expect("a digest").to_owned()).collect()
    }

    /// Returns the entries of one layer as they stand in its tar; a negative number counts from the end.
    pub(crate) fn layer(&self, index: isize) -> Layer {
        let count = self.layer_digests().len();
        let index = if index < 0 { count.checked_add_signed(index) } else { usize::try_from(index).ok() };
        tree::read_layer(&self.layer_path(index.expect("the image has that layer")))
    }

    /// Returns the file tree that the layers make.
    pub(crate) fn tree(&self) -> Tree {
        let mut tree = Tree::default();
        for index in 0..self.layer_digests().len() {
            tree.apply(tree::read_layer(&self.layer_path(index)));
        }
        tree
    }

    /// Unpacks the image as a container runtime would.
    pub(crate) fn unpack(&self, rootfs: &Path) {
        std::fs::create_dir_all(rootfs).expect("the root of a container");
        for index in 0..self.layer_digests().len() {
            let layer = self.layer_path(index);
            tree::remove_whiteouts(&tree::read_layer(&layer), rootfs);
            let mut tar = Command::new("tar");
            tar.args(["-xpf"]).arg(&layer).arg("-C").arg(rootfs);
            run(tar.args(["--numeric-owner", "--xattrs", "--xattrs-include=*", "--exclude=.wh.*"]));
        }
    }

    fn layer_path(&self, index: usize) -> PathBuf {
        blob_path(&self.layout, &self.layer_digests()[index])
    }
}

fn blob_path(layout: &Path, digest: &str) -> PathBuf {
    layout.join("blobs").join(digest.replace(':', "/"))
}

#[track_caller]
fn json_file(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
