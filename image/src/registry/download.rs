//! Files of any web server: ADD of a URL, build contexts.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use reqwest::header::{
    AUTHORIZATION, ETAG, HeaderMap, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use reqwest::{StatusCode, Url};

use super::endpoint::Trust;
use super::{Client, Error};

/// What a server says a file's version is by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub last_modified: Option<String>,
}

impl Client {
    /// Downloads a file to `path`, with an `Authorization` if one is given, unless it is what `known` says: then nothing is written and there is no answer.
    ///
    /// # Errors
    /// The server cannot be reached, has no such file or answers with an error, also after some tries; the file cannot
    /// be written.
    pub fn download(
        &self,
        url: &str,
        authorization: Option<&str>,
        known: &Validators,
        path: &Path,
    ) -> Result<Option<Validators>, Error> {
        let expected = "a URL";
        let url: Url = url.parse().map_err(|_| Error::Setting { text: url.to_owned(), expected })?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let http = self.http.get(&self.config, Trust::Verified)?;
        let mut attempt = 1;
        loop {
            let mut request = http.get(url.clone());
            for (name, value) in [(IF_NONE_MATCH, &known.etag), (IF_MODIFIED_SINCE, &known.last_modified)] {
                if let Some(value) = value {
                    request = request.header(name, value);
                }
            }
            if let Some(authorization) = authorization {
                // The client leaves it out where a redirect leads to another host.
                request = request.header(AUTHORIZATION, authorization);
            }
            let error = match request.send() {
                Ok(response) if response.status() == StatusCode::NOT_MODIFIED => return Ok(None),
                Ok(mut response) if response.status().is_success() => {
                    let validators = validators(response.headers());
                    let mut file = File::create(path).map_err(|source| interrupted(&host, &url, source))?;
                    match std::io::copy(&mut response.by_ref(), &mut file) {
                        Ok(_) => return Ok(Some(validators)),
                        Err(source) => interrupted(&host, &url, source),
                    }
                }
                Ok(response) if response.status() == StatusCode::NOT_FOUND => {
                    return Err(Error::NotFound { host, what: format!("file `{}`", shown(&url)) });
                }
                Ok(response) => {
                    let status = response.status();
                    let error = Error::Status {
                        host: host.clone(),
                        request: format!("GET {}", url.path()),
                        status: status.as_u16(),
                        message: String::new(),
                    };
                    if !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS {
                        return Err(error);
                    }
                    error
                }
                Err(source) => Error::Unreachable {
                    host: host.clone(),
                    check: "its name, the network and the proxy",
                    source: source.without_url().into(),
                },
            };
            if attempt >= self.config.tries {
                return Err(error);
            }
            self.pause(attempt, None);
            attempt += 1;
        }
    }
}

/// A URL without what may be secret in it.
fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    let _ = shown.set_password(None);
    shown.set_query(None);
    shown.to_string()
}

fn interrupted(host: &str, url: &Url, source: std::io::Error) -> Error {
    Error::Interrupted { host: host.to_owned(), what: format!("`{}`", shown(url)), source }
}

fn validators(headers: &HeaderMap) -> Validators {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Validators { etag: text(ETAG), last_modified: text(LAST_MODIFIED) }
}
