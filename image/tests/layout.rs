//! Image layouts on disk.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is a failed test")]

use std::io::{Read, Write};

use kairn_image::layer::read_layer;
use kairn_image::layout::{Layout, LayoutError, REF_NAME};
use kairn_image::reference::Reference;
use kairn_image::{Descriptor, Digest, Index, Manifest, media_type};

fn files(folder: &std::path::Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_blob_is_there_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let temporary = tempfile::tempdir_in(folder.path()).unwrap();
    let layout = Layout::open(folder.path().join("l")).unwrap().with_temporary_folder(temporary.path());
    let good = Descriptor::new("x", Digest::of(b"content"), 7);

    let mut dropped = layout.blob_writer().unwrap();
    dropped.write_all(b"content").unwrap();
    assert_eq!((dropped.bytes(), files(temporary.path()).len()), (7, 1));
    drop(dropped);

    let lies = [
        Descriptor::new("x", Digest::of(b"other"), 7),
        Descriptor::new("x", Digest::of(b"content"), 8),
        Descriptor::new("x", Digest::of(b"content"), 0),
    ];
    for lie in &lies {
        let mut blob = layout.blob_writer().unwrap();
        blob.write_all(b"content").unwrap();
        let error = blob.finish(Some(lie)).unwrap_err();
        assert!(
            matches!(error, LayoutError::DigestMismatch { .. } | LayoutError::SizeMismatch { .. }),
            "{error}"
        );
    }
    assert!(files(temporary.path()).is_empty());
    assert!(files(&layout.root().join("blobs/sha256")).is_empty());
    assert!(!layout.has_blob(&good.digest));

    let mut blob = layout.blob_writer().unwrap();
    blob.write_all(b"content").unwrap();
    let written = blob.finish(Some(&good)).unwrap();
    assert_eq!((written.digest, written.size), (good.digest, 7));
    assert!(layout.has_blob(&good.digest) && files(temporary.path()).is_empty());
    assert_eq!(layout.read_blob(&good).unwrap(), b"content");
    assert_eq!(layout.put_bytes(b"content").unwrap(), good.digest);
}

#[test]
fn damage_on_disk_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::open(folder.path()).unwrap();
    let descriptor = Descriptor::new("x", layout.put_bytes(b"content").unwrap(), 7);
    for (damage, expected) in [("Content", "digest"), ("conten", "bytes"), ("content!", "bytes")] {
        std::fs::write(layout.blob_path(&descriptor.digest), damage).unwrap();
        let error = layout.read_blob(&descriptor).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        let mut reader = layout.open_verified(&descriptor).unwrap();
        assert!(reader.read_to_end(&mut Vec::new()).is_err(), "{damage}");
    }
}

#[test]
fn names_are_replaced_and_kept_by_other_processes() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::open(folder.path()).unwrap();
    let one = Descriptor::new(media_type::OCI_MANIFEST, Digest::of(b"1"), 1);
    let two = Descriptor::new(media_type::OCI_MANIFEST, Digest::of(b"2"), 1);
    layout.tag("a", &one).unwrap();
    layout.tag("b", &one).unwrap();
    layout.tag("a", &two).unwrap();
    assert_eq!(layout.index().unwrap().manifests.len(), 2);
    let found = Layout::open_existing(folder.path()).unwrap().resolve("a").unwrap().unwrap();
    assert_eq!(found.digest, two.digest);
    assert_eq!(found.annotations[REF_NAME], "a");
    assert_eq!(layout.resolve("c").unwrap(), None);

    std::thread::scope(|scope| {
        for n in 0..8 {
            let (layout, one) = (Layout::open(folder.path()).unwrap(), &one);
            scope.spawn(move || (0..10).for_each(|m| layout.tag(&format!("{n}-{m}"), one).unwrap()));
        }
    });
    assert_eq!(layout.index().unwrap().manifests.len(), 82);
}

#[test]
fn other_directories_are_no_layouts() {
    let folder = tempfile::tempdir().unwrap();
    for marker in [None, Some("{}"), Some("not json"), Some(r#"{"imageLayoutVersion":"2.0.0"}"#)] {
        if let Some(marker) = marker {
            std::fs::write(folder.path().join("oci-layout"), marker).unwrap();
        }
        assert!(
            matches!(Layout::open_existing(folder.path()), Err(LayoutError::NotALayout { .. })),
            "{marker:?}"
        );
    }
    assert!(matches!(Layout::open(folder.path()), Err(LayoutError::NotALayout { .. })));
}

#[test]
fn an_archive_holds_what_is_reached() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::open(folder.path()).unwrap();
    let put = |media_type: &str, bytes: &[u8]| {
        Descriptor::new(media_type, layout.put_bytes(bytes).unwrap(), bytes.len() as u64)
    };
    put("x", b"not reached");
    let config = put(media_type::OCI_CONFIG, b"{}");
    let layer = put(media_type::OCI_LAYER, &[0; 1024]);
    let manifest = put(
        media_type::OCI_MANIFEST,
        &Manifest::new(config.clone(), vec![layer.clone(), layer.clone()]).to_bytes(),
    );
    let elsewhere = Descriptor::new(media_type::OCI_MANIFEST, Digest::of(b"another platform"), 5);
    let index = put(media_type::OCI_INDEX, &Index::of(vec![manifest.clone(), elsewhere]).to_bytes());

    let archive = |of: &Descriptor| {
        let mut out = Vec::new();
        layout.write_archive(&mut out, &[("1".to_owned(), of.clone())]).map(|()| out)
    };
    let mut for_docker = Vec::new();
    let name: Reference = "x:1".parse().unwrap();
    layout.write_docker_archive(&mut for_docker, &[(name, manifest.clone())]).unwrap();
    let bytes = archive(&manifest).unwrap();
    assert!(bytes == archive(&manifest).unwrap());
    let paths = |bytes: &[u8]| {
        let mut paths = Vec::new();
        read_layer::<std::io::Error>(bytes, &mut |entry, content| {
            let path = String::from_utf8(entry.path).unwrap();
            if let Some(hex) = path.strip_prefix("blobs/sha256/") {
                let mut blob = Vec::new();
                content.read_to_end(&mut blob)?;
                assert_eq!(Digest::of(&blob).hex(), hex);
            }
            paths.push(path);
            Ok(())
        })
        .unwrap();
        paths
    };
    let blob = |descriptors: &[&Descriptor]| {
        let mut blobs: Vec<_> =
            descriptors.iter().map(|d| format!("blobs/sha256/{}", d.digest.hex())).collect();
        blobs.sort();
        blobs
    };
    let mut expected = vec!["blobs".to_owned(), "blobs/sha256".to_owned()];
    expected.extend(blob(&[&config, &layer, &manifest]));
    expected.extend(["index.json", "oci-layout"].map(str::to_owned));
    assert_eq!(paths(&bytes), expected);
    expected.insert(expected.len() - 1, "manifest.json".to_owned());
    assert_eq!(paths(&for_docker), expected);
    let text = String::from_utf8_lossy(&for_docker);
    assert!(text.contains(r#""RepoTags":["docker.io/library/x:1"]"#));
    assert!(text.contains(r#""io.containerd.image.name": "docker.io/library/x:1""#));

    let of_index = paths(&archive(&index).unwrap());
    assert_eq!(of_index[2..6], blob(&[&config, &layer, &manifest, &index]));

    std::fs::write(layout.blob_path(&layer.digest), [1; 1024]).unwrap();
    assert!(archive(&manifest).is_err());
}
