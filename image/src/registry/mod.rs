//! The registry client.
//!
//! Spec: OCI distribution-spec 1.1; Docker's token authentication. Reading order: [`auth`] (credentials), `endpoint`
//! (which hosts), `transport` (one request with its retries), `challenge` and `token` (being let in), `resolve` (which image a name means), `pull`, `push` (blobs), `manifests` (documents as they are).
//!
//! Blocking; a [`Client`] may be used by many threads at once. Every byte that is taken over is checked against a digest.

pub mod auth;
mod challenge;
mod download;
mod endpoint;
mod error;
mod http;
mod manifests;
mod pull;
mod push;
mod resolve;
mod token;
mod transport;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use auth::{Anonymous, CredentialSource};
pub use download::Validators;
pub use error::Error;
#[cfg(feature = "object-store")]
pub(crate) use http::async_client;
pub(crate) use http::blocking_client;
pub use manifests::StoredManifest;
pub use push::PushedBlob;
pub use resolve::Resolved;

/// How registries are spoken to. The environment is never looked at: all there is to know is here.
pub struct Config {
    /// Mirrors, in the order in which they are asked. The registry itself is asked after them.
    pub mirrors: Vec<Mirror>,
    /// Hosts, with or without port, whose certificates are not checked and which may speak plain HTTP.
    pub insecure: Vec<String>,
    /// Where credentials are found; nowhere by default.
    pub credentials: Box<dyn CredentialSource>,
    /// Files of further trusted certificates, PEM. The built-in ones and those of the system count always.
    pub certificates: Vec<PathBuf>,
    /// Proxies; none by default.
    pub proxies: Proxies,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// Longest wait for a connection; 30 s by default.
    pub connect_timeout: Duration,
    /// Longest wait for an answer, and for more of one; 60 s by default. A blob may take as long as it keeps coming.
    pub read_timeout: Duration,
    /// Most times that one request is sent, at least 1; 5 by default.
    pub tries: u32,
    /// Wait before the first retry, doubled for each one after it; 250 ms by default.
    pub retry_delay: Duration,
    /// Longest that a registry's `Retry-After` is obeyed; 60 s by default.
    pub retry_after_limit: Duration,
}

/// Another place with a registry's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The registry it mirrors, as references name it (`docker.io`).
    pub registry: String,
    /// Where it is: `[http[s]://]host[:port][/prefix]`. The prefix comes before the repository's name.
    pub endpoint: String,
}

/// Proxies by the scheme of what is asked for, as the variables `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` have them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For plain HTTP.
    pub http: Option<String>,
    /// For HTTPS.
    pub https: Option<String>,
    /// Hosts that are asked directly, comma-separated.
    pub except: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mirrors: Vec::new(),
            insecure: Vec::new(),
            credentials: Box::new(Anonymous),
            certificates: Vec::new(),
            proxies: Proxies::default(),
            user_agent: concat!("kairn/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(30),
            read_timeout: Duration::from_mins(1),
            tries: 5,
            retry_delay: Duration::from_millis(250),
            retry_after_limit: Duration::from_mins(1),
        }
    }
}

impl Proxies {
    /// Reads them from variables, of which those in upper case count first.
    pub fn of(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let either = |name: &str| variable(name).or_else(|| variable(&name.to_ascii_lowercase()));
        let url = |name: &str| either(name).filter(|value| !value.is_empty());
        Self {
            http: url("HTTP_PROXY"),
            https: url("HTTPS_PROXY"),
            except: either("NO_PROXY").unwrap_or_default(),
        }
    }
}

impl fmt::Debug for Config {
    /// Leaves the proxies out: their addresses may have passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("mirrors", &self.mirrors)
            .field("insecure", &self.insecure)
            .field("credentials", &self.credentials.places())
            .field("certificates", &self.certificates)
            .finish_non_exhaustive()
    }
}

/// Pulls from and pushes to registries. One is enough for a process: it keeps connections and tokens.
#[derive(Debug)]
pub struct Client {
    config: Config,
    http: http::Clients,
    tokens: token::Tokens,
    /// How each host that offers several ways was reached.
    reached: Mutex<BTreeMap<String, endpoint::Trust>>,
}

impl Client {
    /// Makes a client; nothing is sent or read yet.
    pub fn new(config: Config) -> Self {
        install_crypto();
        Self {
            config,
            http: http::Clients::default(),
            tokens: token::Tokens::default(),
            reached: Mutex::default(),
        }
    }
}

/// Chooses the implementation of TLS for the process, if nobody did yet. [`Client::new`] calls it.
pub fn install_crypto() {
    // An error says that there is one, which is as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
