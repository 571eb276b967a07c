//! To files and to the store: contents first, names at the end.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use kairn_image::layout::{CONTAINERD_NAME, Layout};
use kairn_image::{Descriptor, Digest};
use tempfile::NamedTempFile;

use super::{Grouped, Parcel, Run, Sink, Unity};
use crate::error::Error;
use crate::state::StateLayer;

/// An archive that has not its name yet.
pub(super) struct Archive {
    path: PathBuf,
    file: NamedTempFile,
    parcels: Vec<usize>,
}

/// Fetches what the store has to have of what is delivered here.
pub(super) fn fetch_missing(run: &Run<'_>) -> Result<(), Error> {
    let mut layers: BTreeMap<Digest, (&StateLayer, Vec<usize>)> = BTreeMap::new();
    for (at, parcel) in run.bound_for(&|sink| *sink != Sink::Registry) {
        for layer in parcel.images.iter().flat_map(|image| &image.layers) {
            layers.entry(layer.descriptor.digest).or_insert((layer, Vec::new())).1.push(at);
        }
    }
    run.settings.puller.demand(layers.values().map(|(layer, _)| *layer))?;
    let layers: Vec<_> = layers.into_values().collect();
    run.each(&layers, &|(_, parcels)| parcels.clone(), &|(layer, _)| run.settings.puller.ensure_blob(layer))?;
    Ok(())
}

/// Writes the blobs of layouts in folders.
pub(super) fn write_folders(run: &Run<'_>) -> Result<Grouped, Error> {
    let folders = grouped(run, &|sink| match sink {
        Sink::LayoutFolder(path) => Some(path),
        Sink::LayoutArchive(_) | Sink::Registry | Sink::Store => None,
    });
    let all: Vec<(&PathBuf, usize)> =
        folders.iter().flat_map(|(path, parcels)| parcels.iter().map(move |at| (path, *at))).collect();
    run.each(&all, &|(_, at)| vec![*at], &|(path, at)| write_blobs(run, &run.parcels[*at], path))?;
    Ok(folders)
}

fn write_blobs(run: &Run<'_>, parcel: &Parcel<'_>, path: &Path) -> Result<(), Error> {
    let failed = |e| Error::world(format!("cannot write the image layout `{}`", path.display()), e);
    let target = Layout::open(path).map_err(failed)?;
    for blob in parcel.blobs().filter(|blob| !target.has_blob(&blob.digest)) {
        let mut from = run
            .settings
            .store
            .layout()
            .open_blob(&blob.digest)
            .map_err(|e| Error::world(format!("cannot read the blob {}", blob.digest), e))?;
        let mut to = target.blob_writer().map_err(failed)?;
        std::io::copy(&mut from, &mut to)
            .map_err(|e| Error::world(format!("cannot write to `{}`: {e}", path.display()), e))?;
        to.finish(Some(blob)).map_err(failed)?;
    }
    Ok(())
}

/// Writes archives beside their places.
pub(super) fn write_archives(run: &Run<'_>) -> Result<Vec<Archive>, Error> {
    let archives = grouped(run, &|sink| match sink {
        Sink::LayoutArchive(path) => Some(path),
        Sink::LayoutFolder(_) | Sink::Registry | Sink::Store => None,
    });
    let archives: Vec<(PathBuf, Vec<usize>)> = archives.into_iter().collect();
    run.each(&archives, &|(_, parcels)| parcels.clone(), &|(path, parcels)| write_archive(run, path, parcels))
}

fn write_archive(run: &Run<'_>, path: &Path, parcels: &[usize]) -> Result<Archive, Error> {
    let failed =
        |e: std::io::Error| Error::world(format!("cannot write the archive `{}`: {e}", path.display()), e);
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(parent).map_err(failed)?;
    run.settings
        .store
        .layout()
        .write_archive(&mut file, &entries(run, parcels))
        .map_err(|e| Error::world(format!("cannot write the archive `{}`", path.display()), e))?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(failed)?;
    Ok(Archive { path: path.to_owned(), file, parcels: parcels.to_vec() })
}

/// Gives everything its name: archives, images in layouts, images in the store.
pub(super) fn name(run: &Run<'_>, folders: &Grouped, archives: Vec<Archive>) -> Result<(), Error> {
    for Archive { path, file, parcels } in archives {
        let failed = |e: std::io::Error| {
            Error::world(format!("cannot write the archive `{}`: {e}", path.display()), e)
        };
        settle(run, &parcels, file.persist(&path).map(drop).map_err(|e| failed(e.error)))?;
    }
    for (path, parcels) in folders {
        let well: Vec<usize> = parcels.iter().copied().filter(|at| !run.has_failed(*at)).collect();
        settle(run, &well, name_in_folder(run, path, &well))?;
    }
    // What was pushed is kept under its tags as well, without the base's layers that nobody here needed.
    let is_kept = |sink: &Sink| matches!(sink, Sink::Store | Sink::Registry);
    for (at, parcel) in run.bound_for(&is_kept).collect::<Vec<_>>() {
        let layout = run.settings.store.layout();
        let tagged = parcel.delivery.tags.iter().try_for_each(|tag| {
            layout
                .tag(&tag.to_string(), &parcel.descriptor)
                .map_err(|e| Error::world(format!("cannot tag `{tag}` in the store"), e))
        });
        settle(run, &[at], tagged)?;
    }
    Ok(())
}

fn name_in_folder(run: &Run<'_>, path: &Path, parcels: &[usize]) -> Result<(), Error> {
    let failed = |e| Error::world(format!("cannot write the image layout `{}`", path.display()), e);
    let target = Layout::open(path).map_err(failed)?;
    entries(run, parcels).iter().try_for_each(|(name, image)| target.tag(name, image).map_err(failed))
}

/// Takes what came of some parcels, as the run takes failures.
fn settle(run: &Run<'_>, parcels: &[usize], result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if run.unity == Unity::Each => {
            run.fail(parcels, error);
            Ok(())
        }
        other => other,
    }
}

/// The parcels for each path that `path_of` finds among their sinks.
fn grouped<'a>(run: &'a Run<'_>, path_of: &'a (dyn Fn(&Sink) -> Option<&PathBuf> + Sync)) -> Grouped {
    let mut groups = Grouped::new();
    for (at, parcel) in run.bound_for(&|sink| path_of(sink).is_some()).collect::<Vec<_>>() {
        for path in parcel.delivery.sinks.iter().filter_map(path_of) {
            groups.entry(path.clone()).or_default().push(at);
        }
    }
    for parcels in groups.values_mut() {
        parcels.dedup();
    }
    groups
}

/// The entries of a layout's index: one for each name.
///
/// An image alone is named by its tags, as BuildKit does. Of several the whole name is noted as well, and stands for a tag
/// that another one has too.
fn entries(run: &Run<'_>, parcels: &[usize]) -> Vec<(String, Descriptor)> {
    let parcels: Vec<&Parcel<'_>> = parcels.iter().map(|at| &run.parcels[*at]).collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for tag in parcels.iter().flat_map(|parcel| &parcel.delivery.tags) {
        *counts.entry(tag.tag().unwrap_or("latest")).or_default() += 1;
    }
    let is_alone = parcels.len() == 1;
    let mut entries = Vec::new();
    for parcel in parcels {
        let image = &parcel.descriptor;
        for tag in &parcel.delivery.tags {
            let short = tag.tag().unwrap_or("latest");
            let mut image = image.clone();
            if !is_alone {
                image.annotations.insert(CONTAINERD_NAME.to_owned(), tag.to_string());
            }
            let is_clear = is_alone || counts[short] == 1;
            entries.push((if is_clear { short.to_owned() } else { tag.to_string() }, image));
        }
        if parcel.delivery.tags.is_empty() {
            let name = if is_alone { "latest" } else { &parcel.delivery.name };
            entries.push((name.to_owned(), image.clone()));
        }
    }
    entries
}
