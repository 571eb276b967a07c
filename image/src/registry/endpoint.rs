//! Which hosts to ask, in which order, and how.

use reqwest::Url;

use crate::Reference;
use crate::registry::{Config, Error};

/// Where Docker Hub answers.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// How a host is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trust {
    /// HTTPS, with a certificate that is checked.
    Verified,
    /// HTTPS, whatever the certificate.
    Unverified,
    /// HTTP.
    Plain,
}

/// One place that has a registry's content: a mirror, or the registry itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Host with its port if it has one.
    pub host: String,
    /// Path before the repository, with its final slash; mostly empty.
    pub prefix: String,
    /// Ways to speak to it, the first that answers counts.
    pub trust: Vec<Trust>,
    /// The registry's name, as references and files of credentials have it; a mirror's own one.
    pub registry: String,
    /// The registry whose content a mirror has.
    pub mirror_of: Option<String>,
}

impl Endpoint {
    /// Lists where to pull a registry's content from: its mirrors as configured, then itself.
    pub(super) fn to_pull(config: &Config, reference: &Reference) -> Result<Vec<Self>, Error> {
        let registry = reference.registry();
        let mirrors = config.mirrors.iter().filter(|mirror| normal(&mirror.registry) == registry);
        let mut endpoints =
            mirrors.map(|m| Self::mirror(config, registry, &m.endpoint)).collect::<Result<Vec<_>, _>>()?;
        endpoints.push(Self::origin(config, registry));
        Ok(endpoints)
    }

    /// The registry itself.
    pub(super) fn origin(config: &Config, registry: &str) -> Self {
        let host = if registry == "docker.io" { DOCKER_HUB_HOST } else { registry };
        Self {
            host: host.to_owned(),
            prefix: String::new(),
            trust: trust(config, registry),
            registry: registry.to_owned(),
            mirror_of: None,
        }
    }

    /// Reads `[http[s]://]host[:port][/prefix]`.
    fn mirror(config: &Config, registry: &str, text: &str) -> Result<Self, Error> {
        let fail = || Error::Setting {
            text: text.to_owned(),
            expected: "a mirror of the form `[SCHEME://]HOST[/PREFIX]`",
        };
        let (scheme, rest) =
            text.split_once("://").map_or((None, text), |(scheme, rest)| (Some(scheme), rest));
        let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_matches('/');
        let prefix = prefix.strip_prefix("v2/").unwrap_or(if prefix == "v2" { "" } else { prefix });
        let url = Url::parse(&format!("https://{host}/{prefix}")).map_err(|_| fail())?;
        if host.is_empty() || !url.username().is_empty() || url.query().is_some() || url.fragment().is_some()
        {
            return Err(fail());
        }
        let trust = match scheme {
            None => trust(config, host),
            Some("https") if is_insecure(config, host) => vec![Trust::Unverified],
            Some("https") => vec![Trust::Verified],
            Some("http") => vec![Trust::Plain],
            Some(_) => return Err(fail()),
        };
        Ok(Self {
            host: host.to_owned(),
            prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") },
            trust,
            registry: normal(host).to_owned(),
            mirror_of: Some(registry.to_owned()),
        })
    }

    /// Returns the repository's name there.
    pub(super) fn repository(&self, repository: &str) -> String {
        format!("{}{repository}", self.prefix)
    }

    /// Returns the address of something of a repository: `manifests/latest`, `blobs/sha256:..`.
    pub(super) fn url(&self, trust: Trust, repository: &str, rest: &str) -> Result<Url, Error> {
        let scheme = if trust == Trust::Plain { "http" } else { "https" };
        let text = format!("{scheme}://{}/v2/{}{repository}/{rest}", self.host, self.prefix);
        let mut url = Url::parse(&text)
            .map_err(|_| Error::Setting { text: self.host.clone(), expected: "the host of a registry" })?;
        if let Some(registry) = &self.mirror_of {
            // A mirror of several registries tells them apart by it, as containerd's do.
            url.query_pairs_mut().append_pair("ns", registry);
        }
        Ok(url)
    }

    /// Says whether an address is at this endpoint's host and port.
    pub(super) fn is_at(&self, trust: Trust, url: &Url) -> bool {
        let place = |url: &Url| (url.host_str().map(str::to_owned), url.port_or_known_default());
        self.url(trust, "any", "").is_ok_and(|own| place(&own) == place(url))
    }
}

fn trust(config: &Config, host: &str) -> Vec<Trust> {
    if is_insecure(config, host) {
        vec![Trust::Unverified, Trust::Plain]
    } else if is_loopback(host) {
        vec![Trust::Plain]
    } else {
        vec![Trust::Verified]
    }
}

fn is_insecure(config: &Config, host: &str) -> bool {
    let (host, name) = (normal(host), without_port(host));
    config.insecure.iter().any(|insecure| {
        let insecure =
            insecure.split_once("://").map_or(insecure.as_str(), |(_, rest)| rest).trim_end_matches('/');
        insecure == host || insecure == name
    })
}

/// Says whether a host is this machine, which is spoken to without TLS.
fn is_loopback(host: &str) -> bool {
    let name = without_port(host);
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    name == "localhost" || name.ends_with(".localhost") || address.is_ok_and(|a| a.is_loopback())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Returns the name by which references know a host.
fn normal(host: &str) -> &str {
    match host {
        "index.docker.io" | DOCKER_HUB_HOST => "docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Mirror;

    #[test]
    fn hosts_are_spoken_to_as_they_deserve() {
        let config = Config {
            insecure: vec!["bad.example".to_owned(), "http://odd.example:5000/".to_owned()],
            ..Config::default()
        };
        for (host, expected) in [
            ("docker.io", &[Trust::Verified][..]),
            ("example.com:5000", &[Trust::Verified]),
            ("localhost", &[Trust::Plain]),
            ("localhost:5000", &[Trust::Plain]),
            ("127.1.2.3:5000", &[Trust::Plain]),
            ("[::1]:5000", &[Trust::Plain]),
            ("[::1]", &[Trust::Plain]),
            ("localhost.example.com", &[Trust::Verified]),
            ("10.0.0.1:5000", &[Trust::Verified]),
            ("bad.example", &[Trust::Unverified, Trust::Plain]),
            ("bad.example:5000", &[Trust::Unverified, Trust::Plain]),
            ("odd.example:5000", &[Trust::Unverified, Trust::Plain]),
            ("odd.example:5001", &[Trust::Verified]),
        ] {
            assert_eq!(trust(&config, host), expected, "{host}");
        }
    }

    #[test]
    fn mirrors_come_first_and_have_prefixes() {
        let mirror =
            |registry: &str, endpoint: &str| Mirror { registry: registry.into(), endpoint: endpoint.into() };
        let mirrors = vec![
            mirror("docker.io", "m.example/proxy/hub/"),
            mirror("index.docker.io", "http://other.example:5000"),
            mirror("quay.io", "m.example"),
        ];
        let config = Config { mirrors, ..Config::default() };
        let endpoints = Endpoint::to_pull(&config, &"debian".parse().unwrap()).unwrap();
        let urls: Vec<_> = endpoints
            .iter()
            .map(|e| e.url(e.trust[0], "library/debian", "manifests/latest").unwrap().to_string())
            .collect();
        assert_eq!(
            urls,
            [
                "https://m.example/v2/proxy/hub/library/debian/manifests/latest?ns=docker.io",
                "http://other.example:5000/v2/library/debian/manifests/latest?ns=docker.io",
                "https://registry-1.docker.io/v2/library/debian/manifests/latest",
            ]
        );
        for wrong in ["", "ftp://x", "https://", "user@host", "host?x=1", "a b"] {
            let config = Config { mirrors: vec![mirror("docker.io", wrong)], ..Config::default() };
            assert!(Endpoint::to_pull(&config, &"debian".parse().unwrap()).is_err(), "{wrong}");
        }
    }
}
