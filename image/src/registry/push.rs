//! To registries: blobs, manifests.

use std::path::PathBuf;

use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use reqwest::{Method, StatusCode, Url};

use crate::layout::{Layout, LayoutError};
use crate::registry::endpoint::{Endpoint, Trust};
use crate::registry::transport::{Answer, Call, Content, Retry, Target, status_error};
use crate::registry::{Client, Error};
use crate::{Descriptor, Digest, Reference};

/// Length of the pieces in which a blob goes to a registry that does not take it whole.
const CHUNK_BYTES: u64 = 16 << 20;
/// Tries at sending a blob whole before it goes in pieces.
const WHOLE_TRIES: u32 = 2;
const CHUNK_MINIMUM_HEADER: &str = "oci-chunk-min-length";

/// How a blob came to be where it was pushed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushedBlob {
    /// It was there.
    Existed,
    /// It was linked from another repository of the registry.
    Mounted,
    /// It was sent.
    Uploaded,
}

impl Client {
    /// Puts a blob of a layout into a repository, if it is not there.
    ///
    /// `mount_from` is a repository of the same registry that has the blob, from which it may be linked.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Layout`] where the layout's blob has not the length that the descriptor says.
    pub fn push_blob(
        &self,
        layout: &Layout,
        blob: &Descriptor,
        target: &Reference,
        mount_from: Option<&str>,
    ) -> Result<PushedBlob, Error> {
        let upload = Upload::new(self, blob, target);
        if upload.is_there()? {
            return Ok(PushedBlob::Existed);
        }
        let session = match mount_from.filter(|from| *from != target.repository()) {
            Some(from) => match upload.mount(from)? {
                Mount::Done => return Ok(PushedBlob::Mounted),
                Mount::Session(session) => Some(session),
                Mount::Refused => None,
            },
            None => None,
        };
        let got = layout.open_blob(&blob.digest).and_then(|f| f.metadata()).map_err(LayoutError::from)?.len();
        if got != blob.size {
            let (digest, expected) = (blob.digest, blob.size);
            return Err(LayoutError::SizeMismatch { digest, expected, got }.into());
        }
        upload.send(&Source::File(layout.blob_path(&blob.digest)), session)?;
        Ok(PushedBlob::Uploaded)
    }

    /// Puts bytes into a repository as a blob, if it is not there.
    ///
    /// # Errors
    /// [`Error`].
    pub fn push_bytes(&self, bytes: &[u8], target: &Reference) -> Result<PushedBlob, Error> {
        let blob = Descriptor::new(String::new(), Digest::of(bytes), bytes.len() as u64);
        let upload = Upload::new(self, &blob, target);
        if upload.is_there()? {
            return Ok(PushedBlob::Existed);
        }
        upload.send(&Source::Bytes(bytes), None)?;
        Ok(PushedBlob::Uploaded)
    }

    /// Says whether a repository has a blob, after linking it from `mount_from` if that is possible.
    ///
    /// # Errors
    /// [`Error`], where the registry does not say.
    pub fn blob_is_there(
        &self,
        blob: &Descriptor,
        target: &Reference,
        mount_from: Option<&str>,
    ) -> Result<bool, Error> {
        let upload = Upload::new(self, blob, target);
        if upload.is_there()? {
            return Ok(true);
        }
        let Some(from) = mount_from.filter(|from| *from != target.repository()) else { return Ok(false) };
        match upload.mount(from)? {
            Mount::Done => Ok(true),
            Mount::Refused => Ok(false),
            Mount::Session(session) => {
                upload.cancel(&session);
                Ok(false)
            }
        }
    }

    /// Puts a manifest or index under the target's tag, or its digest if it has no tag.
    ///
    /// All that it points to must be there.
    ///
    /// # Errors
    /// [`Error`]; [`Error::DigestMismatch`] where the registry says that it got something else.
    pub fn push_manifest(&self, bytes: &[u8], media_type: &str, target: &Reference) -> Result<Digest, Error> {
        let endpoint = Endpoint::origin(&self.config, target.registry());
        let digest = Digest::of(bytes);
        let name = target.tag().map_or_else(|| digest.to_string(), str::to_owned);
        let mut call = push_call(Method::PUT, target.repository(), format!("manifests/{name}"));
        call.headers.push((CONTENT_TYPE.as_str(), media_type.to_owned()));
        call.body = Content::Bytes(bytes.to_vec());
        let response = self.send(&endpoint, &call)?.response;
        if !response.status().is_success() {
            return Err(status_error(&endpoint, &call, response));
        }
        let stated = response.headers().get("docker-content-digest").and_then(|v| v.to_str().ok());
        match stated.and_then(|text| text.parse().ok()) {
            Some(got) if got != digest => {
                let what = format!("`{target}`, which was pushed");
                Err(Error::DigestMismatch { host: endpoint.host, what, expected: digest, got })
            }
            _ => Ok(digest),
        }
    }
}

/// Where an upload goes on.
struct Session {
    location: Url,
    trust: Trust,
    chunk_bytes: u64,
}

enum Mount {
    Done,
    Session(Session),
    Refused,
}

/// Where the bytes of a blob are.
enum Source<'a> {
    File(PathBuf),
    Bytes(&'a [u8]),
}

impl Source<'_> {
    fn part(&self, start: u64, bytes: u64) -> Content {
        match self {
            Self::File(path) => Content::File { path: path.clone(), start, bytes },
            Self::Bytes(all) => {
                let at = |n: u64| usize::try_from(n).map_or(all.len(), |n| n.min(all.len()));
                Content::Bytes(all[at(start)..at(start + bytes)].to_vec())
            }
        }
    }
}

/// One blob on its way.
struct Upload<'a> {
    client: &'a Client,
    endpoint: Endpoint,
    repository: &'a str,
    blob: &'a Descriptor,
}

impl<'a> Upload<'a> {
    fn new(client: &'a Client, blob: &'a Descriptor, target: &'a Reference) -> Self {
        let endpoint = Endpoint::origin(&client.config, target.registry());
        Self { client, endpoint, repository: target.repository(), blob }
    }

    fn is_there(&self) -> Result<bool, Error> {
        let call = push_call(Method::HEAD, self.repository, format!("blobs/{}", self.blob.digest));
        Ok(self.client.send(&self.endpoint, &call)?.response.status().is_success())
    }

    /// Spec: OCI distribution-spec, "Mounting a blob from another repository".
    fn mount(&self, from: &str) -> Result<Mount, Error> {
        let digest = self.blob.digest;
        let rest = format!("blobs/uploads/?mount={digest}&from={from}");
        let mut call = push_call(Method::POST, self.repository, rest);
        call.headers.push((CONTENT_LENGTH.as_str(), "0".to_owned()));
        call.scopes.push(format!("repository:{from}:pull"));
        let answer = match self.client.send(&self.endpoint, &call) {
            Ok(answer) => answer,
            // Who may push here may not read there; then the blob is sent.
            Err(Error::Unauthorized { .. }) => return Ok(Mount::Refused),
            Err(error) => return Err(error),
        };
        match answer.response.status() {
            StatusCode::CREATED => Ok(Mount::Done),
            StatusCode::ACCEPTED => self.session(&call, answer).map(Mount::Session),
            _ => Ok(Mount::Refused),
        }
    }

    /// Sends the blob: whole, and in pieces where that does not work.
    fn send(&self, source: &Source<'_>, session: Option<Session>) -> Result<(), Error> {
        let mut session = session;
        let mut attempt = 1;
        loop {
            let session = session.take().map_or_else(|| self.start(), Ok)?;
            let is_whole = attempt <= WHOLE_TRIES;
            let result = if is_whole {
                self.send_whole(source, &session)
            } else {
                self.send_in_pieces(source, session)
            };
            match result {
                Ok(()) => return Ok(()),
                Err(error) if attempt >= self.client.config.tries || !may_pass(&error) => return Err(error),
                Err(Error::Status { status: 400..=499, .. }) if is_whole => attempt = WHOLE_TRIES + 1,
                Err(_) => {
                    self.client.pause(attempt, None);
                    attempt += 1;
                }
            }
        }
    }

    fn start(&self) -> Result<Session, Error> {
        let mut call = push_call(Method::POST, self.repository, "blobs/uploads/".to_owned());
        call.headers.push((CONTENT_LENGTH.as_str(), "0".to_owned()));
        let answer = self.client.send(&self.endpoint, &call)?;
        match answer.response.status() {
            StatusCode::ACCEPTED => self.session(&call, answer),
            _ => Err(status_error(&self.endpoint, &call, answer.response)),
        }
    }

    fn send_whole(&self, source: &Source<'_>, session: &Session) -> Result<(), Error> {
        let body = source.part(0, self.blob.size);
        self.expect(
            &self.call(Method::PUT, session, body, true),
            &[StatusCode::CREATED, StatusCode::NO_CONTENT],
        )
        .map(drop)
    }

    /// Spec: OCI distribution-spec, "Pushing a blob in chunks".
    fn send_in_pieces(&self, source: &Source<'_>, mut session: Session) -> Result<(), Error> {
        let mut start = 0;
        while start < self.blob.size {
            let bytes = session.chunk_bytes.min(self.blob.size - start);
            let body = source.part(start, bytes);
            let mut call = self.call(Method::PATCH, &session, body, false);
            call.headers.push((CONTENT_RANGE.as_str(), format!("{start}-{}", start + bytes - 1)));
            let answer = self.expect(&call, &[StatusCode::ACCEPTED])?;
            let received = answer.response.headers().get(RANGE).and_then(|v| v.to_str().ok());
            let end = received.and_then(|range| range.rsplit('-').next()?.parse::<u64>().ok());
            start = end.map_or(start + bytes, |end| (end + 1).min(start + bytes));
            let call = self.call(Method::PATCH, &session, Content::None, false);
            session = Session { chunk_bytes: session.chunk_bytes, ..self.session(&call, answer)? };
        }
        let mut call = self.call(Method::PUT, &session, Content::None, true);
        call.headers.push((CONTENT_LENGTH.as_str(), "0".to_owned()));
        self.expect(&call, &[StatusCode::CREATED, StatusCode::NO_CONTENT]).map(drop)
    }

    /// Tells the registry that an upload will not go on; it finds out anyway.
    fn cancel(&self, session: &Session) {
        let call = self.call(Method::DELETE, session, Content::None, false);
        drop(self.client.send(&self.endpoint, &call));
    }

    fn call(&self, method: Method, session: &Session, body: Content, is_last: bool) -> Call {
        let mut location = session.location.clone();
        if is_last {
            location.query_pairs_mut().append_pair("digest", &self.blob.digest.to_string());
        }
        let mut call = push_call(method, self.repository, String::new());
        call.target = Target::Location(location, session.trust);
        call.headers.push((CONTENT_TYPE.as_str(), "application/octet-stream".to_owned()));
        call.body = body;
        call.retry = Retry::No;
        call
    }

    fn expect(&self, call: &Call, expected: &[StatusCode]) -> Result<Answer, Error> {
        let answer = self.client.send(&self.endpoint, call)?;
        if expected.contains(&answer.response.status()) {
            return Ok(answer);
        }
        Err(status_error(&self.endpoint, call, answer.response))
    }

    /// Reads from an answer where the upload goes on.
    fn session(&self, call: &Call, answer: Answer) -> Result<Session, Error> {
        let Answer { response, trust } = answer;
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let location = header(LOCATION.as_str()).and_then(|text| response.url().join(text).ok());
        let location = location.and_then(|url| self.reachable(url, trust));
        let minimum: u64 = header(CHUNK_MINIMUM_HEADER).and_then(|text| text.parse().ok()).unwrap_or(0);
        let Some((location, trust)) = location else {
            return Err(Error::Document {
                host: self.endpoint.host.clone(),
                what: format!("an upload to `{}`", self.repository),
                reason: format!("its answer to {} has no usable `Location`", call.method),
            });
        };
        Ok(Session { location, trust, chunk_bytes: CHUNK_BYTES.max(minimum) })
    }

    /// Says how to reach the address of an upload that an answer gave; `None` where it must not be followed.
    fn reachable(&self, mut location: Url, trust: Trust) -> Option<(Url, Trust)> {
        match (location.scheme(), trust) {
            ("http", Trust::Plain) => Some((location, Trust::Plain)),
            // A registry behind a proxy that ends TLS may not know that it is spoken to over TLS.
            ("http", _) => {
                let own = self.endpoint.url(trust, "any", "").ok()?;
                location.set_scheme("https").ok()?;
                location.set_port(own.port()).ok()?;
                (location.host_str() == own.host_str()).then_some((location, trust))
            }
            ("https", Trust::Plain) if !self.endpoint.trust.contains(&Trust::Unverified) => {
                Some((location, Trust::Verified))
            }
            ("https", Trust::Plain) => Some((location, Trust::Unverified)),
            ("https", _) => Some((location, trust)),
            _ => None,
        }
    }
}

pub(super) fn push_call(method: Method, repository: &str, rest: String) -> Call {
    Call {
        method,
        target: Target::Repository { name: repository.to_owned(), rest },
        headers: Vec::new(),
        body: Content::None,
        scopes: vec![format!("repository:{repository}:pull,push")],
        retry: Retry::Yes,
    }
}

/// Says whether sending the blob again, or in another way, can help.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. } => true,
        // 404 and 416 are about an upload that the registry has lost; the others about one that it does not like.
        Error::Status { status, .. } => {
            matches!(status, 400 | 404 | 405 | 408 | 411 | 413 | 415 | 416 | 429 | 500..=599)
        }
        _ => false,
    }
}
