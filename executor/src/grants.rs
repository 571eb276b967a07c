//! What the user lets RUNs have beside the build's own files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::error::Error;

/// Secrets, agents and rights that RUNs may ask for.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    /// Secrets by id.
    pub secrets: BTreeMap<String, SecretSource>,
    /// Ids of the secrets whose content counts for the keys of RUNs that mount them.
    pub keyed: BTreeSet<String>,
    /// SSH agents by id.
    pub agents: BTreeMap<String, AgentSource>,
    /// Whether `--security=insecure` is allowed.
    pub insecure: bool,
    /// Whether `--network=host` is allowed.
    pub host_network: bool,
}

/// Largest secret, as BuildKit has it, in bytes.
const MAX_SECRET_BYTES: usize = 500 * 1024;

impl Grants {
    /// Returns a secret's bytes, if there is one of that id.
    ///
    /// # Errors
    /// Fails where its file cannot be read, and where it is too large.
    pub fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, Error> {
        let value = match self.secrets.get(id) {
            Some(SecretSource::Value(value)) => value.clone(),
            Some(SecretSource::File(path)) => fs_err::read(path)?,
            None => return Ok(None),
        };
        if value.len() > MAX_SECRET_BYTES {
            let limit = MAX_SECRET_BYTES / 1024;
            return Err(Error::user(format!("the secret `{id}` has more than {limit} KiB")));
        }
        Ok(Some(value))
    }

    /// Returns the text of the secret `name.host`, or else `name`.
    ///
    /// # Errors
    /// As [`Self::secret`]; fails where it is no text.
    pub fn secret_for(&self, name: &str, host: &str) -> Result<Option<String>, Error> {
        let value = match self.secret(&format!("{name}.{host}"))? {
            Some(value) => Some(value),
            None => self.secret(name)?,
        };
        let text = value.map(|value| {
            String::from_utf8(value).map_err(|_| Error::user(format!("the secret `{name}` is no text")))
        });
        Ok(text.transpose()?.map(|text| text.trim_end().to_owned()))
    }
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// In a file.
    File(PathBuf),
    /// In a variable of kairn's environment; whoever makes this has read it.
    Value(Vec<u8>),
}

/// Where an SSH agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentSource {
    /// Behind a socket.
    Socket(PathBuf),
}
