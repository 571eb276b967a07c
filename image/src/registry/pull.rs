//! From registries: blobs.

use std::io::{self, Read, Write};

use reqwest::StatusCode;
use reqwest::header::{CONTENT_RANGE, RANGE};

use crate::layout::{BlobWriter, Layout, LayoutError};
use crate::registry::endpoint::Endpoint;
use crate::registry::transport::{Call, status_error};
use crate::registry::{Client, Error};
use crate::{Descriptor, Digest, Reference};

impl Client {
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
    pub(super) fn first_of_all<T>(
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

    /// Reads a blob into memory, from the registry itself, checked against its descriptor.
    ///
    /// # Errors
    /// [`Error`]; [`Error::TooLarge`] where it has more than `limit_bytes`.
    pub fn blob_bytes(
        &self,
        reference: &Reference,
        blob: &Descriptor,
        limit_bytes: u64,
    ) -> Result<Vec<u8>, Error> {
        let endpoint = Endpoint::origin(&self.config, reference.registry());
        let what = format!("the blob `{}` of `{reference}`", blob.digest);
        self.small_blob_at(&endpoint, reference, blob, what, limit_bytes)
    }

    pub(super) fn small_blob_at(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        blob: &Descriptor,
        what: String,
        limit: u64,
    ) -> Result<Vec<u8>, Error> {
        if blob.size > limit {
            return Err(Error::TooLarge { host: endpoint.host.clone(), what, limit });
        }
        let call = Call::get(reference.repository(), format!("blobs/{}", blob.digest));
        let response = self.success(endpoint, &call, &what)?;
        let bytes = read_document(endpoint, response, &what, limit)?;
        check_size(endpoint, &what, blob.size, bytes.len())?;
        check_digest(endpoint, &what, blob.digest, &bytes)?;
        Ok(bytes)
    }

    pub(super) fn success(
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
            if failures >= self.config.tries {
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

pub(super) fn read_document(
    endpoint: &Endpoint,
    response: impl Read,
    what: &str,
    limit: u64,
) -> Result<Vec<u8>, Error> {
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

pub(super) fn check_size(endpoint: &Endpoint, what: &str, expected: u64, got: usize) -> Result<(), Error> {
    let got = got as u64;
    if got == expected {
        return Ok(());
    }
    Err(Error::SizeMismatch { host: endpoint.host.clone(), what: what.to_owned(), expected, got })
}

pub(super) fn check_digest(
    endpoint: &Endpoint,
    what: &str,
    expected: Digest,
    bytes: &[u8],
) -> Result<(), Error> {
    let got = Digest::of(bytes);
    if got == expected {
        return Ok(());
    }
    Err(Error::DigestMismatch { host: endpoint.host.clone(), what: what.to_owned(), expected, got })
}
