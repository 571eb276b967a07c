//! Being let in: which `Authorization` a request carries.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use serde::Deserialize;

use crate::registry::auth::Credentials;
use crate::registry::challenge::Challenge;
use crate::registry::endpoint::{Endpoint, Trust};
use crate::registry::transport::{Call, message_of, unreachable};
use crate::registry::{Client, Error};

/// Lifetime of a token that states none. Spec: Docker's token authentication, `expires_in`.
const DEFAULT_LIFETIME: Duration = Duration::from_mins(1);
/// A token is renewed that long before it ends.
const MARGIN: Duration = Duration::from_secs(10);
/// Most bytes of a token server's answer.
const ANSWER_BYTES: u64 = 1 << 20;

/// What hosts have asked for, and the tokens that they took.
#[derive(Default)]
pub(super) struct Tokens {
    challenges: Mutex<BTreeMap<String, Challenge>>,
    /// By host and scopes.
    tokens: Mutex<BTreeMap<(String, Vec<String>), Token>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens(..)")
    }
}

#[derive(Clone)]
struct Token {
    authorization: String,
    /// `None` for passwords.
    ends: Option<Instant>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    expires_in: Option<u64>,
}

impl Client {
    /// Returns what to send: nothing until the host has asked for something.
    pub(super) fn authorization(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        trust: Trust,
    ) -> Result<Option<String>, Error> {
        let key = (endpoint.host.clone(), scopes_of(endpoint, call));
        let token = lock(&self.tokens.tokens).get(&key).cloned();
        if let Some(token) = token
            && token.ends.is_none_or(|ends| Instant::now() + MARGIN < ends)
        {
            return Ok(Some(token.authorization));
        }
        let challenge = lock(&self.tokens.challenges).get(&endpoint.host).cloned();
        let Some(challenge) = challenge else { return Ok(None) };
        let Some(token) = self.obtain(endpoint, call, trust, &challenge)? else { return Ok(None) };
        let authorization = token.authorization.clone();
        lock(&self.tokens.tokens).insert(key, token);
        Ok(Some(authorization))
    }

    /// Takes note of what the host asks for. Says whether there is something to send that was not `refused` just now.
    pub(super) fn answer_challenge(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        trust: Trust,
        challenge: Option<Challenge>,
        refused: Option<&str>,
    ) -> Result<bool, Error> {
        let Some(challenge) = challenge else { return Ok(false) };
        lock(&self.tokens.challenges).insert(endpoint.host.clone(), challenge);
        lock(&self.tokens.tokens).remove(&(endpoint.host.clone(), scopes_of(endpoint, call)));
        let authorization = self.authorization(endpoint, call, trust)?;
        Ok(authorization.is_some() && authorization.as_deref() != refused)
    }

    fn obtain(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        trust: Trust,
        challenge: &Challenge,
    ) -> Result<Option<Token>, Error> {
        let repository = call.repository(endpoint);
        let credentials = self.config.credentials.find(&endpoint.registry, &repository)?;
        match (challenge, credentials) {
            (Challenge::Basic, Some(Credentials::Password { username, password })) => {
                Ok(Some(Token { authorization: basic(&username, &password), ends: None }))
            }
            (Challenge::Basic, _) => Ok(None),
            (Challenge::Bearer { realm, service }, credentials) => {
                let scopes = scopes_of(endpoint, call);
                let wish =
                    Wish { realm, service: service.as_deref(), scopes: &scopes, repository: &repository };
                self.fetch_token(endpoint, trust, &wish, credentials.as_ref()).map(Some)
            }
        }
    }

    fn fetch_token(
        &self,
        endpoint: &Endpoint,
        trust: Trust,
        wish: &Wish<'_>,
        credentials: Option<&Credentials>,
    ) -> Result<Token, Error> {
        let fail = |reason: &str| Error::Document {
            host: endpoint.host.clone(),
            what: "its token server".to_owned(),
            reason: reason.to_owned(),
        };
        let realm = Url::parse(wish.realm).map_err(|_| fail("its address is no URL"))?;
        let server = realm.host_str().unwrap_or_default().to_owned();
        let trust = match (realm.scheme(), trust) {
            ("https", Trust::Unverified) => Trust::Unverified,
            ("https", _) => Trust::Verified,
            // A registry that is spoken to over TLS must not send the password over the open net.
            ("http", Trust::Plain | Trust::Unverified) => Trust::Plain,
            _ => return Err(fail("its address is not https")),
        };
        let http = self.http.get(&self.config, trust)?;
        let mut attempt = 1;
        loop {
            let sent = wish.request(&http, realm.clone(), credentials).send();
            let error = match sent {
                Ok(response) if response.status().is_success() => {
                    use std::io::Read as _;
                    let mut body = Vec::new();
                    response
                        .take(ANSWER_BYTES)
                        .read_to_end(&mut body)
                        .map_err(|error| unreachable(&server, error.into()))?;
                    return token_of(&body).ok_or_else(|| fail("its answer has no token"));
                }
                Ok(response) if matches!(response.status().as_u16(), 400 | 401 | 403 | 404) => {
                    let (repository, message) = (wish.repository.to_owned(), message_of(response));
                    return Err(self.refused(endpoint, repository, message, credentials.is_some()));
                }
                Ok(response) => Error::Status {
                    host: server.clone(),
                    request: format!("GET {}", realm.path()),
                    status: response.status().as_u16(),
                    message: message_of(response),
                },
                Err(error) => unreachable(&server, error.without_url().into()),
            };
            if attempt >= self.config.tries {
                return Err(error);
            }
            self.pause(attempt, None);
            attempt += 1;
        }
    }
}

/// What a token is wanted for.
struct Wish<'a> {
    realm: &'a str,
    service: Option<&'a str>,
    scopes: &'a [String],
    repository: &'a str,
}

impl Wish<'_> {
    /// Spec: Docker's token authentication; for identity tokens, its OAuth2 form.
    fn request(
        &self,
        http: &reqwest::blocking::Client,
        mut realm: Url,
        credentials: Option<&Credentials>,
    ) -> reqwest::blocking::RequestBuilder {
        if let Some(Credentials::IdentityToken(token)) = credentials {
            let mut form = Url::parse("form:").expect("a constant URL");
            form.query_pairs_mut()
                .append_pair("grant_type", "refresh_token")
                .append_pair("service", self.service.unwrap_or_default())
                .append_pair("scope", &self.scopes.join(" "))
                .append_pair("client_id", "kairn")
                .append_pair("refresh_token", token);
            let body = form.query().unwrap_or_default().to_owned();
            return http.post(realm).header("Content-Type", "application/x-www-form-urlencoded").body(body);
        }
        {
            let mut query = realm.query_pairs_mut();
            query.extend_pairs(self.service.map(|service| ("service", service)));
            query.extend_pairs(self.scopes.iter().map(|scope| ("scope", scope)));
            if let Some(Credentials::Password { username, .. }) = credentials {
                query.append_pair("account", username);
            }
        }
        let request = http.get(realm);
        match credentials {
            Some(Credentials::Password { username, password }) => {
                request.header("Authorization", basic(username, password))
            }
            _ => request,
        }
    }
}

fn token_of(body: &[u8]) -> Option<Token> {
    let answer: TokenAnswer = serde_json::from_slice(body).ok()?;
    let token = if answer.token.is_empty() { answer.access_token } else { answer.token };
    let is_header_text = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
    let lifetime =
        answer.expires_in.map_or(DEFAULT_LIFETIME, Duration::from_secs).min(Duration::from_hours(24));
    let ends = Instant::now() + lifetime.max(DEFAULT_LIFETIME);
    is_header_text.then(|| Token { authorization: format!("Bearer {token}"), ends: Some(ends) })
}

fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}

/// Returns the scopes as they are called at the endpoint, sorted.
fn scopes_of(endpoint: &Endpoint, call: &Call) -> Vec<String> {
    let mut scopes: Vec<_> = call
        .scopes
        .iter()
        .map(|scope| scope.replacen("repository:", &format!("repository:{}", endpoint.prefix), 1))
        .collect();
    scopes.sort();
    scopes.dedup();
    scopes
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
