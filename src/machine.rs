//! What the program takes from the machine: folders, credentials, name resolution.

use std::path::PathBuf;
use std::sync::Arc;

use kairn_image::registry::auth::CredentialFiles;
use kairn_image::registry::{self, Client, Mirror, Proxies};

use crate::args::Registries;
use crate::failure::Failure;

/// Text of /etc/hosts in a RUN.
pub const HOSTS: &str = "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

/// The default folder of the store.
pub fn default_root() -> Result<PathBuf, Failure> {
    let cache = variable("XDG_CACHE_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".cache")))
        .ok_or_else(|| Failure::user("there is no `HOME`, so no place for the store"))
        .map_err(|failure| failure.with_help("say where: `--kairn-root DIR` or `KAIRN_ROOT`"))?;
    Ok(cache.join("kairn"))
}

/// A client for all registries, with the credentials that Docker and Podman keep.
pub fn client(settings: &Registries) -> Result<Arc<Client>, Failure> {
    let mirrors = settings
        .registry_mirror
        .iter()
        .map(|pair| {
            let (registry, endpoint) = pair.split_once('=').ok_or_else(|| {
                Failure::user(format!("`--registry-mirror {pair}` is not of the form HOST=MIRROR"))
            })?;
            Ok(Mirror { registry: registry.to_owned(), endpoint: endpoint.to_owned() })
        })
        .collect::<Result<_, Failure>>()?;
    let credentials = CredentialFiles::read(credential_files())
        .map_err(|e| Failure::environment(crate::failure::chain(&e)))?;
    let either = |upper: &str, lower: &str| std::env::var(upper).or_else(|_| std::env::var(lower)).ok();
    Ok(Arc::new(Client::new(registry::Config {
        mirrors,
        insecure: settings.insecure_registry.clone(),
        credentials: Box::new(credentials),
        proxies: Proxies {
            http: either("HTTP_PROXY", "http_proxy"),
            https: either("HTTPS_PROXY", "https_proxy"),
            except: either("NO_PROXY", "no_proxy").unwrap_or_default(),
        },
        ..registry::Config::default()
    })))
}

/// The machine's resolv.conf.
pub fn resolv_conf() -> String {
    std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()
}

/// `SOURCE_DATE_EPOCH`, if it is set.
pub fn epoch() -> Result<Option<i64>, Failure> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Err(_) => Ok(None),
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => text.parse().map(Some).map_err(|_| {
            Failure::user(format!(
                "`SOURCE_DATE_EPOCH` is `{text}`, and should be seconds from the Unix epoch"
            ))
        }),
    }
}

fn credential_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    files.extend(variable("REGISTRY_AUTH_FILE"));
    match variable("DOCKER_CONFIG") {
        Some(folder) => files.push(folder.join("config.json")),
        None => files.extend(variable("HOME").map(|home| home.join(".docker/config.json"))),
    }
    files.extend(variable("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json")));
    files
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
