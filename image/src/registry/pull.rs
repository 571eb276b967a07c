//! From registries: manifests, configs, blobs.

use std::io::{self, Read, Write};

use reqwest::StatusCode;
use reqwest::header::{ACCEPT, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use serde_json::Value;

use crate::layout::{BlobWriter, Layout, LayoutError};
use crate::registry::endpoint::Endpoint;
use crate::registry::transport::{Call, TRIES, status_error};
use crate::registry::{Client, Error};
use crate::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference, media_type};

/// Most bytes of a manifest or index. Spec: OCI distribution-spec, "Pushing Manifests".
const MANIFEST_BYTES: u64 = 4 << 20;
/// Most bytes of a config.
const CONFIG_BYTES: u64 = 8 << 20;
/// Indexes inside indexes that are followed.
const DEPTH: usize = 3;
const DIGEST_HEADER: &str = "docker-content-digest";

/// An image for one platform, as a registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The manifest's descriptor.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The config. Its platform is the image's own, which need not be the one asked for where there was no choice.
    pub config: ImageConfig,
    /// The manifest's bytes.
    pub manifest_bytes: Vec<u8>,
    /// The config's bytes.
    pub config_bytes: Vec<u8>,
}

impl Client {
    /// Finds the image that a reference names, for a platform.
    ///
    /// Mirrors are asked first; one that fails, or sends wrong bytes, is passed over. Where the reference names one
    /// image and no index, its platform is not looked at.
    ///
    /// # Errors
    /// [`Error`], of the registry itself rather than of its mirrors.
    pub fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Resolved, Error> {
        self.first_of_all(reference, |endpoint| self.resolve_at(endpoint, reference, platform))
    }

    /// Brings a blob into a layout, unless it is there.
    ///
    /// A connection that breaks is taken up where it broke. Mirrors are asked first, as for [`Client::resolve`].
    ///
    /// # Errors
    /// [`Error`]; the layout then has no such blob.
    pub fn fetch_blob(&self, reference: &Reference, blob: &Descriptor, layout: &Layout) -> Result<(), Error> {
        if layout.has_blob(&blob.digest) {
            return Ok(());
        }
        self.first_of_all(reference, |endpoint| self.fetch_blob_at(endpoint, reference, blob, layout))
    }

    /// Asks the mirrors, then the registry. A disk that fails is not asked twice.
    fn first_of_all<T>(
        &self,
        reference: &Reference,
        ask: impl Fn(&Endpoint) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let endpoints = Endpoint::to_pull(&self.config, reference)?;
        let (origin, mirrors) = endpoints.split_last().expect("the registry itself is among them");
        for mirror in mirrors {
            match ask(mirror) {
                Ok(found) => return Ok(found),
                Err(error @ Error::Layout(LayoutError::Io(_))) => return Err(error),
                Err(_) => {}
            }
        }
        ask(origin)
    }

    fn resolve_at(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Resolved, Error> {
        let mut document =
            self.manifest(endpoint, reference, &reference.selector(), reference.digest(), None)?;
        for _ in 0..DEPTH {
            if document.is_manifest() {
                return self.finish(endpoint, reference, document);
            }
            let chosen = choose(endpoint, reference, platform, &document)?;
            let digest = chosen.digest;
            document =
                self.manifest(endpoint, reference, &digest.to_string(), Some(&digest), Some(chosen.size))?;
        }
        Err(document.invalid(endpoint, "it is an index in an index in an index"))
    }

    /// Adds the config to a manifest.
    fn finish(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        document: Document,
    ) -> Result<Resolved, Error> {
        let manifest =
            Manifest::from_bytes(&document.bytes).map_err(|e| document.invalid(endpoint, e.to_string()))?;
        let config = manifest.config.clone();
        let what = format!("the config `{}` of `{reference}`", config.digest);
        if config.size > CONFIG_BYTES {
            return Err(Error::TooLarge { host: endpoint.host.clone(), what, limit: CONFIG_BYTES });
        }
        let call = Call::get(reference.repository(), format!("blobs/{}", config.digest));
        let response = self.success(endpoint, &call, &what)?;
        let config_bytes = read_document(endpoint, response, &what, CONFIG_BYTES)?;
        check_size(endpoint, &what, config.size, config_bytes.len())?;
        check_digest(endpoint, &what, config.digest, &config_bytes)?;
        let invalid = |e: serde_json::Error| Error::Document {
            host: endpoint.host.clone(),
            what,
            reason: e.to_string(),
        };
        Ok(Resolved {
            descriptor: Descriptor::new(document.media_type, document.digest, document.bytes.len() as u64),
            config: ImageConfig::from_bytes(&config_bytes).map_err(invalid)?,
            manifest,
            manifest_bytes: document.bytes,
            config_bytes,
        })
    }

    /// Gets a manifest or index, checked against what is known about it.
    fn manifest(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        selector: &str,
        expected: Option<&Digest>,
        size: Option<u64>,
    ) -> Result<Document, Error> {
        let what = match expected {
            Some(digest) if reference.digest() != Some(digest) => format!("`{reference}` (`{digest}`)"),
            _ => format!("`{reference}`"),
        };
        let mut call = Call::get(reference.repository(), format!("manifests/{selector}"));
        let accepted = [
            media_type::OCI_INDEX,
            media_type::DOCKER_MANIFEST_LIST,
            media_type::OCI_MANIFEST,
            media_type::DOCKER_MANIFEST,
        ];
        call.headers.push((ACCEPT.as_str(), accepted.join(", ")));
        let response = self.success(endpoint, &call, &what)?;
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let content_type = header(CONTENT_TYPE.as_str()).unwrap_or_default();
        let content_type = content_type.split(';').next().unwrap_or_default().trim().to_owned();
        let stated: Option<Digest> = header(DIGEST_HEADER).and_then(|text| text.parse().ok());
        let bytes = read_document(endpoint, response, &what, MANIFEST_BYTES)?;
        if let Some(size) = size {
            check_size(endpoint, &what, size, bytes.len())?;
        }
        if let Some(expected) = expected.or(stated.as_ref()) {
            check_digest(endpoint, &what, *expected, &bytes)?;
        }
        Document::new(endpoint, what, &content_type, bytes)
    }

    fn success(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        what: &str,
    ) -> Result<reqwest::blocking::Response, Error> {
        let response = self.send(endpoint, call)?.response;
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                Err(Error::NotFound { host: endpoint.host.clone(), what: what.to_owned() })
            }
            _ => Err(status_error(endpoint, call, response)),
        }
    }

    fn fetch_blob_at(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        blob: &Descriptor,
        layout: &Layout,
    ) -> Result<(), Error> {
        let what = format!("the blob `{}` of `{reference}`", blob.digest);
        let mut writer = layout.blob_writer()?;
        let mut failures = 0;
        let mut last = None;
        while writer.bytes() < blob.size || (blob.size == 0 && last.is_none()) {
            let before = writer.bytes();
            let mut call = Call::get(reference.repository(), format!("blobs/{}", blob.digest));
            if before > 0 {
                call.headers.push((RANGE.as_str(), format!("bytes={before}-")));
            }
            let mut response = self.success(endpoint, &call, &what)?;
            let starts_over = before > 0 && range_start(&response) != Some(before);
            if starts_over {
                writer = layout.blob_writer()?;
            }
            last = copy(&mut response, &mut writer, blob.size).map_err(|failure| match failure {
                Failure::TooLong(got) => Error::SizeMismatch {
                    host: endpoint.host.clone(),
                    what: what.clone(),
                    expected: blob.size,
                    got,
                },
                Failure::Disk(error) => Error::Layout(error.into()),
            })?;
            if last.is_none() {
                break;
            }
            // A connection that brings something may break as often as it likes.
            failures = if writer.bytes() > before && !starts_over { 1 } else { failures + 1 };
            if failures >= TRIES {
                let source = last.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
                return Err(Error::Interrupted { host: endpoint.host.clone(), what, source });
            }
            self.pause(failures, None);
        }
        finish_blob(endpoint, what, writer, blob)
    }
}

fn finish_blob(
    endpoint: &Endpoint,
    what: String,
    writer: BlobWriter,
    blob: &Descriptor,
) -> Result<(), Error> {
    let host = endpoint.host.clone();
    match writer.finish(Some(blob)) {
        Ok(_) => Ok(()),
        Err(LayoutError::DigestMismatch { expected, got }) => {
            Err(Error::DigestMismatch { host, what, expected, got })
        }
        Err(LayoutError::SizeMismatch { expected, got, .. }) => {
            Err(Error::SizeMismatch { host, what, expected, got })
        }
        Err(error) => Err(error.into()),
    }
}

enum Failure {
    TooLong(u64),
    Disk(io::Error),
}

/// Copies until the body ends, `Ok(None)`, or breaks off, which is the reader's error.
fn copy(from: &mut impl Read, to: &mut BlobWriter, size_bytes: u64) -> Result<Option<io::Error>, Failure> {
    let mut buffer = vec![0; 128 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(read) => {
                let total = to.bytes() + read as u64;
                if total > size_bytes {
                    return Err(Failure::TooLong(total));
                }
                to.write_all(&buffer[..read]).map_err(Failure::Disk)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Ok(Some(error)),
        }
    }
}

/// Returns where a partial answer starts; `None` for a whole one.
fn range_start(response: &reqwest::blocking::Response) -> Option<u64> {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return None;
    }
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

/// A manifest or an index, not yet read.
struct Document {
    what: String,
    media_type: String,
    digest: Digest,
    bytes: Vec<u8>,
}

impl Document {
    /// Finds out what it is, from the header and from the bytes; both must agree.
    ///
    /// Spec: OCI image-spec, manifest.md, `mediaType`: where the header is of no use, the document's own word counts.
    fn new(endpoint: &Endpoint, what: String, content_type: &str, bytes: Vec<u8>) -> Result<Self, Error> {
        let digest = Digest::of(&bytes);
        let mut document = Self { what, media_type: content_type.to_owned(), digest, bytes };
        let value: Value =
            serde_json::from_slice(&document.bytes).map_err(|e| document.invalid(endpoint, e.to_string()))?;
        let own = value["mediaType"].as_str().unwrap_or_default();
        let is_known = |text: &str| media_type::is_manifest(text) || media_type::is_index(text);
        if value["schemaVersion"] == 1 || media_type::DOCKER_SCHEMA1.contains(&content_type) {
            return Err(document.invalid(endpoint, "it is of Docker's schema 1, which nobody makes any more"));
        }
        if !is_known(&document.media_type) {
            own.clone_into(&mut document.media_type);
        }
        if document.media_type.is_empty() {
            let kind =
                if value["manifests"].is_array() { media_type::OCI_INDEX } else { media_type::OCI_MANIFEST };
            kind.clone_into(&mut document.media_type);
        }
        if !is_known(&document.media_type) {
            let reason = format!("it is a `{}`, not an image", document.media_type);
            return Err(document.invalid(endpoint, reason));
        }
        let has = |key: &str| value.get(key).is_some_and(|v| !v.is_null());
        let contradicts =
            if document.is_manifest() { has("manifests") } else { has("layers") || has("config") };
        if contradicts || !own.is_empty() && own != document.media_type {
            return Err(document.invalid(endpoint, "it contradicts itself about what it is"));
        }
        Ok(document)
    }

    fn is_manifest(&self) -> bool {
        media_type::is_manifest(&self.media_type)
    }

    fn invalid(&self, endpoint: &Endpoint, reason: impl Into<String>) -> Error {
        Error::Document { host: endpoint.host.clone(), what: self.what.clone(), reason: reason.into() }
    }
}

/// Chooses the image of an index.
fn choose(
    endpoint: &Endpoint,
    reference: &Reference,
    platform: &Platform,
    document: &Document,
) -> Result<Descriptor, Error> {
    let index = Index::from_bytes(&document.bytes).map_err(|e| document.invalid(endpoint, e.to_string()))?;
    let images: Vec<_> = index.manifests.into_iter().filter(is_image).collect();
    let offers: Vec<_> = images.iter().filter_map(|image| Some((image.platform.as_ref()?, image))).collect();
    if let Some(at) = platform.choose(offers.iter().map(|(platform, _)| *platform)) {
        return Ok(offers[at].1.clone());
    }
    // One that does not say what it is for is for all.
    if let Some(image) = images.iter().find(|image| image.platform.is_none()) {
        return Ok(image.clone());
    }
    Err(Error::NoPlatform {
        reference: reference.to_string(),
        wanted: Box::new(platform.clone()),
        available: offers.into_iter().map(|(platform, _)| platform.clone()).collect(),
    })
}

/// Says whether a member of an index is an image or an index of such, and no attestation.
fn is_image(member: &Descriptor) -> bool {
    let is_known = media_type::is_manifest(&member.media_type) || media_type::is_index(&member.media_type);
    let is_about_another = member.annotations.contains_key("vnd.docker.reference.type");
    let is_unknown =
        member.platform.as_ref().is_some_and(|p| p.os == "unknown" && p.architecture == "unknown");
    is_known && !is_about_another && !is_unknown
}

fn read_document(endpoint: &Endpoint, response: impl Read, what: &str, limit: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    response.take(limit + 1).read_to_end(&mut bytes).map_err(|source| Error::Interrupted {
        host: endpoint.host.clone(),
        what: what.to_owned(),
        source,
    })?;
    if bytes.len() as u64 > limit {
        return Err(Error::TooLarge { host: endpoint.host.clone(), what: what.to_owned(), limit });
    }
    Ok(bytes)
}

fn check_size(endpoint: &Endpoint, what: &str, expected: u64, got: usize) -> Result<(), Error> {
    let got = got as u64;
    if got == expected {
        return Ok(());
    }
    Err(Error::SizeMismatch { host: endpoint.host.clone(), what: what.to_owned(), expected, got })
}

fn check_digest(endpoint: &Endpoint, what: &str, expected: Digest, bytes: &[u8]) -> Result<(), Error> {
    let got = Digest::of(bytes);
    if got == expected {
        return Ok(());
    }
    Err(Error::DigestMismatch { host: endpoint.host.clone(), what: what.to_owned(), expected, got })
}
