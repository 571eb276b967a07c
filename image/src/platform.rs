//! The machine an image runs on.

use serde::{Deserialize, Serialize};

/// Operating system, architecture and variant.
///
/// Spec: OCI image-spec, image-index.md, `platform`. Text form: `os/architecture[/variant]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// CPU architecture in Go's words (`amd64`, `arm64`).
    pub architecture: String,
    /// Operating system in Go's words (`linux`).
    pub os: String,
    /// Variant of the architecture (`v7`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Version of the operating system (Windows only).
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
}
