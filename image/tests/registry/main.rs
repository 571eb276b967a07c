//! The registry client against registries that misbehave, and against a real one.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests panic when they fail, and say what they skip"
)]

mod access;
mod credentials;
mod daemon;
mod hosts;
mod known;
mod pull;
mod push;
mod real;
mod server;

use std::time::Duration;

use kairn_image::layout::Layout;
use kairn_image::registry::auth::{CredentialError, CredentialSource, Credentials};
use kairn_image::registry::{Client, Config};
use kairn_image::{Descriptor, Digest, Index, Manifest, Platform, Reference, media_type};
use server::{Reply, Request};
use tempfile::TempDir;

/// A client that does not wait long.
fn client(change: impl FnOnce(&mut Config)) -> Client {
    let mut config = Config {
        retry_delay: Duration::from_millis(2),
        retry_after_limit: Duration::from_millis(300),
        read_timeout: Duration::from_secs(5),
        ..Config::default()
    };
    change(&mut config);
    Client::new(config)
}

fn plain_client() -> Client {
    client(|_| {})
}

fn reference(host: &str, name: &str) -> Reference {
    format!("{host}/{name}").parse().unwrap()
}

fn amd64() -> Platform {
    "linux/amd64".parse().unwrap()
}

fn layout() -> (TempDir, Layout) {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::open(folder.path()).unwrap();
    (folder, layout)
}

/// The causes of an error, in one line.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Credentials for everybody.
struct Known(Credentials);

impl CredentialSource for Known {
    fn find(&self, _: &str, _: &str) -> Result<Option<Credentials>, CredentialError> {
        Ok(Some(self.0.clone()))
    }

    fn places(&self) -> String {
        "in `/some/config.json`".to_owned()
    }
}

fn password() -> Known {
    Known(Credentials::Password { username: "me".to_owned(), password: "open sesame".to_owned() })
}

/// An image for two platforms, as a registry has it.
#[derive(Clone)]
struct Image {
    layer: Vec<u8>,
    config: Vec<u8>,
    manifest: Vec<u8>,
    index: Vec<u8>,
}

impl Image {
    fn new() -> Self {
        let layer: Vec<u8> =
            (0..300_000_u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()).collect();
        let config =
            br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#.to_vec();
        let manifest = Manifest::new(
            descriptor(media_type::OCI_CONFIG, &config),
            vec![descriptor(media_type::OCI_LAYER, &layer)],
        )
        .to_bytes();
        let for_platform = |platform: &str, bytes: &[u8]| {
            let platform = platform.split_once('/').map(|(os, architecture)| Platform {
                os: os.to_owned(),
                architecture: architecture.to_owned(),
                variant: None,
                os_version: None,
            });
            Descriptor { platform, ..descriptor(media_type::OCI_MANIFEST, bytes) }
        };
        let members = vec![
            for_platform("unknown/unknown", b"an attestation"),
            for_platform("linux/arm64", b"elsewhere"),
            for_platform("linux/amd64", &manifest),
        ];
        Self { layer, config, manifest, index: Index::of(members).to_bytes() }
    }

    fn layer(&self) -> Descriptor {
        descriptor(media_type::OCI_LAYER, &self.layer)
    }

    /// Answers as a good registry would, for any repository with the tag `1`.
    fn answer(&self, request: &Request) -> Reply {
        let name = request.path.rsplit('/').next().unwrap_or_default();
        let of = |bytes: &[u8]| Digest::of(bytes).to_string();
        let document =
            |bytes: &[u8], media_type: &str| Reply::bytes(bytes).header("content-type", media_type);
        let is_manifest = request.path.contains("/manifests/");
        match name {
            "1" if is_manifest => document(&self.index, media_type::OCI_INDEX),
            digest if is_manifest && digest == of(&self.index) => {
                document(&self.index, media_type::OCI_INDEX)
            }
            digest if is_manifest && digest == of(&self.manifest) => {
                document(&self.manifest, media_type::OCI_MANIFEST)
            }
            digest if digest == of(&self.config) => Reply::bytes(&self.config),
            digest if digest == of(&self.layer) => partial(&self.layer, request),
            _ => Reply::error(404, "NOT_FOUND", "no such thing"),
        }
    }
}

/// Answers with the range that is asked for.
fn partial(bytes: &[u8], request: &Request) -> Reply {
    let start = request
        .header("range")
        .strip_prefix("bytes=")
        .and_then(|r| r.strip_suffix('-')?.parse::<usize>().ok());
    match start {
        None => Reply::bytes(bytes),
        Some(start) => {
            let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
            Reply { status: 206, ..Reply::bytes(&bytes[start..]) }.header("content-range", range)
        }
    }
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64)
}
