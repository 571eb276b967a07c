//! A document as an OCI artifact: what a registry or a layout keeps under a tag.
//!
//! A manifest of [`ARTIFACT_TYPE`] whose config is the document and whose layers are its blobs, so that registries keep
//! them. One that would grow too large is an index of several, which differ in their layers only.
//!
//! Spec: OCI image-spec, manifest.md, "Guidelines for Artifact Usage".

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use serde_json::Value;

use crate::backend::{Document, MAX_DOCUMENT_BYTES};
use crate::{Descriptor, Digest, Index, Manifest, media_type};

/// What a cache's manifests and indexes say they are.
pub(super) const ARTIFACT_TYPE: &str = "application/vnd.kairn.cache.v1";
const CONFIG_TYPE: &str = "application/vnd.kairn.cache.config.v1+json+zstd";
/// Most bytes of the layers in a manifest; registries take 4 MiB in all.
const LAYERS_BYTES: usize = 3 << 20;
/// Memory that reading a document takes at most, as a power of two of bytes.
const WINDOW_LOG: u32 = 24;
const COMPRESSION_LEVEL: i32 = 3;

/// A document, ready to be stored.
pub(super) struct Packed {
    /// The document, compressed.
    pub config: Vec<u8>,
    /// Manifests to be stored by digest before [`Packed::top`].
    pub parts: Vec<Vec<u8>>,
    /// The manifest or index for the tag.
    pub top: Vec<u8>,
    /// Its media type.
    pub top_type: &'static str,
}

/// A manifest or index of a document.
pub(super) enum Top {
    /// One with the document.
    Manifest(Box<Manifest>),
    /// Several with the same document.
    Index(Index),
}

/// Packs a document, with notes about it.
pub(super) fn pack(document: &Document, annotations: &BTreeMap<String, String>) -> Result<Packed, String> {
    let config = compress(&document.bytes)?;
    let descriptor = Descriptor::new(CONFIG_TYPE, Digest::of(&config), config.len() as u64);
    let mut parts: Vec<_> = split(layers(document))
        .into_iter()
        // Some registries take no manifest without layers.
        .map(|layers| if layers.is_empty() { vec![descriptor.clone()] } else { layers })
        .map(|layers| {
            let mut manifest = Manifest::new(descriptor.clone(), layers);
            manifest.extra.insert("artifactType".to_owned(), ARTIFACT_TYPE.into());
            manifest.annotations.clone_from(annotations);
            to_bytes(&manifest)
        })
        .collect();
    if parts.len() == 1
        && let Some(top) = parts.pop()
    {
        return Ok(Packed { config, parts, top, top_type: media_type::OCI_MANIFEST });
    }
    let members = parts.iter().map(|part| {
        let mut member = Descriptor::new(media_type::OCI_MANIFEST, Digest::of(part), part.len() as u64);
        member.extra.insert("artifactType".to_owned(), ARTIFACT_TYPE.into());
        member
    });
    let mut index = Index::of(members.collect());
    index.extra.insert("artifactType".to_owned(), ARTIFACT_TYPE.into());
    index.annotations.clone_from(annotations);
    Ok(Packed { config, parts, top: to_bytes(&index), top_type: media_type::OCI_INDEX })
}

/// Reads what a tag has: `None` where it is something else than a cache.
pub(super) fn read_top(bytes: &[u8]) -> Option<Top> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    if value["artifactType"] != ARTIFACT_TYPE {
        return None;
    }
    if value["manifests"].is_array() {
        serde_json::from_value(value).ok().map(Top::Index)
    } else {
        serde_json::from_value(value).ok().map(Top::Manifest)
    }
}

impl Top {
    /// Returns the notes about the document.
    pub(super) const fn annotations(&self) -> &BTreeMap<String, String> {
        match self {
            Self::Manifest(manifest) => &manifest.annotations,
            Self::Index(index) => &index.annotations,
        }
    }
}

/// Returns the blobs of a manifest's document: its layers, but for the one that stands in for none.
pub(super) fn blobs(manifest: &Manifest) -> Vec<Descriptor> {
    manifest.layers.iter().filter(|layer| layer.digest != manifest.config.digest).cloned().collect()
}

/// Compresses a document.
pub(super) fn compress(document: &[u8]) -> Result<Vec<u8>, String> {
    if document.len() as u64 > MAX_DOCUMENT_BYTES {
        return Err(format!("its list has {} bytes, more than {MAX_DOCUMENT_BYTES}", document.len()));
    }
    zstd::bulk::compress(document, COMPRESSION_LEVEL).map_err(|error| error.to_string())
}

/// Reads a document; `None` where it is none, or too large.
pub(super) fn decompress(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).ok()?;
    decoder.window_log_max(WINDOW_LOG).ok()?;
    let mut document = Vec::new();
    decoder.take(MAX_DOCUMENT_BYTES + 1).read_to_end(&mut document).ok()?;
    (document.len() as u64 <= MAX_DOCUMENT_BYTES).then_some(document)
}

/// Lists the blobs once each, without notes.
fn layers(document: &Document) -> Vec<Descriptor> {
    let mut seen = BTreeSet::new();
    let first = document.blobs.iter().filter(|blob| seen.insert(blob.digest));
    first.map(|blob| Descriptor::new(&*blob.media_type, blob.digest, blob.size)).collect()
}

/// Cuts layers into lists that fit into a manifest; at least one.
fn split(layers: Vec<Descriptor>) -> Vec<Vec<Descriptor>> {
    let mut lists = vec![Vec::new()];
    let mut bytes = 0;
    for layer in layers {
        let length = to_bytes(&layer).len() + 1;
        bytes += length;
        if bytes > LAYERS_BYTES {
            bytes = length;
            lists.push(Vec::new());
        }
        lists.last_mut().expect("there is at least one list").push(layer);
    }
    lists
}

fn to_bytes(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("text keys and plain values always serialise")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(blobs: u32) -> Document {
        let blob = |n: u32| Descriptor::new(media_type::OCI_LAYER_ZSTD, Digest::of(&n.to_le_bytes()), 1);
        // Each twice.
        let blobs = (0..blobs).chain(0..blobs).map(blob).collect();
        Document { bytes: b"{\"a\":1}".to_vec(), blobs }
    }

    #[test]
    fn a_document_is_one_manifest_or_several() {
        for (count, manifests) in [(0, 1), (3, 1), (40_000, 2)] {
            let document = document(count);
            let packed = pack(&document, &BTreeMap::from([("a".to_owned(), "b".to_owned())])).unwrap();
            let top = read_top(&packed.top).unwrap();
            assert_eq!(top.annotations()["a"], "b");
            let parts: Vec<Manifest> = match top {
                Top::Manifest(manifest) => vec![*manifest],
                Top::Index(index) => {
                    assert_eq!(index.manifests.len(), packed.parts.len());
                    packed.parts.iter().map(|part| Manifest::from_bytes(part).unwrap()).collect()
                }
            };
            assert_eq!(parts.len(), manifests);
            assert!(packed.parts.iter().chain([&packed.top]).all(|bytes| bytes.len() < 4_000_000));
            let read: Vec<_> = parts.iter().flat_map(blobs).collect();
            assert_eq!(read, document.blobs[..count as usize]);
            assert_eq!(decompress(&packed.config).unwrap(), document.bytes);
        }
    }

    #[test]
    fn others_documents_are_none() {
        for other in ["", "{}", "[]", r#"{"artifactType":"x","config":{}}"#, r#"{"artifactType":1}"#] {
            assert!(read_top(other.as_bytes()).is_none(), "{other}");
        }
        let broken = format!(r#"{{"artifactType":"{ARTIFACT_TYPE}"}}"#);
        assert!(read_top(broken.as_bytes()).is_none());
        assert!(decompress(b"no zstd").is_none());
        let bomb = zstd::bulk::compress(&vec![0; (64 << 20) + 1], 3).unwrap();
        assert!(decompress(&bomb).is_none());
    }
}
