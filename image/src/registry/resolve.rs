//! Which image a name means: manifests, indexes, configs.

use std::io::Write as _;

use reqwest::Method;
use reqwest::blocking::Response;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde_json::Value;

use crate::layout::{Layout, LayoutError};
use crate::registry::endpoint::Endpoint;
use crate::registry::pull::{check_digest, check_size, read_document};
use crate::registry::transport::{Call, Retry};
use crate::registry::{Client, Error};
use crate::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference, media_type};

/// Most bytes of a manifest or index. Spec: OCI distribution-spec, "Pushing Manifests".
pub(super) const MANIFEST_BYTES: u64 = 4 << 20;
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

/// One way to an image: where it is asked for, and what need not be asked for.
struct Search<'a> {
    client: &'a Client,
    endpoint: &'a Endpoint,
    reference: &'a Reference,
    /// Documents that are at hand, and where those go that are fetched.
    known: Option<&'a Layout>,
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
        self.find(reference, platform, None)
    }

    /// Finds the image that a reference names, as [`Client::resolve`] does, but asks only for what is not in `known`.
    ///
    /// With a digest whose documents are all there, nothing is sent; with a tag, one request asks which digest it has
    /// now. Documents that are fetched (index, manifest, config) become blobs of `known`. A damaged one is fetched again.
    ///
    /// # Errors
    /// [`Error`], of the registry itself rather than of its mirrors; [`Error::Layout`] where `known` cannot be written.
    pub fn resolve_known(
        &self,
        reference: &Reference,
        platform: &Platform,
        known: &Layout,
    ) -> Result<Resolved, Error> {
        self.find(reference, platform, Some(known))
    }

    /// Finds the digest that a tag has now: that of an index, where the tag names one.
    ///
    /// # Errors
    /// [`Error`], of the registry itself rather than of its mirrors.
    pub fn digest_of(&self, reference: &Reference) -> Result<Digest, Error> {
        self.first_of_all(reference, |endpoint| {
            let search = Search { client: self, endpoint, reference, known: None };
            match search.current(&reference.selector()) {
                Some((digest, _)) => Ok(digest),
                None => search.tagged().map(|document| document.digest),
            }
        })
    }

    fn find(
        &self,
        reference: &Reference,
        platform: &Platform,
        known: Option<&Layout>,
    ) -> Result<Resolved, Error> {
        self.first_of_all(reference, |endpoint| {
            Search { client: self, endpoint, reference, known }.image(platform)
        })
    }
}

impl Search<'_> {
    fn image(&self, platform: &Platform) -> Result<Resolved, Error> {
        let mut document = match self.reference.digest() {
            Some(digest) => self.pinned(digest, None)?,
            None => self.tagged()?,
        };
        for _ in 0..DEPTH {
            if document.is_manifest() {
                return self.finish(document);
            }
            let chosen = choose(self.endpoint, self.reference, platform, &document)?;
            document = self.pinned(&chosen.digest, Some(&chosen))?;
        }
        Err(document.invalid(self.endpoint, "it is an index in an index in an index"))
    }

    /// Gets what the tag names now.
    fn tagged(&self) -> Result<Document, Error> {
        let selector = self.reference.selector();
        // Whatever goes wrong, asking for the document itself says it better.
        if let Some(known) = self.known
            && let Some((digest, content_type)) = self.current(&selector)
            && let Some(bytes) = known_bytes(known, &digest, MANIFEST_BYTES)
            && let Ok(document) = Document::new(self.endpoint, self.what(None), &content_type, bytes)
        {
            return Ok(document);
        }
        self.fetch(&selector, None, None)
    }

    /// Gets a document by its digest.
    fn pinned(&self, digest: &Digest, descriptor: Option<&Descriptor>) -> Result<Document, Error> {
        let bytes = self.known.and_then(|known| known_bytes(known, digest, MANIFEST_BYTES));
        let size = descriptor.map(|d| d.size);
        if let Some(bytes) = bytes.filter(|bytes| size.is_none_or(|size| size == bytes.len() as u64)) {
            let media_type = descriptor.map_or("", |d| &d.media_type);
            return Document::new(self.endpoint, self.what(Some(digest)), media_type, bytes);
        }
        self.fetch(&digest.to_string(), Some(digest), size)
    }

    /// Asks which digest a tag has, and of which media type: once, because there is another way to ask.
    ///
    /// Spec: OCI distribution-spec, "Checking if content exists in the registry".
    fn current(&self, selector: &str) -> Option<(Digest, String)> {
        let mut call = self.call(selector);
        call.method = Method::HEAD;
        call.retry = Retry::No;
        let response = self.client.send(self.endpoint, &call).ok()?.response;
        let digest = stated_digest(&response)?;
        response.status().is_success().then(|| (digest, content_type(&response)))
    }

    /// Gets a manifest or index, checked against what is known about it.
    fn fetch(&self, selector: &str, expected: Option<&Digest>, size: Option<u64>) -> Result<Document, Error> {
        let (endpoint, what) = (self.endpoint, self.what(expected));
        let response = self.client.success(endpoint, &self.call(selector), &what)?;
        let (content_type, stated) = (content_type(&response), stated_digest(&response));
        let bytes = read_document(endpoint, response, &what, MANIFEST_BYTES)?;
        if let Some(size) = size {
            check_size(endpoint, &what, size, bytes.len())?;
        }
        if let Some(expected) = expected.or(stated.as_ref()) {
            check_digest(endpoint, &what, *expected, &bytes)?;
        }
        let document = Document::new(endpoint, what, &content_type, bytes)?;
        self.keep(&document.bytes)?;
        Ok(document)
    }

    /// Adds the config to a manifest.
    fn finish(&self, document: Document) -> Result<Resolved, Error> {
        let endpoint = self.endpoint;
        let manifest =
            Manifest::from_bytes(&document.bytes).map_err(|e| document.invalid(endpoint, e.to_string()))?;
        let config = &manifest.config;
        let what = format!("the config `{}` of `{}`", config.digest, self.reference);
        let known = self.known.and_then(|known| known_bytes(known, &config.digest, CONFIG_BYTES));
        let config_bytes = if let Some(bytes) = known.filter(|bytes| bytes.len() as u64 == config.size) {
            bytes
        } else {
            let what = what.clone();
            let bytes = self.client.small_blob_at(endpoint, self.reference, config, what, CONFIG_BYTES)?;
            self.keep(&bytes)?;
            bytes
        };
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

    fn call(&self, selector: &str) -> Call {
        manifest_call(self.reference.repository(), selector)
    }

    fn what(&self, expected: Option<&Digest>) -> String {
        match expected {
            Some(digest) if self.reference.digest() != Some(digest) => {
                format!("`{}` (`{digest}`)", self.reference)
            }
            _ => format!("`{}`", self.reference),
        }
    }

    /// Keeps a document that was fetched, also in place of a damaged one.
    fn keep(&self, bytes: &[u8]) -> Result<(), Error> {
        let Some(known) = self.known else { return Ok(()) };
        let mut blob = known.blob_writer()?;
        blob.write_all(bytes).map_err(LayoutError::from)?;
        blob.finish(None)?;
        Ok(())
    }
}

/// Asks for a manifest or an index, of any kind that is known.
pub(super) fn manifest_call(repository: &str, selector: &str) -> Call {
    let mut call = Call::get(repository, format!("manifests/{selector}"));
    let accepted = [
        media_type::OCI_INDEX,
        media_type::DOCKER_MANIFEST_LIST,
        media_type::OCI_MANIFEST,
        media_type::DOCKER_MANIFEST,
    ];
    call.headers.push((ACCEPT.as_str(), accepted.join(", ")));
    call
}

pub(super) fn stated_digest(response: &Response) -> Option<Digest> {
    response.headers().get(DIGEST_HEADER)?.to_str().ok()?.parse().ok()
}

/// Returns the media type of an answer without its parameters; nothing where it has none.
pub(super) fn content_type(response: &Response) -> String {
    let value = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.split(';').next()).unwrap_or_default().trim().to_owned()
}

/// Reads a blob that is there and undamaged.
fn known_bytes(known: &Layout, digest: &Digest, limit: u64) -> Option<Vec<u8>> {
    let size = known.open_blob(digest).ok()?.metadata().ok()?.len();
    if size > limit {
        return None;
    }
    known.read_blob(&Descriptor::new(String::new(), *digest, size)).ok()
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
