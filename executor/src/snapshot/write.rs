//! A tree and its files' contents to a layer blob in the store.

use std::io::{self, Read};

use kairn_image::layer::{Compression, Entry, EntryKind, LayerWriter};

use crate::error::{Error, host_path};
use crate::state::NewLayer;
use crate::store::Store;
use crate::tree::{LayerTree, Node, NodeKind, join, parent};

/// Opens the content of the file at a path of a tree.
pub type OpenContent<'a> = &'a mut dyn FnMut(&[u8], &Node) -> Result<Box<dyn Read>, Error>;

/// Writes a tree as a layer into the store, and fills in the digests of contents that are still zeros.
///
/// # Errors
/// Fails where a content cannot be read, has another length or another digest than the tree says, or the disk fails.
pub fn write_layer(tree: &mut LayerTree, store: &Store, open: OpenContent<'_>) -> Result<NewLayer, Error> {
    write_layer_as(tree, store, Compression::default(), open)
}

/// As [`write_layer`], compressed in a way of one's own.
///
/// # Errors
/// As [`write_layer`].
pub fn write_layer_as(
    tree: &mut LayerTree,
    store: &Store,
    compression: Compression,
    open: OpenContent<'_>,
) -> Result<NewLayer, Error> {
    let failed = |e: io::Error| Error::world(format!("cannot write a layer: {e}"), e);
    let blob = store.layout().blob_writer().map_err(|e| Error::world("cannot write a layer", e))?;
    let mut writer = LayerWriter::new(blob, compression);
    let mut newest_mtime = i64::MIN;
    for (path, node) in &mut tree.nodes {
        newest_mtime = newest_mtime.max(node.mtime.0);
        match node.to_entry(path) {
            None => writer
                .append(&marker(parent(path).unwrap_or_default(), path, node), &mut io::empty())
                .map_err(failed)?,
            Some(entry) if matches!(entry.kind, EntryKind::File { .. }) => {
                let mut reader = Hashing { inner: open(path, node)?, hasher: blake3::Hasher::new() };
                writer.append(&entry, &mut reader).map_err(|e| {
                    Error::world(format!("cannot add `{}` to a layer: {e}", host_path(path).display()), e)
                })?;
                let digest = *reader.hasher.finalize().as_bytes();
                if let NodeKind::File { content, .. } = &mut node.kind {
                    if *content != [0; 32] && *content != digest {
                        return Err(Error::user(format!(
                            "`{}` changed during the build",
                            host_path(path).display()
                        ))
                        .with_help("build again when nothing writes to it"));
                    }
                    *content = digest;
                }
            }
            Some(entry) => {
                writer.append(&entry, &mut io::empty()).map_err(failed)?;
                if node.opaque {
                    let mut opaque = marker(path, b"", node);
                    opaque.path = join(path, b".wh..wh..opq");
                    writer.append(&opaque, &mut io::empty()).map_err(failed)?;
                }
            }
        }
    }
    let (written, blob) = writer.finish().map_err(failed)?;
    blob.finish(Some(&written.descriptor))
        .map_err(|e| Error::world("cannot put a layer into the store", e))?;
    Ok(NewLayer {
        diff_id: written.diff_id,
        descriptor: written.descriptor,
        content: tree.content_digest(),
        newest_mtime,
    })
}

/// The empty file that stands for a removal in a tar.
///
/// Spec: OCI image-spec, layer.md, Whiteouts.
fn marker(directory: &[u8], removed: &[u8], node: &Node) -> Entry {
    let name = [&b".wh."[..], crate::tree::file_name(removed)].concat();
    Entry {
        path: join(directory, &name),
        kind: EntryKind::File { size_bytes: 0 },
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: kairn_image::layer::Timestamp { seconds: node.mtime.0, nanoseconds: node.mtime.1 },
        xattrs: std::collections::BTreeMap::new(),
    }
}

/// Digests what is read through it.
struct Hashing<R> {
    inner: R,
    hasher: blake3::Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        Ok(n)
    }
}
