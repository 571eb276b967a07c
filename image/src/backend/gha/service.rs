//! GitHub's cache service, version 2: what can be asked, and the signed addresses by which bytes come and go.
//!
//! Spec: actions/toolkit, `packages/cache`, `results/api/v1/cache.proto`, over Twirp with JSON; Azure's Blob service REST API,
//! "Put Blob", "Put Block", "Put Block List".

use std::fmt;
use std::io::{self, Read};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::blocking::{Client, Response};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Digest;
use crate::backend::{BackendError, READ_TIMEOUT, service_config};
use crate::registry::{blocking_client, install_crypto};

/// Slowest upload that is waited for.
const SLOWEST_BYTES_PER_SECOND: u64 = 16 << 10;
/// Length of the blocks in which bytes are sent, of which one is in memory.
const BLOCK_BYTES: u64 = 16 << 20;
/// Times that a request is sent.
const TRIES: u32 = 3;
/// Wait before the second time, doubled for the third.
const RETRY_DELAY: Duration = Duration::from_millis(250);
/// Most bytes of an answer of the service.
const ANSWER_BYTES: u64 = 1 << 20;

pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The service, as one job sees it.
pub(super) struct Service {
    http: Client,
    /// Where its methods are, with the final slash.
    url: Url,
    authorization: HeaderValue,
    /// What keeps these entries apart from those of other programs.
    version: String,
    retry_after_limit: Duration,
}

/// An entry that is there.
pub(super) struct Found {
    pub key: String,
    /// Where its bytes are. The address is as good as a password.
    pub url: Url,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    ok: bool,
    signed_upload_url: String,
    signed_download_url: String,
    matched_key: String,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

impl Service {
    pub(super) fn new(
        url: &str,
        token: &str,
        retry_after_limit: Duration,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, BackendError> {
        let refuse = |reason: &str| BackendError::Options(reason.to_owned());
        let base = format!("{}/twirp/github.actions.results.api.v1.CacheService/", url.trim_end_matches('/'));
        let url = base.parse::<Url>().ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.ok_or_else(|| refuse("the address of GitHub's cache is not a URL of http or https"))?;
        let mut authorization = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| refuse("the token of GitHub's cache has letters that no token has"))?;
        authorization.set_sensitive(true);
        install_crypto();
        let http = blocking_client(&service_config(env))
            .map_err(|error| BackendError::Options(error.to_string()))?;
        let version = Digest::of(b"kairn cache 1").hex();
        Ok(Self { http, url, authorization, version, retry_after_limit })
    }

    /// Finds the entry of a key, or else the newest of those whose keys begin with it.
    pub(super) fn find(&self, key: &str) -> Result<Option<Found>, Failure> {
        let body = json!({ "key": key, "restore_keys": [key], "version": self.version });
        let answer = match self.call("GetCacheEntryDownloadURL", &body)? {
            Ok(answer) => answer,
            Err(StatusCode::NOT_FOUND) => return Ok(None),
            Err(status) => return Err(format!("GitHub's cache answered {status}").into()),
        };
        if !answer.ok || !answer.matched_key.starts_with(key) {
            return Ok(None);
        }
        let url = answer.signed_download_url.parse().map_err(|_| "GitHub's cache gave no valid address")?;
        Ok(Some(Found { key: answer.matched_key, url }))
    }

    /// Puts an entry there; says whether its key was free. Nothing is put where the reader fails at its end.
    pub(super) fn put(&self, key: &str, input: &mut dyn Read, size_bytes: u64) -> Result<bool, Failure> {
        let created = self.call("CreateCacheEntry", &json!({ "key": key, "version": self.version }))?;
        let answer = match created {
            Ok(answer) if answer.ok => answer,
            Ok(_) | Err(StatusCode::CONFLICT) => return Ok(false),
            Err(status) => return Err(format!("GitHub's cache answered {status}").into()),
        };
        let url: Url =
            answer.signed_upload_url.parse().map_err(|_| "GitHub's cache gave no valid address")?;
        self.upload(&url, input, size_bytes)?;
        // A number of 64 bits is a text in the JSON of protocol buffers.
        let body = json!({ "key": key, "version": self.version, "size_bytes": size_bytes.to_string() });
        match self.call("FinalizeCacheEntryUpload", &body)? {
            Ok(answer) if answer.ok => Ok(true),
            Ok(_) => Err("GitHub's cache did not take what was sent".into()),
            Err(status) => Err(format!("GitHub's cache answered {status} to what was sent").into()),
        }
    }

    /// Gets the bytes of an entry; `None` where they are gone.
    pub(super) fn get(&self, url: &Url) -> Result<Option<Response>, Failure> {
        let response = self.send(&|| self.http.get(url.clone()))?;
        match response.status() {
            status if status.is_success() => Ok(Some(response)),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(format!("the store of GitHub's cache answered {status}").into()),
        }
    }

    /// Gets a small entry into memory; `None` where it is gone or too large.
    pub(super) fn small(&self, url: &Url, limit_bytes: u64) -> Result<Option<Vec<u8>>, Failure> {
        let Some(response) = self.get(url)? else { return Ok(None) };
        let mut bytes = Vec::new();
        response.take(limit_bytes + 1).read_to_end(&mut bytes)?;
        Ok((bytes.len() as u64 <= limit_bytes).then_some(bytes))
    }

    fn upload(&self, url: &Url, input: &mut dyn Read, size_bytes: u64) -> Result<(), Failure> {
        let mut ids = Vec::new();
        let mut left = size_bytes;
        loop {
            let mut block = vec![0; usize::try_from(left.min(BLOCK_BYTES))?];
            input.read_exact(&mut block)?;
            left -= block.len() as u64;
            if left == 0 {
                // A reader that checks what it reads says at the end whether it was right.
                if input.read(&mut [0])? != 0 {
                    return Err(io::Error::from(io::ErrorKind::InvalidData).into());
                }
                if ids.is_empty() {
                    return self.store(url, &[], &[("x-ms-blob-type", "BlockBlob")], &block);
                }
            }
            let id = STANDARD.encode(format!("{:08}", ids.len()));
            self.store(url, &[("comp", "block"), ("blockid", &id)], &[], &block)?;
            ids.push(id);
            if left == 0 {
                break;
            }
        }
        let list: String = ids.iter().flat_map(|id| ["<Latest>", id, "</Latest>"]).collect();
        let list = format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{list}</BlockList>");
        self.store(url, &[("comp", "blocklist")], &[], list.as_bytes())
    }

    fn store(
        &self,
        url: &Url,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(), Failure> {
        let mut url = url.clone();
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let slowest = Duration::from_secs(body.len() as u64 / SLOWEST_BYTES_PER_SECOND);
        let response = self.send(&|| {
            let request = self.http.put(url.clone()).timeout(READ_TIMEOUT + slowest).body(body.to_vec());
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
        })?;
        let status = response.status();
        if status.is_success() {
            Ok(())
        } else {
            Err(format!("the store of GitHub's cache answered {status}").into())
        }
    }

    /// Calls a method; a refusal comes back for the caller to judge.
    fn call(&self, method: &str, body: &Value) -> Result<Result<Answer, StatusCode>, Failure> {
        let url = self.url.join(method)?;
        let body = body.to_string();
        let response = self.send(&|| {
            let request = self.http.post(url.clone()).header(AUTHORIZATION, self.authorization.clone());
            request.header(CONTENT_TYPE, "application/json").body(body.clone())
        })?;
        let status = response.status();
        let mut answer = Vec::new();
        response.take(ANSWER_BYTES).read_to_end(&mut answer)?;
        match status {
            status if status.is_success() => Ok(Ok(serde_json::from_slice(&answer)?)),
            StatusCode::CONFLICT | StatusCode::NOT_FOUND => Ok(Err(status)),
            status => {
                let said: Value = serde_json::from_slice(&answer).unwrap_or_default();
                let said = said["msg"].as_str().unwrap_or_default();
                let said: String = said.chars().filter(|c| !c.is_control()).take(300).collect();
                Err(format!("GitHub's cache answered {status} to {method}: {said}").into())
            }
        }
    }

    /// Sends a request, again after errors that pass.
    fn send(&self, request: &dyn Fn() -> reqwest::blocking::RequestBuilder) -> Result<Response, Failure> {
        let mut attempt = 1;
        loop {
            let (error, wait) = match request().send() {
                Ok(response) if passes(response.status()) => {
                    let wait = retry_after(&response).map(|wait| wait.min(self.retry_after_limit));
                    (format!("GitHub's cache answered {}", response.status()).into(), wait)
                }
                Ok(response) => return Ok(response),
                // Its address has a signature.
                Err(error) => (Failure::from(error.without_url()), None),
            };
            if attempt >= TRIES {
                return Err(error);
            }
            std::thread::sleep((RETRY_DELAY * attempt * attempt).max(wait.unwrap_or_default()));
            attempt += 1;
        }
    }
}

fn passes(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502..=504)
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
