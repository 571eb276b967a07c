//! Layers and a config to an image.

use std::sync::Arc;

use jiff::Timestamp as Time;
use kairn_compiler::StepId;
use kairn_compiler::graph::ImageTarget;
use kairn_image::backend::inline;
use kairn_image::config::{History, RootFs};
use kairn_image::layer::{Compression, LayerWriter, Timestamp, read_layer};
use kairn_image::{Descriptor, Digest, ImageConfig, Manifest, Platform, media_type};

use crate::BUILD_TIME;
use crate::build::Settings;
use crate::error::Error;
use crate::state::{State, StateLayer};

/// An image whose config and manifest are in the store; its layers are there or at the registry they came from.
#[derive(Clone, Debug)]
pub struct AssembledImage {
    /// The target's name.
    pub name: String,
    /// The target's platform.
    pub platform: Platform,
    /// The manifest.
    pub descriptor: Descriptor,
    /// The manifest's content.
    pub manifest: Manifest,
    /// The config.
    pub config: ImageConfig,
    /// The layers, in the manifest's order.
    pub layers: Vec<StateLayer>,
}

/// What writes the history's comment.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// Makes the config and the manifest of a target; `cache` says how its layers were made.
///
/// # Errors
/// Fails where the disk does, or a layer has to be rewritten and cannot be read.
pub fn assemble(
    target: &ImageTarget,
    states: &dyn Fn(StepId) -> Arc<State>,
    settings: &Settings,
    cache: Option<String>,
) -> Result<AssembledImage, Error> {
    let state = states(target.step);
    let layers = state
        .layers
        .iter()
        .map(|layer| match settings.epoch {
            Some(epoch) if layer.newest_mtime.is_some() => clamp(layer, epoch, settings),
            _ => Ok(layer.clone()),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let created = Time::from_second(settings.epoch.unwrap_or(BUILD_TIME.seconds))
        .map_err(|e| Error::world("`SOURCE_DATE_EPOCH` is not a time", e))?
        .to_string();
    let mut history: Vec<History> = target.base.as_ref().map_or_else(Vec::new, |base| base.history.clone());
    history.extend(target.history.iter().map(|entry| History {
        created: Some(created.clone()),
        created_by: entry.created_by.clone(),
        author: String::new(),
        comment: COMMENT.to_owned(),
        empty_layer: entry.step.is_none(),
    }));
    let mut extra = target.config.extra.clone();
    extra.extend(cache.map(|cache| (inline::FIELD.to_owned(), cache.into())));
    let config = ImageConfig {
        extra,
        created: Some(created),
        rootfs: RootFs { diff_ids: layers.iter().map(|layer| layer.diff_id).collect(), ..RootFs::default() },
        history,
        ..target.config.clone()
    };
    let config_bytes = config.to_bytes();
    let manifest = Manifest::new(
        descriptor(media_type::OCI_CONFIG, &config_bytes),
        layers.iter().map(|layer| layer_descriptor(&layer.descriptor)).collect(),
    );
    let manifest_bytes = manifest.to_bytes();
    let layout = settings.store.layout();
    for bytes in [&config_bytes, &manifest_bytes] {
        layout.put_bytes(bytes).map_err(|e| Error::world("cannot put the image into the store", e))?;
    }
    Ok(AssembledImage {
        name: target.name.clone(),
        platform: target.platform.clone(),
        descriptor: descriptor(media_type::OCI_MANIFEST, &manifest_bytes),
        manifest,
        config,
        layers,
    })
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64)
}

/// A layer as an OCI manifest names it.
fn layer_descriptor(layer: &Descriptor) -> Descriptor {
    let media_type = media_type::to_oci(&layer.media_type);
    Descriptor { extra: layer.extra.clone(), ..Descriptor::new(media_type, layer.digest, layer.size) }
}

/// Writes a layer again with no time after `epoch`; the build's own times become the epoch.
///
/// Differs: BuildKit does this only when asked by `rewrite-timestamp`.
fn clamp(layer: &StateLayer, epoch: i64, settings: &Settings) -> Result<StateLayer, Error> {
    let build_time = (BUILD_TIME.seconds, BUILD_TIME.nanoseconds);
    let failed = |e: std::io::Error| Error::world("cannot rewrite a layer's times", e);
    let layout = settings.store.layout();
    let blob = layout
        .open_blob(&layer.descriptor.digest)
        .map_err(|e| Error::world(format!("cannot open the layer {}", layer.descriptor.digest), e))?;
    let out = layout.blob_writer().map_err(|e| Error::world("cannot write a layer", e))?;
    let mut writer = LayerWriter::new(out, Compression::default());
    read_layer::<std::io::Error>(blob, &mut |mut entry, content| {
        let mtime = (entry.mtime.seconds, entry.mtime.nanoseconds);
        if mtime == build_time || mtime > (epoch, 0) {
            entry.mtime = Timestamp { seconds: epoch, nanoseconds: 0 };
        }
        writer.append(&entry, content)
    })
    .map_err(failed)?;
    let (written, out) = writer.finish().map_err(failed)?;
    out.finish(Some(&written.descriptor))
        .map_err(|e| Error::world("cannot put a layer into the store", e))?;
    Ok(StateLayer { diff_id: written.diff_id, descriptor: written.descriptor, ..layer.clone() })
}
