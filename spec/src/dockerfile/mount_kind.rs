//! The types of mounts and the keys they have.

use super::keyword::nearest;
use crate::{Diagnostic, Spanned};

/// The type of a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

impl Kind {
    /// The types by their names.
    pub(super) const ALL: [(&str, Self); 5] = [
        ("bind", Self::Bind),
        ("cache", Self::Cache),
        ("tmpfs", Self::Tmpfs),
        ("secret", Self::Secret),
        ("ssh", Self::Ssh),
    ];

    /// Returns the name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }

    /// Whether a key may be given for this type.
    pub(super) fn takes(self, key: &str) -> bool {
        match key {
            "required" => matches!(self, Kind::Secret | Kind::Ssh),
            "size" => self == Kind::Tmpfs,
            "sharing" => self == Kind::Cache,
            "mode" | "uid" | "gid" => matches!(self, Kind::Cache | Kind::Secret | Kind::Ssh),
            "from" => self != Kind::Secret,
            "source" => self != Kind::Ssh,
            _ => true,
        }
    }

    /// Whether BuildKit accepts a key for this type and makes nothing of it.
    pub(super) fn ignores(self, key: &str) -> bool {
        match self {
            Self::Bind => matches!(key, "id" | "env"),
            Self::Cache => key == "env",
            Self::Tmpfs => matches!(key, "id" | "env" | "from" | "source"),
            Self::Secret => matches!(key, "readonly" | "readwrite"),
            Self::Ssh => matches!(key, "env" | "from" | "readonly" | "readwrite"),
        }
    }
}

/// The keys, with those that mean the same.
pub(super) const KEYS: [(&str, &str); 19] = [
    ("type", "type"),
    ("from", "from"),
    ("source", "source"),
    ("src", "source"),
    ("target", "target"),
    ("dst", "target"),
    ("destination", "target"),
    ("readonly", "readonly"),
    ("ro", "readonly"),
    ("readwrite", "readwrite"),
    ("rw", "readwrite"),
    ("required", "required"),
    ("size", "size"),
    ("id", "id"),
    ("sharing", "sharing"),
    ("mode", "mode"),
    ("uid", "uid"),
    ("gid", "gid"),
    ("env", "env"),
];

/// Says that a key is none.
pub(super) fn unknown_key(key: &Spanned<String>) -> Diagnostic {
    let message = format!("a mount has no field `{}`", key.value);
    let diagnostic = Diagnostic::error("unknown-mount-key", key.span, message);
    match nearest(&key.value, KEYS.iter().map(|&(name, _)| name)) {
        Some(near) => diagnostic.with_help(format!("did you mean `{near}`?")),
        None => diagnostic,
    }
}
