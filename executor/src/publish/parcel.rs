//! What is delivered: an image as it is, or an index of some.

use std::collections::BTreeMap;

use kairn_image::reference::Reference;
use kairn_image::{Descriptor, Digest, Index, media_type};

use super::{Delivery, Form};
use crate::assemble::AssembledImage;
use crate::build::Settings;
use crate::error::Error;

/// A delivery with its images, whose documents are in the store.
#[derive(Clone, Debug)]
pub struct Parcel<'a> {
    /// What was asked for.
    pub delivery: &'a Delivery,
    /// The images, with the delivery's annotations.
    pub images: Vec<AssembledImage>,
    /// The bytes of their index, where there is one.
    pub index: Option<Vec<u8>>,
    /// What the names stand for: the manifest, or the index.
    pub descriptor: Descriptor,
}

impl<'a> Parcel<'a> {
    /// Puts a delivery's images, in its order, together.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn new(
        delivery: &'a Delivery,
        images: &[&AssembledImage],
        settings: &Settings,
    ) -> Result<Self, Error> {
        let annotations = &delivery.annotations;
        let annotated = images.iter().map(|image| annotated(image, &annotations.manifest, settings));
        let images: Vec<AssembledImage> = annotated.collect::<Result<_, _>>()?;
        if let ([only], Form::Fitting) = (&images[..], delivery.form) {
            let descriptor = only.descriptor.clone();
            return Ok(Self { delivery, images, index: None, descriptor });
        }
        let members = images.iter().map(|image| {
            let platform = Some(image.platform.clone());
            Descriptor { platform, ..image.descriptor.clone() }
        });
        let index = Index { annotations: annotations.index.clone(), ..Index::of(members.collect()) };
        let bytes = index.to_bytes();
        let descriptor = put(media_type::OCI_INDEX, &bytes, settings)?;
        Ok(Self { delivery, images, index: Some(bytes), descriptor })
    }

    /// Bytes of the configs and the compressed layers, each counted once.
    pub fn size_bytes(&self) -> u64 {
        let manifests = self.images.iter().map(|image| &image.manifest);
        let blobs = manifests.flat_map(|manifest| manifest.layers.iter().chain([&manifest.config]));
        let sizes: BTreeMap<Digest, u64> = blobs.map(|blob| (blob.digest, blob.size)).collect();
        sizes.values().sum()
    }

    /// All blobs, what points after what it points to.
    pub(super) fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        let images = self.images.iter().flat_map(|image| {
            let (layers, rest) = (&image.manifest.layers, [&image.manifest.config, &image.descriptor]);
            layers.iter().chain(rest)
        });
        images.chain(self.index.is_some().then_some(&self.descriptor))
    }

    /// The repositories of the tags, with one tag of each.
    pub(super) fn repositories(&self) -> Vec<&'a Reference> {
        let tags = self.delivery.tags.iter();
        let by_name: BTreeMap<_, _> = tags.map(|tag| ((tag.registry(), tag.repository()), tag)).collect();
        by_name.into_values().collect()
    }
}

/// An image whose manifest has further annotations.
fn annotated(
    image: &AssembledImage,
    annotations: &BTreeMap<String, String>,
    settings: &Settings,
) -> Result<AssembledImage, Error> {
    if annotations.is_empty() {
        return Ok(image.clone());
    }
    let mut image = image.clone();
    image.manifest.annotations.extend(annotations.clone());
    image.descriptor = put(media_type::OCI_MANIFEST, &image.manifest.to_bytes(), settings)?;
    Ok(image)
}

fn put(media_type: &str, bytes: &[u8], settings: &Settings) -> Result<Descriptor, Error> {
    let digest = settings
        .store
        .layout()
        .put_bytes(bytes)
        .map_err(|e| Error::world("cannot put the image into the store", e))?;
    Ok(Descriptor::new(media_type, digest, bytes.len() as u64))
}
