//! Shared caches, in the places that there are.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests panic when they fail, and say what they skip"
)]

#[path = "../registry/daemon.rs"]
mod daemon;
mod gha;
mod local;
#[cfg(feature = "object-store")]
mod object;
mod registry;
#[allow(dead_code, reason = "the registry client's tests use more of it")]
#[path = "../registry/server.rs"]
mod server;

use std::collections::BTreeSet;
use std::time::Duration;

use kairn_image::backend::{Backend, BackendError, Document, Moment};
use kairn_image::layout::Layout;
use kairn_image::registry::{Client, Config};
use kairn_image::{Descriptor, Digest, media_type};
use tempfile::TempDir;

fn layout() -> (TempDir, Layout) {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::open(folder.path()).unwrap();
    (folder, layout)
}

/// A client for a registry that works. Debian's has moments in which a tag that is being written is an error.
fn patient_client() -> Client {
    Client::new(Config { retry_delay: Duration::from_millis(50), ..Config::default() })
}

/// A client that does not wait long.
fn client() -> Client {
    Client::new(Config {
        tries: 2,
        retry_delay: Duration::from_millis(2),
        connect_timeout: Duration::from_secs(2),
        read_timeout: Duration::from_secs(2),
        ..Config::default()
    })
}

/// The lines of all documents.
fn lines(documents: &[Vec<u8>]) -> BTreeSet<String> {
    let text = |document: &Vec<u8>| String::from_utf8(document.clone()).unwrap();
    documents.iter().flat_map(|d| text(d).lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// A document of lines, each the digest and size of a blob.
fn document(lines: &BTreeSet<String>) -> Document {
    let blobs = lines.iter().map(|line| {
        let (digest, size) = line.split_once(' ').unwrap();
        Descriptor::new(media_type::OCI_LAYER, digest.parse().unwrap(), size.parse().unwrap())
    });
    Document {
        bytes: lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect::<String>().into_bytes(),
        blobs: blobs.collect(),
    }
}

fn line(blob: &Descriptor) -> String {
    format!("{} {}", blob.digest, blob.size)
}

fn put(backend: &dyn Backend, layout: &Layout, bytes: &[u8]) -> Descriptor {
    let digest = layout.put_bytes(bytes).unwrap();
    let blob = Descriptor::new(media_type::OCI_LAYER, digest, bytes.len() as u64);
    assert!(backend.put_blob(&blob, layout).unwrap(), "it was there");
    blob
}

/// Adds blobs to what a backend has.
fn publish(backend: &dyn Backend, blobs: &[Descriptor], moment: Moment) -> Result<(), BackendError> {
    let own: BTreeSet<_> = blobs.iter().map(line).collect();
    backend.publish(&|found: &[Vec<u8>]| document(&own.union(&lines(found)).cloned().collect()), moment)
}

/// Has eight writers publish at once, step by step; all that they put must be there at the end.
fn nothing_is_lost(open: impl Fn() -> Box<dyn Backend> + Sync) {
    const WRITERS: u32 = 8;
    let (_folder, layout) = layout();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (open, layout) = (&open, &layout);
            scope.spawn(move || {
                let backend = open();
                let mut blobs = Vec::new();
                for step in 0..3_u32 {
                    blobs.push(put(backend.as_ref(), layout, format!("blob {writer} {step}").as_bytes()));
                    publish(backend.as_ref(), &blobs, Moment::Midway).unwrap();
                }
                publish(backend.as_ref(), &blobs, Moment::End).unwrap();
            });
        }
    });
    let found = lines(&open().load().unwrap());
    assert_eq!(found.len(), 3 * WRITERS as usize);

    // One more makes one document of all.
    let backend = open();
    publish(backend.as_ref(), &[put(backend.as_ref(), &layout, b"the last")], Moment::End).unwrap();
    let documents = open().load().unwrap();
    assert_eq!(lines(&documents).len(), found.len() + 1);
    assert!(documents.iter().any(|one| lines(std::slice::from_ref(one)).len() == found.len() + 1));
}

/// Puts a blob, fetches it, and asks for others.
fn blobs_go_there_and_back(backend: &dyn Backend) {
    let (_folder, here) = layout();
    let (_folder, there) = layout();
    for bytes in [b"".to_vec(), b"small".to_vec(), vec![7; 300_000]] {
        let blob = Descriptor::new(media_type::OCI_LAYER, Digest::of(&bytes), bytes.len() as u64);
        assert!(!backend.has_blob(&blob).unwrap());
        let error = backend.fetch_blob(&blob, &there).unwrap_err();
        assert!(matches!(error, BackendError::MissingBlob { .. }), "{error:?}");
        let blob = put(backend, &here, &bytes);
        assert!(backend.has_blob(&blob).unwrap());
        assert!(!backend.put_blob(&blob, &here).unwrap(), "it is there");
        backend.fetch_blob(&blob, &there).unwrap();
        assert_eq!(there.read_blob(&blob).unwrap(), bytes);
    }
}

/// Puts a blob that goes in several pieces, and fetches it.
fn a_large_blob_goes_there_and_back(backend: &dyn Backend) {
    let (_folder, here) = layout();
    let (_folder, there) = layout();
    let bytes: Vec<u8> = (0..5 << 20_u32).flat_map(u32::to_le_bytes).collect();
    let blob = put(backend, &here, &bytes);
    backend.fetch_blob(&blob, &there).unwrap();
    assert_eq!(there.read_blob(&blob).unwrap(), bytes);
}

/// The causes of an error, in one line.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
