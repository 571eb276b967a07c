//! To registries: blobs and manifests by digest, then tags.

use std::collections::{BTreeMap, BTreeSet};

use kairn_image::reference::Reference;
use kairn_image::registry::{Client, PushedBlob};
use kairn_image::{Descriptor, Digest, media_type};

use super::{Parcel, Run, Sink};
use crate::error::Error;
use crate::events::EventKind;
use crate::explain::bytes;
use crate::pull::parse;
use crate::state::{Origin, StateLayer};

/// Sends everything but the tags. A blob goes to each registry once, and is linked to its further repositories.
pub(super) fn send(run: &Run<'_>) -> Result<(), Error> {
    let uploads = uploads(run);
    run.each(&uploads, &|upload| upload.parcels.iter().copied().collect(), &|upload| upload.send(run))?;
    let documents: Vec<(usize, &Parcel<'_>, &Reference)> = run
        .bound_for(&|sink| *sink == Sink::Registry)
        .flat_map(|(at, parcel)| parcel.repositories().into_iter().map(move |target| (at, parcel, target)))
        .collect();
    run.each(&documents, &|(at, ..)| vec![*at], &|(_, parcel, target)| push_documents(run, parcel, target))?;
    Ok(())
}

/// Writes the tags, in no particular order.
pub(super) fn tag(run: &Run<'_>) -> Result<(), Error> {
    let tags: Vec<(usize, &Parcel<'_>, &Reference)> = run
        .bound_for(&|sink| *sink == Sink::Registry)
        .flat_map(|(at, parcel)| parcel.delivery.tags.iter().map(move |tag| (at, parcel, tag)))
        .collect();
    run.each(&tags, &|(at, ..)| vec![*at], &|(_, parcel, tag)| {
        let bytes = parcel.index.clone().unwrap_or_else(|| parcel.images[0].manifest.to_bytes());
        push_document(run, &bytes, &parcel.descriptor.media_type, tag)?;
        run.events.build(EventKind::Transfer(format!("pushed {tag}")));
        Ok(())
    })?;
    Ok(())
}

/// Pushes the manifests and the index of a parcel to a repository, by their digests.
fn push_documents(run: &Run<'_>, parcel: &Parcel<'_>, target: &Reference) -> Result<(), Error> {
    for image in &parcel.images {
        let bytes = image.manifest.to_bytes();
        push_document(run, &bytes, &image.descriptor.media_type, &target.pinned(image.descriptor.digest))?;
    }
    match &parcel.index {
        Some(index) => {
            push_document(run, index, media_type::OCI_INDEX, &target.pinned(parcel.descriptor.digest))
        }
        None => Ok(()),
    }
}

fn push_document(run: &Run<'_>, bytes: &[u8], media_type: &str, target: &Reference) -> Result<(), Error> {
    client(run)
        .push_manifest(bytes, media_type, target)
        .map(drop)
        .map_err(|e| Error::world(format!("cannot push `{target}`"), e))
}

fn client<'r>(run: &'r Run<'_>) -> &'r Client {
    run.settings.puller.client()
}

/// A blob that a registry is to have.
struct Upload<'a> {
    blob: Blob<'a>,
    /// A name in each repository that is to have it.
    targets: Vec<&'a Reference>,
    /// The parcels that it is of.
    parcels: BTreeSet<usize>,
}

#[derive(Clone, Copy)]
enum Blob<'a> {
    Layer(&'a StateLayer),
    Config(&'a Descriptor),
}

/// The blobs of all parcels, each once for every registry.
fn uploads<'a>(run: &'a Run<'_>) -> Vec<Upload<'a>> {
    let mut uploads: BTreeMap<(&str, Digest), Upload<'a>> = BTreeMap::new();
    for (at, parcel) in run.bound_for(&|sink| *sink == Sink::Registry) {
        for target in parcel.repositories() {
            let layers = parcel.images.iter().flat_map(|image| &image.layers);
            let layers = layers.map(|layer| (layer.descriptor.digest, Blob::Layer(layer)));
            let configs = parcel.images.iter().map(|image| &image.manifest.config);
            let configs = configs.map(|config| (config.digest, Blob::Config(config)));
            for (digest, blob) in layers.chain(configs) {
                let upload = uploads.entry((target.registry(), digest)).or_insert_with(|| Upload {
                    blob,
                    targets: Vec::new(),
                    parcels: BTreeSet::new(),
                });
                upload.parcels.insert(at);
                if !upload.targets.iter().any(|known| known.repository() == target.repository()) {
                    upload.targets.push(target);
                }
            }
        }
    }
    uploads.into_values().collect()
}

impl Upload<'_> {
    fn send(&self, run: &Run<'_>) -> Result<(), Error> {
        let mut first: Option<&Reference> = None;
        for target in &self.targets {
            let from = first.map(Reference::repository);
            match self.blob {
                Blob::Layer(layer) => push_layer(run, layer, target, from)?,
                Blob::Config(config) => {
                    client(run)
                        .push_blob(run.settings.store.layout(), config, target, from)
                        .map_err(|e| Error::world(format!("cannot push `{target}`"), e))?;
                }
            }
            first = first.or(Some(target));
        }
        Ok(())
    }
}

/// Pushes a layer, or links it from another repository: `from`, or where it came from.
fn push_layer(
    run: &Run<'_>,
    layer: &StateLayer,
    target: &Reference,
    from: Option<&str>,
) -> Result<(), Error> {
    let repository = match &layer.origin {
        Some(Origin::Image(reference)) => Some(reference),
        Some(Origin::Cache { repository, .. }) => repository.as_ref(),
        None | Some(Origin::Nowhere) => None,
    };
    let origin = repository.map(|repository| parse(repository)).transpose()?;
    let origin = origin.filter(|origin| origin.registry() == target.registry());
    let from = from.or(origin.as_ref().map(Reference::repository));
    let layout = run.settings.store.layout();
    let failed = |e| Error::world(format!("cannot push `{target}`"), e);
    if !layout.has_blob(&layer.descriptor.digest) {
        if client(run).blob_is_there(&layer.descriptor, target, from).map_err(failed)? {
            return Ok(());
        }
        run.settings.puller.ensure_blob(layer)?;
    }
    let pushed = client(run).push_blob(layout, &layer.descriptor, target, from).map_err(failed)?;
    if pushed == PushedBlob::Uploaded {
        let digest = layer.descriptor.digest.short();
        run.events.build(EventKind::Transfer(format!(
            "pushed the layer {digest} ({})",
            bytes(layer.descriptor.size)
        )));
    }
    Ok(())
}
