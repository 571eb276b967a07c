//! Credentials, as Docker and Podman keep them.
//!
//! Spec: docker login reference ("Credential stores", "Credential helpers"); containers-auth.json(5).

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::config::null_as_default;

/// Docker Hub's name in Docker's files.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// A way to be let in.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Name and password (or an access token in its place).
    Password {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
    /// A token that buys other tokens.
    IdentityToken(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, .. } => write!(f, "Password({username:?}, ..)"),
            Self::IdentityToken(_) => write!(f, "IdentityToken(..)"),
        }
    }
}

/// Finds credentials.
pub trait CredentialSource: Send + Sync {
    /// Looks for credentials for a repository of a registry (`docker.io` for Docker Hub).
    ///
    /// # Errors
    /// Where looking fails; where there are none, the answer is `None`.
    fn find(&self, registry: &str, repository: &str) -> Result<Option<Credentials>, CredentialError>;

    /// Says where it looks, for people: ``in `/root/.docker/config.json` ``.
    fn places(&self) -> String;
}

/// Has no credentials for anybody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

impl CredentialSource for Anonymous {
    fn find(&self, _registry: &str, _repository: &str) -> Result<Option<Credentials>, CredentialError> {
        Ok(None)
    }

    fn places(&self) -> String {
        "nowhere".to_owned()
    }
}

/// Credentials could not be looked up.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A file could not be read.
    #[error("cannot read credentials")]
    Io(#[from] io::Error),
    /// A file is not what it should be.
    #[error("`{}` is not a valid file of credentials", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why. It names a position only, so no secret.
        source: serde_json::Error,
    },
    /// An entry is not what it should be.
    #[error("the entry `{key}` of `{}` is not valid: its `auth` is not the base64 of `NAME:PASSWORD`", path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// The entry.
        key: String,
    },
    /// A credential helper failed.
    #[error("the credential helper `{program}` failed for `{registry}`: {message}")]
    Helper {
        /// The program.
        program: String,
        /// What it was asked for.
        registry: String,
        /// Its own words.
        message: String,
    },
}

/// Credentials of Docker's `config.json` and Podman's `auth.json` files.
///
/// Of several files, the first that has an answer gives it. In each: a helper for the registry, then the helper for all,
/// then the entries, of which the longest that is a part of the name wins (`host/project/app`, `host/project`, `host`).
#[derive(Debug, Default)]
pub struct CredentialFiles {
    paths: Vec<PathBuf>,
    files: Vec<(PathBuf, File)>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    #[serde(deserialize_with = "null_as_default")]
    auths: BTreeMap<String, Auth>,
    #[serde(deserialize_with = "null_as_default")]
    cred_helpers: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_as_default")]
    creds_store: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Auth {
    #[serde(rename = "auth", deserialize_with = "null_as_default")]
    encoded: String,
    #[serde(deserialize_with = "null_as_default")]
    username: String,
    #[serde(deserialize_with = "null_as_default")]
    password: String,
    #[serde(deserialize_with = "null_as_default")]
    identitytoken: String,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Auth(..)")
    }
}

impl CredentialFiles {
    /// Reads those of the files that exist.
    ///
    /// # Errors
    /// Where a file cannot be read or is not JSON of that kind.
    pub fn read(paths: impl IntoIterator<Item = PathBuf>) -> Result<Self, CredentialError> {
        let paths: Vec<_> = paths.into_iter().collect();
        let mut files = Vec::new();
        for path in &paths {
            match fs_err::read(path) {
                // Podman makes empty files.
                Ok(bytes) if bytes.trim_ascii().is_empty() => {}
                Ok(bytes) => {
                    let file = serde_json::from_slice(&bytes)
                        .map_err(|source| CredentialError::File { path: path.clone(), source })?;
                    files.push((path.clone(), file));
                }
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self { paths, files })
    }
}

impl CredentialSource for CredentialFiles {
    fn find(&self, registry: &str, repository: &str) -> Result<Option<Credentials>, CredentialError> {
        for (path, file) in &self.files {
            let helpers =
                [file.cred_helpers.iter().find(|(key, _)| host_of(key) == registry).map(|(_, name)| name)];
            for helper in
                helpers.into_iter().flatten().chain([&file.creds_store]).filter(|name| !name.is_empty())
            {
                if let Some(found) = ask_helper(helper, registry)? {
                    return Ok(Some(found));
                }
            }
            let entries =
                file.auths.iter().filter(|(key, auth)| !auth.is_empty() && covers(key, registry, repository));
            if let Some((key, auth)) = entries.max_by_key(|(key, _)| normalise(key).len()) {
                let broken = || CredentialError::Entry { path: path.clone(), key: key.clone() };
                return auth.credentials().ok_or_else(broken).map(Some);
            }
        }
        Ok(None)
    }

    fn places(&self) -> String {
        let place = |path: &PathBuf| {
            let absent = if self.files.iter().any(|(read, _)| read == path) { "" } else { " (absent)" };
            format!("`{}`{absent}", path.display())
        };
        match self.paths.as_slice() {
            [] => "nowhere".to_owned(),
            paths => format!("in {}", paths.iter().map(place).collect::<Vec<_>>().join(", ")),
        }
    }
}

impl Auth {
    fn is_empty(&self) -> bool {
        self.encoded.is_empty() && self.username.is_empty() && self.identitytoken.is_empty()
    }

    fn credentials(&self) -> Option<Credentials> {
        if !self.identitytoken.is_empty() {
            return Some(Credentials::IdentityToken(self.identitytoken.clone()));
        }
        if self.encoded.is_empty() {
            let (username, password) = (self.username.clone(), self.password.clone());
            return Some(Credentials::Password { username, password });
        }
        let decoded = String::from_utf8(STANDARD.decode(self.encoded.trim()).ok()?).ok()?;
        let (username, password) = decoded.split_once(':')?;
        // Docker pads old entries with NUL bytes.
        Some(Credentials::Password {
            username: username.to_owned(),
            password: password.trim_end_matches('\0').to_owned(),
        })
    }
}

/// Says whether an entry's key is the registry, or a leading part of registry and repository.
fn covers(key: &str, registry: &str, repository: &str) -> bool {
    let (key, name) = (normalise(key), format!("{registry}/{repository}"));
    name.strip_prefix(&key).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Brings the forms that keys come in to one: `https://index.docker.io/v1/` is `docker.io`.
fn normalise(key: &str) -> String {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    let (host, rest) = key.split_at(key.find('/').unwrap_or(key.len()));
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => "docker.io",
        host => host,
    };
    format!("{host}{rest}")
}

fn host_of(key: &str) -> String {
    let key = normalise(key);
    key.split('/').next().unwrap_or_default().to_owned()
}

/// Spec: docker/docker-credential-helpers README, "Development": the host on standard input, JSON on standard output.
fn ask_helper(name: &str, registry: &str) -> Result<Option<Credentials>, CredentialError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let program = format!("docker-credential-{name}");
    let fail = |message: String| CredentialError::Helper {
        program: program.clone(),
        registry: registry.to_owned(),
        message,
    };
    if name.contains('/') {
        return Err(fail("its name has a slash".to_owned()));
    }
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| fail(format!("it cannot be started: {error}")))?;
    let key = if registry == "docker.io" { DOCKER_HUB_KEY } else { registry };
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that ends without reading says why in its output.
        let _ = writeln!(stdin, "{key}");
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        let answer: Answer = serde_json::from_slice(&output.stdout)
            .map_err(|_| fail("its answer is not the JSON of a credential".to_owned()))?;
        return Ok(match (answer.username.as_str(), answer.secret) {
            ("", secret) if secret.is_empty() => None,
            ("<token>", secret) => Some(Credentials::IdentityToken(secret)),
            (username, password) => Some(Credentials::Password { username: username.to_owned(), password }),
        });
    }
    let said =
        String::from_utf8_lossy(if output.stdout.is_empty() { &output.stderr } else { &output.stdout });
    let said = said.trim();
    let nothing_found = ["credentials not found", "no credentials server URL", "no usable credentials"];
    if nothing_found.iter().any(|text| said.to_lowercase().contains(&text.to_lowercase())) {
        return Ok(None);
    }
    Err(fail(said.chars().take(300).collect()))
}
