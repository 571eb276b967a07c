//! Manifests as they are, whatever they are of: read, listed by their tags, deleted.
//!
//! The registry itself is asked, never a mirror: what was written a moment ago is to be seen.

use reqwest::header::LINK;
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use crate::config::null_as_default;
use crate::registry::endpoint::Endpoint;
use crate::registry::pull::{check_digest, read_document};
use crate::registry::push::push_call;
use crate::registry::resolve::{MANIFEST_BYTES, content_type, manifest_call, stated_digest};
use crate::registry::transport::{Call, Target, status_error};
use crate::registry::{Client, Error};
use crate::{Digest, Reference};

/// Tags that are asked for at a time.
const PAGE: usize = 1000;
/// Most answers with tags that are read.
const PAGES: usize = 1000;
/// Most bytes of an answer with tags. Some registries know no pages.
const PAGE_BYTES: u64 = 16 << 20;

/// A manifest or index of any kind, unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredManifest {
    /// Its bytes, at most 4 MiB.
    pub bytes: Vec<u8>,
    /// What the registry says it is; empty where it says nothing.
    pub media_type: String,
    /// Digest of the bytes.
    pub digest: Digest,
}

#[derive(Deserialize)]
struct TagList {
    #[serde(default, deserialize_with = "null_as_default")]
    tags: Vec<String>,
}

impl Client {
    /// Lists a repository's tags: at most `limit`, none where there is no such repository.
    ///
    /// Spec: OCI distribution-spec, "Listing Tags".
    ///
    /// # Errors
    /// [`Error`], where the registry cannot be reached or lists no tags.
    pub fn tags(&self, repository: &Reference, limit: usize) -> Result<Vec<String>, Error> {
        let endpoint = Endpoint::origin(&self.config, repository.registry());
        let name = repository.repository();
        let what = format!("the tags of `{}/{name}`", repository.registry());
        let mut call = Call::get(name, format!("tags/list?n={}", limit.clamp(1, PAGE)));
        let mut tags = Vec::new();
        for _ in 0..PAGES {
            let answer = self.send(&endpoint, &call)?;
            let response = answer.response;
            match response.status() {
                status if status.is_success() => {}
                StatusCode::NOT_FOUND => break,
                _ => return Err(status_error(&endpoint, &call, response)),
            }
            let next = response
                .headers()
                .get(LINK)
                .and_then(|value| next_page(response.url(), value.to_str().ok()?));
            let bytes = read_document(&endpoint, response, &what, PAGE_BYTES)?;
            let page: TagList = serde_json::from_slice(&bytes).map_err(|error| Error::Document {
                host: endpoint.host.clone(),
                what: what.clone(),
                reason: error.to_string(),
            })?;
            let is_empty = page.tags.is_empty();
            tags.extend(page.tags.into_iter().take(limit - tags.len()));
            let Some(next) = next.filter(|_| !is_empty && tags.len() < limit) else { break };
            call.target = Target::Location(next, answer.trust);
        }
        Ok(tags)
    }

    /// Reads a manifest or index; `None` where there is none of that tag or digest.
    ///
    /// # Errors
    /// [`Error`]; [`Error::TooLarge`] beyond 4 MiB.
    pub fn manifest_bytes(&self, reference: &Reference) -> Result<Option<StoredManifest>, Error> {
        let endpoint = Endpoint::origin(&self.config, reference.registry());
        let what = format!("`{reference}`");
        let call = manifest_call(reference.repository(), &reference.selector());
        let response = match self.success(&endpoint, &call, &what) {
            Ok(response) => response,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let (media_type, stated) = (content_type(&response), stated_digest(&response));
        let bytes = read_document(&endpoint, response, &what, MANIFEST_BYTES)?;
        if let Some(expected) = reference.digest().copied().or(stated) {
            check_digest(&endpoint, &what, expected, &bytes)?;
        }
        Ok(Some(StoredManifest { digest: Digest::of(&bytes), media_type, bytes }))
    }

    /// Deletes the manifest of a digest, and with it all tags that name it; says whether the registry did.
    ///
    /// Many registries delete nothing, or not for everybody: then the answer is `false`, as where it is not there.
    ///
    /// # Errors
    /// [`Error`], where the registry cannot be reached or fails.
    pub fn delete_manifest(&self, repository: &Reference, digest: &Digest) -> Result<bool, Error> {
        let endpoint = Endpoint::origin(&self.config, repository.registry());
        let name = repository.repository();
        let mut call = push_call(Method::DELETE, name, format!("manifests/{digest}"));
        call.scopes = vec![format!("repository:{name}:pull,push,delete")];
        match self.send(&endpoint, &call) {
            Ok(answer) if answer.response.status().is_success() => Ok(true),
            Ok(answer) if answer.response.status().is_client_error() => Ok(false),
            Ok(answer) => Err(status_error(&endpoint, &call, answer.response)),
            Err(Error::Unauthorized { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Returns the page after this one, at the same host whatever the header says.
///
/// Spec: RFC 8288, "The Link Header Field".
fn next_page(current: &Url, link: &str) -> Option<Url> {
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = parameters.split(';').any(|p| p.trim().replace('"', "").eq_ignore_ascii_case("rel=next"));
    let next = current.join(target).ok().filter(|_| is_next)?;
    // A registry behind a proxy need not know its own address.
    let mut same = current.clone();
    same.set_path(next.path());
    same.set_query(next.query());
    Some(same)
}
