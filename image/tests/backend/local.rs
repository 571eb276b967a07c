//! A cache in a folder.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use kairn_image::backend::local::LocalBackend;
use kairn_image::backend::{Backend, BackendError, Moment};
use kairn_image::layout::Layout;
use kairn_image::{Descriptor, Digest, Manifest, media_type};

use crate::{blobs_go_there_and_back, document, layout, line, lines, nothing_is_lost, publish, put, told};

fn blobs_of(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("blobs/sha256")).unwrap().count()
}

#[test]
fn nothing_is_lost_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    nothing_is_lost(|| Box::new(LocalBackend::new(folder.path().join("cache"), "latest")));
    // 25 blobs, a manifest, a config.
    assert_eq!(blobs_of(&folder.path().join("cache")), 27);
}

#[test]
fn blobs_go_to_a_folder_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b");
    let backend = LocalBackend::new(&path, "latest");
    assert!(backend.load().unwrap().is_empty());
    assert_eq!(backend.rewrite(&|_: &[Vec<u8>]| document(&BTreeSet::new())).unwrap().documents, 0);
    assert!(!path.exists(), "reading makes nothing");
    blobs_go_there_and_back(&backend);
    assert!(backend.load().unwrap().is_empty());
}

#[test]
fn what_is_something_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (file, other) = (folder.path().join("file"), folder.path().join("other"));
    std::fs::write(&file, "text").unwrap();
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("mine"), "text").unwrap();
    let (_folder, here) = layout();
    let blob = Descriptor::new(media_type::OCI_LAYER, here.put_bytes(b"blob").unwrap(), 4);
    for path in [&file, &other] {
        let backend = LocalBackend::new(path, "latest");
        for error in [
            backend.load().unwrap_err(),
            publish(&backend, &[], Moment::End).unwrap_err(),
            backend.put_blob(&blob, &here).unwrap_err(),
        ] {
            let told = told(&error);
            assert!(told.contains(&path.display().to_string()), "{told}");
        }
    }
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 1);

    let (folder, images) = layout();
    let config = Descriptor::new(media_type::OCI_CONFIG, images.put_bytes(b"{}").unwrap(), 2);
    let bytes = Manifest::new(config, Vec::new()).to_bytes();
    let digest = images.put_bytes(&bytes).unwrap();
    let image = Descriptor::new(media_type::OCI_MANIFEST, digest, bytes.len() as u64);
    images.tag("latest", &image).unwrap();
    let error = publish(&LocalBackend::new(folder.path(), "latest"), &[], Moment::End).unwrap_err();
    assert!(matches!(error, BackendError::Options(_)), "{error:?}");
    // An image may live beside a cache.
    let backend = LocalBackend::new(folder.path(), "cache");
    publish(&backend, &[put(&backend, &here, b"another")], Moment::End).unwrap();
    backend.rewrite(&|_: &[Vec<u8>]| document(&BTreeSet::new())).unwrap();
    assert_eq!(images.read_blob(&image).unwrap(), bytes);
}

#[test]
fn pruning_removes_what_is_not_named_any_more() {
    let (folder, there) = layout();
    let backend = LocalBackend::new(folder.path(), "latest");
    let (_folder, here) = layout();
    let blobs: Vec<_> = [&b"keep"[..], b"drop it"].iter().map(|bytes| put(&backend, &here, bytes)).collect();
    publish(&backend, &blobs, Moment::End).unwrap();
    put(&backend, &here, b"somebody is at work");
    put(&backend, &here, b"nobody's");
    let old = SystemTime::now() - Duration::from_hours(2);
    let file = std::fs::File::open(there.blob_path(&Digest::of(b"nobody's"))).unwrap();
    file.set_modified(old).unwrap();

    let kept: BTreeSet<_> = [line(&blobs[0])].into();
    let removed = backend.rewrite(&|_: &[Vec<u8>]| document(&kept)).unwrap();
    // Two blobs, the old manifest and its config.
    assert_eq!(removed.blobs, 4);
    assert_eq!(lines(&backend.load().unwrap()), kept);
    assert_eq!(blobs_of(folder.path()), 4);
    assert!(there.has_blob(&Digest::of(b"somebody is at work")));
}

#[test]
fn a_lost_blob_is_named_and_a_damaged_document_is_none() {
    let (folder, there) = layout();
    let backend = LocalBackend::new(folder.path(), "latest");
    let (_folder, here) = layout();
    let blob = put(&backend, &here, b"blob");
    publish(&backend, std::slice::from_ref(&blob), Moment::Midway).unwrap();
    std::fs::remove_file(there.blob_path(&blob.digest)).unwrap();
    let error = publish(&backend, &[], Moment::End).unwrap_err();
    assert!(
        matches!(&error, BackendError::MissingBlob { digest, .. } if *digest == blob.digest),
        "{error:?}"
    );

    let manifest = Layout::open_existing(folder.path()).unwrap().resolve("latest").unwrap().unwrap();
    std::fs::write(there.blob_path(&manifest.digest), "nonsense").unwrap();
    assert!(backend.load().unwrap().is_empty());
    publish(&backend, &[], Moment::End).unwrap();
    assert_eq!(backend.load().unwrap().len(), 1);
}

#[test]
fn wrong_blobs_are_refused() {
    let (folder, there) = layout();
    let backend = LocalBackend::new(folder.path(), "latest");
    let blob = Descriptor::new(media_type::OCI_LAYER, Digest::of(b"right"), 5);
    for wrong in [&b"wrong"[..], b"right and more", b"rig"] {
        std::fs::write(there.blob_path(&blob.digest), wrong).unwrap();
        let (_folder, here) = layout();
        let error = backend.fetch_blob(&blob, &here).unwrap_err();
        assert!(matches!(error, BackendError::WrongBlob { .. }), "{error:?}");
        assert!(!here.has_blob(&blob.digest));
    }
}
