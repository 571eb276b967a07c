//! What the user lets RUNs have beside the build's own files.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Secrets, agents and rights that RUNs may ask for.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    /// Secrets by id.
    pub secrets: BTreeMap<String, SecretSource>,
    /// SSH agents by id.
    pub agents: BTreeMap<String, AgentSource>,
    /// Whether `--security=insecure` is allowed.
    pub insecure: bool,
    /// Whether `--network=host` is allowed.
    pub host_network: bool,
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
