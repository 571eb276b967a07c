//! Images of registries and of the store: their configs for the compiler, their blobs when somebody needs bytes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use kairn_compiler::compile::{ImageSource, ResolvedImage};
use kairn_image::layer::Compression;
use kairn_image::layout::Layout;
use kairn_image::reference::Reference;
use kairn_image::registry::Client;
use kairn_image::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, media_type};
use serde::{Deserialize, Serialize};

use crate::cache::Remotes;
use crate::cache::export::recompress;
use crate::error::Error;
use crate::events::{EventKind, Events};
use crate::explain::bytes;
use crate::state::{Origin, StateLayer};
use crate::store::Store;

/// Finds images and fetches their blobs.
#[derive(Debug)]
pub struct Puller {
    client: Arc<Client>,
    store: Arc<Store>,
    events: Events,
    policy: Policy,
    remotes: Arc<Remotes>,
    manifests: Mutex<BTreeMap<Digest, Manifest>>,
}

/// Who is asked for images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// The store for what was built here, registries for all else.
    #[default]
    Ask,
    /// Registries, always.
    AlwaysAsk,
    /// Nobody: what the store knows has to do.
    Offline,
}

/// What a name was found to be.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Resolution {
    /// The name, in canonical form.
    pub(crate) reference: String,
    /// Digest of the manifest for the platform.
    pub(crate) manifest: Digest,
}

type Boxed = Box<dyn std::error::Error + Send + Sync>;

impl Puller {
    /// Makes a puller that fetches into `store`.
    pub fn new(
        client: Arc<Client>,
        store: Arc<Store>,
        events: Events,
        policy: Policy,
        remotes: Arc<Remotes>,
    ) -> Self {
        Self { client, store, events, policy, remotes, manifests: Mutex::default() }
    }

    /// Whether nobody may be asked.
    pub fn is_offline(&self) -> bool {
        self.policy == Policy::Offline
    }

    /// The shared caches.
    pub fn remotes(&self) -> &Arc<Remotes> {
        &self.remotes
    }

    /// Makes sure that layers can be had, as far as that is known without asking anybody.
    ///
    /// # Errors
    /// [`Error::Lost`] with all those that cannot.
    pub fn demand<'a>(&self, layers: impl Iterator<Item = &'a StateLayer>) -> Result<(), Error> {
        let is_gone = |layer: &&StateLayer| {
            matches!(layer.origin, None | Some(Origin::Nowhere))
                && !self.store.layout().has_blob(&layer.descriptor.digest)
        };
        let blobs: Vec<Digest> = layers.filter(is_gone).map(|layer| layer.descriptor.digest).collect();
        if blobs.is_empty() {
            return Ok(());
        }
        Err(Error::Lost { blobs, reason: "nobody has it any more".to_owned() })
    }

    /// What speaks to servers.
    pub fn client(&self) -> &Client {
        &self.client
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
        if self.store.has_blob(digest) {
            return Ok(());
        }
        let Some(origin) = &layer.origin else { return self.demand([layer].into_iter()) };
        let _lock = self.store.lock(&format!("blob-{}", digest.hex()))?;
        if self.store.has_blob(digest) {
            return Ok(());
        }
        let pulling = |from: &str| {
            let text = format!("pulling {} of {from} ({})", digest.short(), bytes(layer.descriptor.size));
            self.events.build(EventKind::Transfer(text));
        };
        match origin {
            Origin::Nowhere => self.demand([layer].into_iter()),
            Origin::Cache { name, stored, .. } => {
                pulling(name);
                self.fetch_cached(layer, name, stored).map_err(|reason| lost_in(layer, &reason))
            }
            Origin::Image(origin) if self.is_offline() => {
                let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
                Err(Error::world(format!("a layer of `{origin}` is not in the store"), missing)
                    .with_help("build once without `--offline`, so that it is fetched"))
            }
            Origin::Image(origin) => {
                let reference = parse(origin)?;
                pulling(origin);
                self.client
                    .fetch_blob(&reference, &layer.descriptor, self.store.layout())
                    .map_err(|e| Error::world(format!("cannot pull `{origin}`: {e}"), e))
            }
        }
    }

    /// Fetches a layer from a shared cache, and gives it the compression that the image wants.
    fn fetch_cached(&self, layer: &StateLayer, name: &str, stored: &Descriptor) -> Result<(), String> {
        let source = self.remotes.source(name).ok_or_else(|| format!("there is no cache `{name}`"))?;
        self.remotes.fetch(source, stored, &self.store)?;
        if stored.digest == layer.descriptor.digest {
            return Ok(());
        }
        let compression = match media_type::to_oci(&layer.descriptor.media_type) {
            media_type::OCI_LAYER => Compression::None,
            media_type::OCI_LAYER_GZIP => Compression::default(),
            other => return Err(format!("it is of the type `{other}`, which is not written here")),
        };
        let written = recompress(stored, compression, &self.store).map_err(|error| error.to_string())?;
        if written.digest == layer.descriptor.digest {
            return Ok(());
        }
        Err("compressed anew it is not what it was: another version of kairn wrote it".to_owned())
    }

    /// An image that was built here and kept under its tag.
    fn local(&self, reference: &Reference, platform: &Platform) -> Option<(Digest, Manifest, ImageConfig)> {
        let layout = self.store.layout();
        let named = layout.resolve(&reference.to_string()).ok()??;
        let descriptor = of_platform(layout, named, platform).ok()??;
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

/// How the name of an image in an OCI layout of this machine begins.
const LAYOUT: &str = "oci-layout://";

/// Splits `PATH[:TAG][@DIGEST]` of a layout.
fn split_layout(text: &str) -> Result<(&Path, Option<&str>, Option<Digest>), Boxed> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest.parse()?)),
        None => (text, None),
    };
    let tagged = rest.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'));
    let (path, tag) = tagged.map_or((rest, None), |(path, tag)| (path, Some(tag)));
    Ok((Path::new(path), tag, digest))
}

/// Finds a descriptor in a layout's index, or in the indexes that it lists.
fn find(layout: &Layout, wanted: impl Fn(&Descriptor) -> bool) -> Result<Option<Descriptor>, Boxed> {
    let mut listed = layout.index()?.manifests;
    for index in listed.clone().iter().filter(|descriptor| media_type::is_index(&descriptor.media_type)) {
        listed.extend(Index::from_bytes(&layout.read_blob(index)?)?.manifests);
    }
    Ok(listed.into_iter().find(wanted))
}

/// The manifest for a platform of what a name stands for, where that is an index.
fn of_platform(layout: &Layout, named: Descriptor, platform: &Platform) -> Result<Option<Descriptor>, Boxed> {
    if !media_type::is_index(&named.media_type) {
        return Ok(Some(named));
    }
    let matching = |descriptor: &Descriptor| {
        descriptor.platform.as_ref().is_some_and(|offered| platform.matches(offered))
    };
    Ok(Index::from_bytes(&layout.read_blob(&named)?)?.manifests.into_iter().find(matching))
}

impl Puller {
    /// Finds an image in a layout and takes its blobs into the store.
    fn resolve_in_layout(&self, name: &str, platform: &Platform) -> Result<ResolvedImage, Boxed> {
        let (path, tag, digest) = split_layout(name)?;
        let layout = Layout::open_existing(path)?;
        let missing = || format!("`{name}` has no such image for {platform}");
        let mut found = match (digest, tag) {
            (Some(digest), _) => find(&layout, |descriptor| descriptor.digest == digest)?,
            (None, Some(tag)) => layout.resolve(tag)?,
            (None, None) => match &layout.index()?.manifests[..] {
                [only] => Some(only.clone()),
                _ => layout.resolve("latest")?,
            },
        }
        .ok_or_else(missing)?;
        found = of_platform(&layout, found, platform)?.ok_or_else(missing)?;
        let manifest: Manifest = serde_json::from_slice(&layout.read_blob(&found)?)?;
        let config = ImageConfig::from_bytes(&layout.read_blob(&manifest.config)?)?;
        for layer in manifest.layers.iter().filter(|layer| !self.store.layout().has_blob(&layer.digest)) {
            let mut blob = layout.open_verified(layer)?;
            let mut writer = self.store.layout().blob_writer()?;
            std::io::copy(&mut blob, &mut writer)?;
            writer.finish(Some(layer))?;
        }
        let reference = format!("{LAYOUT}{name}");
        self.remember(found.digest, &manifest, &config, &reference)?;
        Ok(ResolvedImage { reference, manifest_digest: found.digest, manifest, config })
    }

    /// Keeps a resolved image's manifest for when its layers are wanted.
    fn remember(
        &self,
        digest: Digest,
        manifest: &Manifest,
        config: &ImageConfig,
        name: &str,
    ) -> Result<(), Boxed> {
        if manifest.layers.len() != config.rootfs.diff_ids.len() {
            return Err(format!("`{name}` has a config that does not match its manifest's layers").into());
        }
        self.manifests.lock().expect("no holder of this lock panics").insert(digest, manifest.clone());
        Ok(())
    }
}

impl ImageSource for Puller {
    fn resolve(&self, reference: &str, platform: &Platform) -> Result<ResolvedImage, Boxed> {
        if let Some(name) = reference.strip_prefix(LAYOUT) {
            return self.resolve_in_layout(name, platform);
        }
        let parsed: Reference = reference.parse()?;
        let canonical = parsed.to_string();
        let local = if self.policy == Policy::AlwaysAsk { None } else { self.local(&parsed, platform) };
        let (manifest_digest, manifest, config) = if let Some(found) = local {
            found
        } else if self.is_offline() {
            self.known(&canonical, parsed.digest(), platform)
                .ok_or("it is not in the store, and with `--offline` nobody is asked")?
        } else {
            self.events.build(EventKind::Transfer(format!("resolving {canonical}")));
            let resolved = self.client.resolve_known(&parsed, platform, self.store.layout())?;
            let resolution =
                Resolution { reference: canonical.clone(), manifest: resolved.descriptor.digest };
            self.store.put_resolution(&canonical, platform, &resolution)?;
            (resolved.descriptor.digest, resolved.manifest, resolved.config)
        };
        self.remember(manifest_digest, &manifest, &config, &canonical)?;
        Ok(ResolvedImage { reference: canonical, manifest_digest, manifest, config })
    }
}

impl Puller {
    /// What a name was when a registry was last asked.
    fn known(
        &self,
        canonical: &str,
        pinned: Option<&Digest>,
        platform: &Platform,
    ) -> Option<(Digest, Manifest, ImageConfig)> {
        let digest = match self.store.resolution(canonical, platform) {
            Some(resolution) => resolution.manifest,
            None => *pinned?,
        };
        let layout = self.store.layout();
        let document = |digest: &Digest| {
            let bytes = std::fs::read(layout.blob_path(digest)).ok()?;
            (Digest::of(&bytes) == *digest).then_some(bytes)
        };
        let manifest = Manifest::from_bytes(&document(&digest)?).ok()?;
        let config = ImageConfig::from_bytes(&document(&manifest.config.digest)?).ok()?;
        Some((digest, manifest, config))
    }
}

/// Says that a layer, whose step was known to have been done, cannot be had.
pub(crate) fn lost_in(layer: &StateLayer, reason: &str) -> Error {
    Error::Lost { blobs: vec![layer.descriptor.digest], reason: reason.to_owned() }
}

/// Parses a reference that has been canonical before.
pub(crate) fn parse(reference: &str) -> Result<Reference, Error> {
    reference.parse().map_err(|e| Error::world(format!("cannot read the reference `{reference}`"), e))
}
