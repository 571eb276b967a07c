//! Images of registries and of the store: their configs for the compiler, their blobs when somebody needs bytes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use kairn_compiler::compile::{ImageSource, ResolvedImage};
use kairn_image::reference::Reference;
use kairn_image::registry::Client;
use kairn_image::{Descriptor, Digest, ImageConfig, Manifest, Platform};

use crate::error::Error;
use crate::events::{EventKind, Events};
use crate::state::StateLayer;
use crate::store::Store;

/// Finds images and fetches their blobs.
#[derive(Debug)]
pub struct Puller {
    client: Arc<Client>,
    store: Arc<Store>,
    events: Events,
    manifests: Mutex<BTreeMap<Digest, Manifest>>,
}

type Boxed = Box<dyn std::error::Error + Send + Sync>;

impl Puller {
    /// Makes a puller that fetches into `store`.
    pub fn new(client: Arc<Client>, store: Arc<Store>, events: Events) -> Self {
        Self { client, store, events, manifests: Mutex::default() }
    }

    /// The layers' descriptors of an image that has been resolved.
    ///
    /// # Errors
    /// Fails where the image has not been resolved in this build.
    pub fn layers(&self, manifest_digest: &Digest) -> Result<Vec<Descriptor>, Error> {
        let manifests = self.manifests.lock().expect("no holder of this lock panics");
        manifests.get(manifest_digest).map(|manifest| manifest.layers.clone()).ok_or_else(|| {
            Error::world(
                format!("the image {manifest_digest} is not known"),
                std::io::Error::other("not resolved"),
            )
        })
    }

    /// Makes sure that a layer's blob is in the store.
    ///
    /// # Errors
    /// Fails where it cannot be fetched, or is not what its digest says.
    pub fn ensure_blob(&self, layer: &StateLayer) -> Result<(), Error> {
        let digest = &layer.descriptor.digest;
        if self.store.layout().has_blob(digest) {
            return Ok(());
        }
        let Some(origin) = &layer.origin else {
            return Err(Error::world(
                format!("the layer {digest} is no longer in the store"),
                std::io::Error::from(std::io::ErrorKind::NotFound),
            )
            .with_help("build again with `--no-cache`"));
        };
        let _lock = self.store.lock(&format!("blob-{}", digest.hex()))?;
        if self.store.layout().has_blob(digest) {
            return Ok(());
        }
        let reference = parse(origin)?;
        let mebibytes = layer.descriptor.size / (1024 * 1024);
        self.events
            .build(EventKind::Transfer(format!("pulling {} of {origin} ({mebibytes} MiB)", digest.short())));
        self.client
            .fetch_blob(&reference, &layer.descriptor, self.store.layout())
            .map_err(|e| Error::world(format!("cannot pull `{origin}`: {e}"), e))
    }

    /// An image that was built here and kept under its tag.
    fn local(&self, reference: &Reference, platform: &Platform) -> Option<(Digest, Manifest, ImageConfig)> {
        let layout = self.store.layout();
        let descriptor = layout.resolve(&reference.to_string()).ok()??;
        let manifest: Manifest = serde_json::from_slice(&layout.read_blob(&descriptor).ok()?).ok()?;
        let config = ImageConfig::from_bytes(&layout.read_blob(&manifest.config).ok()?).ok()?;
        let complete = manifest.layers.iter().all(|layer| layout.has_blob(&layer.digest));
        (complete && config.architecture == platform.architecture && config.os == platform.os).then_some((
            descriptor.digest,
            manifest,
            config,
        ))
    }
}

impl ImageSource for Puller {
    fn resolve(&self, reference: &str, platform: &Platform) -> Result<ResolvedImage, Boxed> {
        let parsed: Reference = reference.parse()?;
        let canonical = parsed.to_string();
        let (manifest_digest, manifest, config) = if let Some(found) = self.local(&parsed, platform) {
            found
        } else {
            self.events.build(EventKind::Transfer(format!("resolving {canonical}")));
            let resolved = self.client.resolve(&parsed, platform)?;
            (resolved.descriptor.digest, resolved.manifest, resolved.config)
        };
        if manifest.layers.len() != config.rootfs.diff_ids.len() {
            return Err(
                format!("`{canonical}` has a config that does not match its manifest's layers").into()
            );
        }
        let mut manifests = self.manifests.lock().expect("no holder of this lock panics");
        manifests.insert(manifest_digest, manifest.clone());
        Ok(ResolvedImage { reference: canonical, manifest_digest, manifest, config })
    }
}

/// Parses a reference that has been canonical before.
pub(crate) fn parse(reference: &str) -> Result<Reference, Error> {
    reference.parse().map_err(|e| Error::world(format!("cannot read the reference `{reference}`"), e))
}
