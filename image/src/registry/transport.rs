//! One request: sent with the right credentials, again after what passes, in the way that reaches the host.

use std::io::Read;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::Duration;

use reqwest::blocking::{Body, Client as HttpClient, Response};
use reqwest::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Method, StatusCode, Url};

use crate::registry::challenge::{self, Challenge};
use crate::registry::endpoint::{Endpoint, Trust};
use crate::registry::{Client, Error};

/// Most times that a mirror is asked, which has others to stand in for it.
const MIRROR_TRIES: u32 = 2;
/// Most bytes of an error that are read.
const ERROR_BYTES: u64 = 64 << 10;
/// Slowest upload that is waited for.
const SLOWEST_BYTES_PER_SECOND: u64 = 16 << 10;

/// What is asked for.
pub(super) struct Call {
    pub method: Method,
    pub target: Target,
    pub headers: Vec<(&'static str, String)>,
    pub body: Content,
    /// The rights it takes, `repository:NAME:pull`.
    pub scopes: Vec<String>,
    /// Sends it again after errors that pass.
    pub retry: Retry,
}

/// Where a request goes.
#[derive(Clone)]
pub(super) enum Target {
    /// Something of a repository, at an endpoint.
    Repository { name: String, rest: String },
    /// An address that the registry gave, and how it was reached.
    Location(Url, Trust),
}

/// What a request carries.
#[derive(Clone)]
pub(super) enum Content {
    None,
    Bytes(Vec<u8>),
    /// A part of a file.
    File {
        path: PathBuf,
        start: u64,
        bytes: u64,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    Yes,
    /// Only with other credentials: what was sent may have had its effect.
    No,
}

impl Call {
    pub(super) fn get(name: &str, rest: String) -> Self {
        Self {
            method: Method::GET,
            target: Target::Repository { name: name.to_owned(), rest },
            headers: Vec::new(),
            body: Content::None,
            scopes: vec![format!("repository:{name}:pull")],
            retry: Retry::Yes,
        }
    }

    /// Returns the repository it is about, as it is called at the endpoint.
    pub(super) fn repository(&self, endpoint: &Endpoint) -> String {
        let name = match &self.target {
            Target::Repository { name, .. } => name,
            // The first scope is the repository's own; others are sources of mounts.
            Target::Location(..) => {
                let scope = self.scopes.first().and_then(|scope| scope.strip_prefix("repository:"));
                scope.and_then(|scope| scope.rsplit_once(':')).map_or("", |(name, _)| name)
            }
        };
        endpoint.repository(name)
    }
}

/// An answer, and the way in which it came.
pub(super) struct Answer {
    pub response: Response,
    pub trust: Trust,
}

impl Client {
    /// Sends a request until there is an answer other than "wait" and "who are you?".
    ///
    /// Answers of success and 404, 405 and the like come back for the caller to judge.
    pub(super) fn send(&self, endpoint: &Endpoint, call: &Call) -> Result<Answer, Error> {
        let ways = match &call.target {
            Target::Location(_, trust) => vec![*trust],
            Target::Repository { .. } => self.ways(endpoint),
        };
        let mut result = None;
        for (n, trust) in ways.iter().enumerate() {
            let is_last = n + 1 == ways.len();
            match self.send_in_one_way(endpoint, call, *trust, is_last) {
                Err(error @ Error::Unreachable { .. }) if !is_last => result = Some(Err(error)),
                other => {
                    if other.is_ok() && endpoint.trust.len() > 1 {
                        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
                        reached.insert(endpoint.host.clone(), *trust);
                    }
                    return other;
                }
            }
        }
        result.expect("an endpoint has a way to be reached")
    }

    fn ways(&self, endpoint: &Endpoint) -> Vec<Trust> {
        let reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        match reached.get(&endpoint.host) {
            Some(trust) if endpoint.trust.contains(trust) => vec![*trust],
            _ => endpoint.trust.clone(),
        }
    }

    fn send_in_one_way(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        trust: Trust,
        is_last: bool,
    ) -> Result<Answer, Error> {
        let tries = match (call.retry, &endpoint.mirror_of) {
            _ if !is_last => 1,
            (Retry::No, _) => 1,
            (Retry::Yes, Some(_)) => MIRROR_TRIES.min(self.config.tries),
            (Retry::Yes, None) => self.config.tries,
        };
        let http = self.http.get(&self.config, trust)?;
        let mut was_refused = false;
        let mut attempt = 1;
        loop {
            let authorization = self.authorization(endpoint, call, trust)?;
            let sent = self.send_once(&http, endpoint, call, trust, authorization.as_deref());
            let (error, wait) = match sent {
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED => {
                    let challenge = challenge_of(&response);
                    let message = message_of(response);
                    if was_refused
                        || !self.answer_challenge(
                            endpoint,
                            call,
                            trust,
                            challenge,
                            authorization.as_deref(),
                        )?
                    {
                        return Err(self.unauthorized(endpoint, call, message));
                    }
                    was_refused = true;
                    continue;
                }
                Ok(response) if response.status() == StatusCode::FORBIDDEN => {
                    return Err(self.unauthorized(endpoint, call, message_of(response)));
                }
                Ok(response) if passes(response.status()) => {
                    let wait = retry_after(&response).map(|w| w.min(self.config.retry_after_limit));
                    (status_error(endpoint, call, response), wait)
                }
                Ok(response) => return Ok(Answer { response, trust }),
                Err(error) if is_certificate_error(error.as_ref()) => {
                    return Err(unreachable(&endpoint.host, error));
                }
                Err(error) => (unreachable(&endpoint.host, error), None),
            };
            if attempt >= tries {
                return Err(error);
            }
            self.pause(attempt, wait);
            attempt += 1;
        }
    }

    /// Waits before the try after the `attempt`th.
    pub(super) fn pause(&self, attempt: u32, at_least: Option<Duration>) {
        let backoff = self.config.retry_delay.saturating_mul(1 << (attempt - 1).min(6));
        std::thread::sleep(backoff.max(at_least.unwrap_or_default()));
    }

    fn send_once(
        &self,
        http: &HttpClient,
        endpoint: &Endpoint,
        call: &Call,
        trust: Trust,
        authorization: Option<&str>,
    ) -> Result<Response, Box<dyn std::error::Error + Send + Sync>> {
        let url = match &call.target {
            Target::Repository { name, rest } => endpoint.url(trust, name, rest)?,
            Target::Location(url, _) => url.clone(),
        };
        // An upload may go to another host, which has no business with the credentials for this one.
        let is_same_host = endpoint.is_at(trust, &url);
        let mut request = http.request(call.method.clone(), url);
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        if let Some(authorization) = authorization.filter(|_| is_same_host) {
            request = request.header(AUTHORIZATION, authorization);
        }
        let response = match &call.body {
            Content::None => request.send(),
            Content::Bytes(bytes) => request.body(bytes.clone()).send(),
            Content::File { path, start, bytes } => {
                use std::io::Seek as _;
                let mut file = fs_err::File::open(path)?;
                file.seek(std::io::SeekFrom::Start(*start))?;
                // The blocking client counts the body's sending into its wait for the answer.
                let slowest = Duration::from_secs(bytes / SLOWEST_BYTES_PER_SECOND);
                let body = Body::sized(file.take(*bytes), *bytes);
                request.body(body).timeout(self.config.read_timeout + slowest).send()
            }
        };
        response.map_err(|error| error.without_url().into())
    }

    fn unauthorized(&self, endpoint: &Endpoint, call: &Call, message: String) -> Error {
        let repository = call.repository(endpoint);
        let found = self.config.credentials.find(&endpoint.registry, &repository);
        self.refused(endpoint, repository, message, found.is_ok_and(|found| found.is_some()))
    }

    /// Says that access was refused, and what was tried.
    pub(super) fn refused(
        &self,
        endpoint: &Endpoint,
        repository: String,
        message: String,
        had_credentials: bool,
    ) -> Error {
        let places = self.config.credentials.places();
        let credentials = if had_credentials {
            format!("the credentials found {places} do not do")
        } else {
            format!("no credentials found {places}")
        };
        Error::Unauthorized { host: endpoint.registry.clone(), repository, message, credentials }
    }
}

/// Turns an answer that is no success into an error with the registry's own words.
pub(super) fn status_error(endpoint: &Endpoint, call: &Call, response: Response) -> Error {
    let path = match &call.target {
        Target::Repository { name, rest } => {
            format!("/v2/{}/{}", endpoint.repository(name), rest.split('?').next().unwrap_or_default())
        }
        Target::Location(url, _) => url.path().to_owned(),
    };
    Error::Status {
        host: endpoint.host.clone(),
        request: format!("{} {path}", call.method),
        status: response.status().as_u16(),
        message: message_of(response),
    }
}

fn passes(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502..=504)
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn challenge_of(response: &Response) -> Option<Challenge> {
    let headers = response.headers().get_all(WWW_AUTHENTICATE).iter();
    challenge::choose(headers.filter_map(|value| value.to_str().ok()))
}

/// Reads the registry's own words, fit to be shown.
///
/// Spec: OCI distribution-spec, "Error Codes".
pub(super) fn message_of(response: Response) -> String {
    let mut body = Vec::new();
    let _ = response.take(ERROR_BYTES).read_to_end(&mut body);
    let Ok(document) = serde_json::from_slice::<serde_json::Value>(&body) else { return String::new() };
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let mut messages: Vec<String> = document["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|error| match (text(&error["code"]), text(&error["message"])) {
            (code, message) if message.is_empty() || code.is_empty() => code + &message,
            (code, message) => format!("{code}: {message}"),
        })
        .filter(|message| !message.is_empty())
        .collect();
    if messages.is_empty() {
        // Token servers have other forms.
        let plain =
            ["details", "error_description", "message", "error"].iter().map(|key| text(&document[*key]));
        messages.extend(plain.filter(|message| !message.is_empty()).take(1));
    }
    messages.join("; ").chars().filter(|c| !c.is_control()).take(300).collect()
}

pub(super) fn unreachable(host: &str, error: Box<dyn std::error::Error + Send + Sync>) -> Error {
    let check = if is_certificate_error(error.as_ref()) {
        "that the system trusts its certificate, or name it as an insecure registry"
    } else {
        "its name, the network and the proxy"
    };
    Error::Unreachable { host: host.to_owned(), check, source: error }
}

/// Says whether TLS failed, which trying again does not change.
fn is_certificate_error(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if error.is::<rustls::Error>()
            || inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>)
        {
            return true;
        }
        next = error.source();
    }
    false
}
