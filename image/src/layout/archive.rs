//! A layout as one tar stream.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use crate::layer::{Entry, EntryKind, Timestamp, write_end, write_entry};
use crate::layout::{BLOBS, CONTAINERD_NAME, INDEX_FILE, Layout, LayoutError, MARKER_FILE, REF_NAME, marker};
use crate::reference::Reference;
use crate::{Descriptor, Digest, Index, Manifest, media_type};

/// Indexes inside indexes that are followed.
const DEPTH: usize = 4;

impl Layout {
    /// Writes images under their names, with all blobs that they reach, as a layout in a tar stream.
    ///
    /// The bytes depend on the arguments and the blobs only: blobs in the order of their digests, times 0.
    ///
    /// # Errors
    /// Those of reading the blobs, of which all must be there and right, and of `out`.
    pub fn write_archive(&self, out: impl Write, images: &[(String, Descriptor)]) -> Result<(), LayoutError> {
        self.write(out, images, None)
    }

    /// Writes images as [`Layout::write_archive`] does, with the `manifest.json` that `docker load` reads besides.
    ///
    /// Names are whole references (`docker.io/library/app:1`); the index names images by their tags, as BuildKit does.
    ///
    /// # Errors
    /// Those of [`Layout::write_archive`]; [`LayoutError::Document`] where an image is not a manifest.
    pub fn write_docker_archive(
        &self,
        out: impl Write,
        images: &[(Reference, Descriptor)],
    ) -> Result<(), LayoutError> {
        let mut by_digest: BTreeMap<Digest, (&Descriptor, Vec<String>)> = BTreeMap::new();
        for (name, image) in images {
            by_digest.entry(image.digest).or_insert((image, Vec::new())).1.push(name.to_string());
        }
        let manifests: Vec<_> = by_digest
            .values()
            .map(|(image, names)| self.docker_manifest(image, names))
            .collect::<Result<_, _>>()?;
        let tagged: Vec<_> = images
            .iter()
            .map(|(name, image)| {
                let mut image = image.clone();
                image.annotations.insert(CONTAINERD_NAME.to_owned(), name.to_string());
                (name.tag().unwrap_or("latest").to_owned(), image)
            })
            .collect();
        self.write(out, &tagged, Some(serde_json::Value::Array(manifests)))
    }

    fn write(
        &self,
        out: impl Write,
        images: &[(String, Descriptor)],
        docker_manifest: Option<serde_json::Value>,
    ) -> Result<(), LayoutError> {
        let mut blobs = BTreeMap::new();
        let mut named = Vec::new();
        for (name, image) in images {
            self.reach(image, DEPTH, &mut blobs)?;
            let mut image = image.clone();
            image.annotations.insert(REF_NAME.to_owned(), name.clone());
            named.push(image);
        }
        let mut archive = Archive { out, buffer: vec![0; 128 << 10] };
        archive.directory("blobs")?;
        archive.directory(BLOBS)?;
        for descriptor in blobs.values() {
            let path = format!("{BLOBS}/{}", descriptor.digest.hex());
            archive.file(&path, descriptor.size, &mut self.open_verified(descriptor)?)?;
        }
        archive.bytes(INDEX_FILE, &Index::of(named).to_bytes())?;
        if let Some(manifest) = docker_manifest {
            archive.bytes("manifest.json", manifest.to_string().as_bytes())?;
        }
        archive.bytes(MARKER_FILE, marker().as_bytes())?;
        Ok(write_end(&mut archive.out)?)
    }

    /// Lists all blobs that the index leads to.
    pub(crate) fn reachable(&self) -> Result<BTreeSet<Digest>, LayoutError> {
        let mut blobs = BTreeMap::new();
        for descriptor in self.index()?.manifests {
            self.reach(&descriptor, DEPTH, &mut blobs)?;
        }
        Ok(blobs.into_keys().collect())
    }

    /// Collects a blob and the blobs it points to.
    fn reach(
        &self,
        descriptor: &Descriptor,
        depth: usize,
        into: &mut BTreeMap<Digest, Descriptor>,
    ) -> Result<(), LayoutError> {
        if into.insert(descriptor.digest, descriptor.clone()).is_some() {
            return Ok(());
        }
        if media_type::is_manifest(&descriptor.media_type) {
            let manifest = self.manifest(descriptor)?;
            into.insert(manifest.config.digest, manifest.config);
            into.extend(manifest.layers.into_iter().map(|layer| (layer.digest, layer)));
        } else if media_type::is_index(&descriptor.media_type) && depth > 0 {
            let index = Index::from_bytes(&self.read_blob(descriptor)?)
                .map_err(|source| LayoutError::Document { what: descriptor.digest.to_string(), source })?;
            // An index that was pulled for one platform lists manifests that are not here.
            for member in index.manifests.iter().filter(|member| self.has_blob(&member.digest)) {
                self.reach(member, depth - 1, into)?;
            }
        }
        Ok(())
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest, LayoutError> {
        Manifest::from_bytes(&self.read_blob(descriptor)?)
            .map_err(|source| LayoutError::Document { what: descriptor.digest.to_string(), source })
    }

    /// Spec: Docker image spec v1.2, "Combined Image JSON + Filesystem Changeset Format".
    fn docker_manifest(
        &self,
        descriptor: &Descriptor,
        names: &[String],
    ) -> Result<serde_json::Value, LayoutError> {
        let manifest = self.manifest(descriptor)?;
        let path = |digest: &Digest| format!("{BLOBS}/{}", digest.hex());
        Ok(serde_json::json!({
            "Config": path(&manifest.config.digest),
            "RepoTags": names,
            "Layers": manifest.layers.iter().map(|layer| path(&layer.digest)).collect::<Vec<_>>(),
        }))
    }
}

struct Archive<W: Write> {
    out: W,
    buffer: Vec<u8>,
}

impl<W: Write> Archive<W> {
    fn directory(&mut self, path: &str) -> io::Result<()> {
        write_entry(
            &mut self.out,
            &entry(path, 0o755, EntryKind::Directory),
            &mut io::empty(),
            &mut self.buffer,
        )
    }

    fn file(&mut self, path: &str, size_bytes: u64, content: &mut dyn Read) -> io::Result<()> {
        write_entry(
            &mut self.out,
            &entry(path, 0o644, EntryKind::File { size_bytes }),
            content,
            &mut self.buffer,
        )
    }

    fn bytes(&mut self, path: &str, mut bytes: &[u8]) -> io::Result<()> {
        self.file(path, bytes.len() as u64, &mut bytes)
    }
}

fn entry(path: &str, mode: u32, kind: EntryKind) -> Entry {
    let (path, xattrs) = (path.as_bytes().to_vec(), BTreeMap::new());
    Entry { path, kind, mode, uid: 0, gid: 0, mtime: Timestamp::default(), xattrs }
}
