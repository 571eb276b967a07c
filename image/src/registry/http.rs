//! HTTP clients, each made when it is first needed: reading the system's certificates takes milliseconds.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use reqwest::blocking::Client as HttpClient;
use reqwest::{Certificate, NoProxy, Proxy, redirect};

use crate::registry::endpoint::Trust;
use crate::registry::{Config, Error};

/// Where systems keep the certificates they trust; the first that exists counts.
const SYSTEM_CERTIFICATES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

const REDIRECTS: usize = 10;

/// The clients for the kinds of [`Trust`].
#[derive(Debug, Default)]
pub(super) struct Clients {
    verified: Mutex<Option<HttpClient>>,
    unverified: Mutex<Option<HttpClient>>,
    plain: Mutex<Option<HttpClient>>,
}

impl Clients {
    pub(super) fn get(&self, config: &Config, trust: Trust) -> Result<HttpClient, Error> {
        let slot = match trust {
            Trust::Verified => &self.verified,
            Trust::Unverified => &self.unverified,
            Trust::Plain => &self.plain,
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*slot {
            return Ok(client.clone());
        }
        let client = make(config, trust)?;
        *slot = Some(client.clone());
        Ok(client)
    }
}

/// Makes a client for other servers than registries, which checks certificates.
pub(crate) fn blocking_client(config: &Config) -> Result<HttpClient, Error> {
    make(config, Trust::Verified)
}

fn make(config: &Config, trust: Trust) -> Result<HttpClient, Error> {
    let mut builder = HttpClient::builder()
        .user_agent(&config.user_agent)
        .tls_certs_only(certificates(config, trust)?)
        .tls_danger_accept_invalid_certs(trust == Trust::Unverified)
        .redirect(only_safe_redirects())
        .referer(false)
        .connect_timeout(config.connect_timeout)
        // Of the blocking client this is no total: it holds for the answer's start and for each read after it.
        .timeout(config.read_timeout)
        .tcp_user_timeout(config.read_timeout)
        .no_proxy();
    for proxy in proxies(config)? {
        builder = builder.proxy(proxy);
    }
    builder.build().map_err(|error| Error::Setup(error.into()))
}

/// Makes a client for those who do not block, which checks certificates.
#[cfg(feature = "object-store")]
pub(crate) fn async_client(
    config: &Config,
    read_timeout: Option<std::time::Duration>,
) -> Result<reqwest::Client, Error> {
    let mut builder = reqwest::Client::builder()
        .user_agent(&config.user_agent)
        .tls_certs_only(certificates(config, Trust::Verified)?)
        .redirect(only_safe_redirects())
        .referer(false)
        .connect_timeout(config.connect_timeout)
        .tcp_user_timeout(config.read_timeout)
        .no_proxy();
    if let Some(read_timeout) = read_timeout {
        builder = builder.read_timeout(read_timeout);
    }
    for proxy in proxies(config)? {
        builder = builder.proxy(proxy);
    }
    builder.build().map_err(|error| Error::Setup(error.into()))
}

fn certificates(config: &Config, trust: Trust) -> Result<Vec<Certificate>, Error> {
    let mut certificates: Vec<_> = webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .filter_map(|der| Certificate::from_der(der).ok())
        .collect();
    if trust == Trust::Verified {
        let system = SYSTEM_CERTIFICATES.iter().find_map(|path| fs_err::read(path).ok());
        // Some systems have certificates that rustls does not take; the others still count.
        certificates
            .extend(system.and_then(|pem| Certificate::from_pem_bundle(&pem).ok()).unwrap_or_default());
        for path in &config.certificates {
            certificates.extend(read_certificates(path)?);
        }
    }
    Ok(certificates)
}

fn only_safe_redirects() -> redirect::Policy {
    redirect::Policy::custom(|attempt| {
        let downgraded = attempt
            .previous()
            .last()
            .is_some_and(|from| from.scheme() == "https" && attempt.url().scheme() != "https");
        if downgraded {
            attempt.error("it redirects from https to http")
        } else if attempt.previous().len() > REDIRECTS {
            attempt.error("it redirects too often")
        } else {
            attempt.follow()
        }
    })
}

fn read_certificates(path: &Path) -> Result<Vec<Certificate>, Error> {
    let fail = |source| Error::Certificates { path: path.to_owned(), source };
    let pem = fs_err::read(path).map_err(|error| fail(error.into()))?;
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| fail(error.into()))?;
    if certificates.is_empty() { Err(fail("it has no PEM certificate".into())) } else { Ok(certificates) }
}

fn proxies(config: &Config) -> Result<Vec<Proxy>, Error> {
    let except = || NoProxy::from_string(&config.proxies.except);
    // The address may have a password, so it is not shown.
    let fail = |_| Error::Setting { text: "the proxy's address".to_owned(), expected: "a URL" };
    let http = config.proxies.http.as_deref().map(Proxy::http).transpose().map_err(fail)?;
    let https = config.proxies.https.as_deref().map(Proxy::https).transpose().map_err(fail)?;
    Ok(http.into_iter().chain(https).map(|proxy| proxy.no_proxy(except())).collect())
}
