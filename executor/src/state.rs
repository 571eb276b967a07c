//! File-system states: what a step gives and what the next one starts from.

use kairn_image::{Descriptor, Digest};

/// A file-system state: a stack of layers, and a digest of what they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Digest of names, types, modes, owners and contents; equal states have equal digests whatever made them.
    pub content: Digest,
    /// The layers, base first.
    pub layers: Vec<StateLayer>,
}

/// One layer of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateLayer {
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Digest of this layer and all below it.
    pub chain_id: Digest,
    /// The compressed blob.
    pub descriptor: Descriptor,
    /// Where the blob can be had; none for layers made here.
    pub origin: Option<Origin>,
    /// The newest time in the layer, seconds from the Unix epoch, for layers made here.
    pub newest_mtime: Option<i64>,
}

/// Where the blob of a layer that was not made here can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From the image of this canonical name.
    Image(String),
    /// From the shared cache of this name.
    Cache {
        /// The cache's name.
        name: String,
        /// The blob as the cache has it.
        stored: Box<Descriptor>,
        /// The repository that has it, where one does.
        repository: Option<String>,
    },
    /// Nowhere: only the result of its step is known.
    Nowhere,
}

impl State {
    /// The empty file system.
    pub fn scratch() -> Self {
        Self { content: Digest::of(b"kairn scratch"), layers: Vec::new() }
    }

    /// The file system of an image: its content is known by its layers' digests alone.
    pub fn image(diff_ids: &[Digest], blobs: &[Descriptor], origin: &str) -> Self {
        let mut layers: Vec<StateLayer> = Vec::with_capacity(diff_ids.len());
        for (diff_id, descriptor) in diff_ids.iter().zip(blobs) {
            let chain_id = chain_id(layers.last().map(|layer| &layer.chain_id), diff_id);
            layers.push(StateLayer {
                diff_id: *diff_id,
                chain_id,
                descriptor: descriptor.clone(),
                origin: Some(Origin::Image(origin.to_owned())),
                newest_mtime: None,
            });
        }
        let content = layers.last().map_or_else(|| Self::scratch().content, |layer| layer.chain_id);
        Self { content, layers }
    }

    /// This state with one more layer. A layer that holds nothing leaves the content as it was.
    #[must_use]
    pub fn with_layer(&self, layer: NewLayer) -> Self {
        self.with_layer_from(layer, None)
    }

    /// As [`State::with_layer`], for a layer that is elsewhere.
    #[must_use]
    pub fn with_layer_from(&self, layer: NewLayer, origin: Option<Origin>) -> Self {
        let chain_id = chain_id(self.chain_id(), &layer.diff_id);
        let content = if layer.content == crate::tree::LayerTree::default().content_digest() {
            self.content
        } else {
            Digest::of(&[&b"kairn state"[..], self.content.as_bytes(), layer.content.as_bytes()].concat())
        };
        let mut layers = self.layers.clone();
        layers.push(StateLayer {
            diff_id: layer.diff_id,
            chain_id,
            descriptor: layer.descriptor,
            origin,
            newest_mtime: Some(layer.newest_mtime),
        });
        Self { content, layers }
    }

    /// The chain id of the whole stack; none for the empty file system.
    pub fn chain_id(&self) -> Option<&Digest> {
        self.layers.last().map(|layer| &layer.chain_id)
    }
}

/// A layer that a step made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLayer {
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// The compressed blob.
    pub descriptor: Descriptor,
    /// Digest of what it holds, without times.
    pub content: Digest,
    /// The newest time in it, seconds from the Unix epoch.
    pub newest_mtime: i64,
}

/// Joins a stack and one more layer.
///
/// Spec: OCI image-spec, config.md, Layer ChainID.
pub fn chain_id(below: Option<&Digest>, diff_id: &Digest) -> Digest {
    below.map_or(*diff_id, |below| Digest::of(format!("{below} {diff_id}").as_bytes()))
}
