//! Assembled images to where they were asked for: tags of the store, OCI layouts, registries.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use kairn_image::Descriptor;
use kairn_image::layout::Layout;
use kairn_image::reference::Reference;
use kairn_image::registry::{Client, PushedBlob};

use crate::assemble::AssembledImage;
use crate::build::Settings;
use crate::error::Error;
use crate::events::{EventKind, Events};
use crate::parallel::each;
use crate::pull::parse;
use crate::state::{Origin, StateLayer};

/// Where an image is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// The store, under each tag.
    Store,
    /// The registries that the tags name.
    Registry,
    /// An OCI layout in a folder.
    LayoutFolder(PathBuf),
    /// An OCI layout in a tar file.
    LayoutArchive(PathBuf),
}

/// Delivers an image to one place, under each of its tags.
///
/// # Errors
/// Fails where the disk or the registry does. A registry's tag is written last, when all it needs is there.
pub fn publish(
    image: &AssembledImage,
    tags: &[Reference],
    sink: &Sink,
    client: &Client,
    settings: &Settings,
    events: &Events,
) -> Result<(), Error> {
    match sink {
        Sink::Registry => {
            push(image, tags, client, settings, events)?;
            // Kept under its tags as well, without the base's layers that nobody here needed.
            tag_in_store(image, tags, settings)
        }
        Sink::Store => {
            fetch_missing(image, settings)?;
            tag_in_store(image, tags, settings)
        }
        Sink::LayoutFolder(path) => {
            fetch_missing(image, settings)?;
            write_folder(image, tags, path, settings)
        }
        Sink::LayoutArchive(path) => {
            fetch_missing(image, settings)?;
            write_archive(image, tags, path, settings)
        }
    }
}

fn tag_in_store(image: &AssembledImage, tags: &[Reference], settings: &Settings) -> Result<(), Error> {
    let layout = settings.store.layout();
    tags.iter().try_for_each(|tag| {
        layout
            .tag(&tag.to_string(), &image.descriptor)
            .map_err(|e| Error::world(format!("cannot tag `{tag}` in the store"), e))
    })
}

fn fetch_missing(image: &AssembledImage, settings: &Settings) -> Result<(), Error> {
    settings.puller.demand(image.layers.iter())?;
    each(&image.layers, &|layer| settings.puller.ensure_blob(layer)).map(drop)
}

fn blobs(image: &AssembledImage) -> impl Iterator<Item = &Descriptor> {
    image.manifest.layers.iter().chain([&image.manifest.config, &image.descriptor])
}

fn write_folder(
    image: &AssembledImage,
    tags: &[Reference],
    path: &Path,
    settings: &Settings,
) -> Result<(), Error> {
    let failed = |e| Error::world(format!("cannot write the image layout `{}`", path.display()), e);
    let target = Layout::open(path).map_err(failed)?;
    for blob in blobs(image).filter(|blob| !target.has_blob(&blob.digest)) {
        let mut from = settings
            .store
            .layout()
            .open_blob(&blob.digest)
            .map_err(|e| Error::world(format!("cannot read the blob {}", blob.digest), e))?;
        let mut to = target.blob_writer().map_err(failed)?;
        std::io::copy(&mut from, &mut to)
            .map_err(|e| Error::world(format!("cannot write to `{}`: {e}", path.display()), e))?;
        to.finish(Some(blob)).map_err(failed)?;
    }
    if tags.is_empty() {
        return target.tag("latest", &image.descriptor).map_err(failed);
    }
    tags.iter()
        .try_for_each(|tag| target.tag(tag.tag().unwrap_or("latest"), &image.descriptor).map_err(failed))
}

fn write_archive(
    image: &AssembledImage,
    tags: &[Reference],
    path: &Path,
    settings: &Settings,
) -> Result<(), Error> {
    let failed =
        |e: std::io::Error| Error::world(format!("cannot write the archive `{}`: {e}", path.display()), e);
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(parent).map_err(failed)?;
    let names: Vec<String> = if tags.is_empty() {
        vec!["latest".to_owned()]
    } else {
        tags.iter().map(|tag| tag.tag().unwrap_or("latest").to_owned()).collect()
    };
    let images: Vec<(String, Descriptor)> =
        names.into_iter().map(|name| (name, image.descriptor.clone())).collect();
    settings
        .store
        .layout()
        .write_archive(&mut file, &images)
        .map_err(|e| Error::world(format!("cannot write the archive `{}`", path.display()), e))?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(failed)?;
    file.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}

fn push(
    image: &AssembledImage,
    tags: &[Reference],
    client: &Client,
    settings: &Settings,
    events: &Events,
) -> Result<(), Error> {
    // One repository may have several tags; its blobs are sent once.
    let mut repositories: BTreeMap<(String, String), Vec<&Reference>> = BTreeMap::new();
    for tag in tags {
        repositories.entry((tag.registry().to_owned(), tag.repository().to_owned())).or_default().push(tag);
    }
    for tags in repositories.values() {
        let target = tags[0];
        let failed = |e| Error::world(format!("cannot push `{target}`"), e);
        each(&image.layers, &|layer| push_layer(layer, target, client, settings, events))?;
        client.push_blob(settings.store.layout(), &image.manifest.config, target, None).map_err(failed)?;
        let bytes = image.manifest.to_bytes();
        for tag in tags {
            client
                .push_manifest(&bytes, &image.descriptor.media_type, tag)
                .map_err(|e| Error::world(format!("cannot push `{tag}`"), e))?;
            events.build(EventKind::Transfer(format!("pushed {tag}")));
        }
    }
    Ok(())
}

fn push_layer(
    layer: &StateLayer,
    target: &Reference,
    client: &Client,
    settings: &Settings,
    events: &Events,
) -> Result<(), Error> {
    let repository = match &layer.origin {
        Some(Origin::Image(reference)) => Some(reference),
        Some(Origin::Cache { repository, .. }) => repository.as_ref(),
        None | Some(Origin::Nowhere) => None,
    };
    let origin = repository.map(|repository| parse(repository)).transpose()?;
    let mount_from = origin.filter(|origin| origin.registry() == target.registry());
    let from = mount_from.as_ref().map(Reference::repository);
    let layout = settings.store.layout();
    let failed = |e| Error::world(format!("cannot push `{target}`"), e);
    if !layout.has_blob(&layer.descriptor.digest) {
        if client.blob_is_there(&layer.descriptor, target, from).map_err(failed)? {
            return Ok(());
        }
        settings.puller.ensure_blob(layer)?;
    }
    let pushed = client.push_blob(layout, &layer.descriptor, target, from).map_err(failed)?;
    if pushed == PushedBlob::Uploaded {
        let mebibytes = layer.descriptor.size / (1024 * 1024);
        let digest = layer.descriptor.digest.short();
        events.build(EventKind::Transfer(format!("pushed the layer {digest} ({mebibytes} MiB)")));
    }
    Ok(())
}
