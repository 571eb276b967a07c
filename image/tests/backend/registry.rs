//! A cache in a registry: Debian's `docker-registry`, and such as misbehave.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kairn_image::backend::registry::RegistryBackend;
use kairn_image::backend::{Backend, BackendError, Moment};
use kairn_image::{Descriptor, Digest, Manifest, Reference, media_type};

use crate::daemon::Registry;
use crate::server::{Reply, Server};
use crate::{
    blobs_go_there_and_back, client, document, layout, line, lines, nothing_is_lost, patient_client, publish,
    put, told,
};

fn backend(port: u16, name: &str) -> RegistryBackend {
    RegistryBackend::new(Arc::new(patient_client()), format!("127.0.0.1:{port}/{name}").parse().unwrap())
}

fn tags(port: u16, name: &str) -> Vec<String> {
    let repository: Reference = format!("127.0.0.1:{port}/{name}").parse().unwrap();
    client().tags(&repository, 1000).unwrap()
}

/// Changes the manifest of a tag.
fn change(port: u16, tag: &str, change: impl FnOnce(&mut Manifest)) {
    let reference: Reference = format!("127.0.0.1:{port}/{tag}").parse().unwrap();
    let mut manifest =
        Manifest::from_bytes(&client().manifest_bytes(&reference).unwrap().unwrap().bytes).unwrap();
    change(&mut manifest);
    client().push_manifest(&manifest.to_bytes(), media_type::OCI_MANIFEST, &reference).unwrap();
}

#[test]
fn a_tag_is_given_where_there_is_none() {
    let digest = Digest::of(b"");
    for (text, expected) in [
        ("a.example/b", "a.example/b:latest"),
        ("a.example:5000/b", "a.example:5000/b:latest"),
        ("a.example/b:c", "a.example/b:c"),
        (&format!("a.example/b@{digest}"), "a.example/b:latest"),
        (&format!("a.example/b:c@{digest}"), "a.example/b:c"),
    ] {
        let backend = RegistryBackend::new(Arc::new(client()), text.parse().unwrap());
        assert_eq!(backend.name(), expected);
    }
}

#[test]
fn nothing_is_lost_in_a_real_registry() {
    let Some(registry) = Registry::start() else { return };
    for name in ["team/cache", &format!("team/other:{}", "t".repeat(128))] {
        nothing_is_lost(|| Box::new(backend(registry.port, name)));
    }
}

#[test]
fn blobs_go_to_a_real_registry_and_back() {
    let Some(registry) = Registry::start() else { return };
    let backend = backend(registry.port, "team/cache");
    assert!(backend.load().unwrap().is_empty());
    blobs_go_there_and_back(&backend);
    assert_eq!(backend.repository().unwrap(), format!("127.0.0.1:{}/team/cache", registry.port));
}

#[test]
fn old_writers_are_removed_and_young_ones_stay() {
    let Some(registry) = Registry::start() else { return };
    let (_folder, layout) = layout();
    let open = || backend(registry.port, "cache:1");
    let mut blobs = Vec::new();
    for n in 0..3_u8 {
        let backend = open();
        blobs.push(put(&backend, &layout, &[n]));
        publish(&backend, &blobs[n as usize..], Moment::End).unwrap();
    }
    let is_writer = |tag: &String| tag.starts_with("1.w-");
    let writers: Vec<_> = tags(registry.port, "cache").into_iter().filter(is_writer).collect();
    assert_eq!(writers.len(), 3);
    for old in &writers[..2] {
        change(registry.port, &format!("cache:{old}"), |manifest| {
            let created = "org.opencontainers.image.created".to_owned();
            manifest.annotations.insert(created, "2020-01-01T00:00:00Z".to_owned());
        });
    }
    assert_eq!(lines(&open().load().unwrap()).len(), 3);
    publish(&open(), &blobs, Moment::End).unwrap();
    let left: Vec<_> = tags(registry.port, "cache").into_iter().filter(is_writer).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.contains(&writers[2]));
    assert_eq!(lines(&open().load().unwrap()), blobs.iter().map(line).collect());

    let kept: BTreeSet<_> = [line(&blobs[0])].into();
    let removed = open().rewrite(&|_: &[Vec<u8>]| document(&kept)).unwrap();
    assert_eq!((removed.documents, removed.blobs, removed.bytes), (1, 2, 2));
    assert_eq!(lines(&open().load().unwrap()), kept, "what was pruned does not come back");
    publish(&open(), &[], Moment::End).unwrap();
    assert_eq!(lines(&open().load().unwrap()), kept);
}

#[test]
fn a_lost_blob_is_named() {
    let Some(registry) = Registry::start() else { return };
    let (_folder, layout) = layout();
    let first = backend(registry.port, "cache");
    let blobs: Vec<_> = (0..3_u8).map(|n| put(&first, &layout, &[n])).collect();
    publish(&first, &blobs, Moment::End).unwrap();
    registry.lose(&blobs[1].digest.hex());
    let second = backend(registry.port, "cache");
    let error = publish(&second, &[], Moment::End).unwrap_err();
    let is_it = matches!(&error, BackendError::MissingBlob { digest, .. } if *digest == blobs[1].digest);
    assert!(is_it, "{error:?}");
    // Put again, all is well.
    put(&second, &layout, &[1]);
    publish(&second, &[], Moment::End).unwrap();
}

#[test]
fn an_image_is_not_overwritten() {
    let Some(registry) = Registry::start() else { return };
    let (_folder, layout) = layout();
    let backend = backend(registry.port, "app:1");
    let config = put(&backend, &layout, b"{}");
    let image =
        Manifest::new(Descriptor { media_type: media_type::OCI_CONFIG.to_owned(), ..config }, Vec::new());
    let name: Reference = backend.name().parse().unwrap();
    client().push_manifest(&image.to_bytes(), media_type::OCI_MANIFEST, &name).unwrap();
    for error in [backend.load().unwrap_err(), publish(&backend, &[], Moment::End).unwrap_err()] {
        assert!(
            matches!(error, BackendError::Options(_)) && error.to_string().contains("app:1"),
            "{error:?}"
        );
    }
    assert_eq!(client().manifest_bytes(&name).unwrap().unwrap().bytes, image.to_bytes());
}

#[test]
fn registries_that_do_not_work_are_errors_in_time() {
    let silent = || Reply { pause: Duration::from_secs(30), ..Reply::bytes(b"0123456789") };
    let servers = [
        Server::start(|_| Reply::error(500, "UNKNOWN", "a bad day")),
        Server::start(|_| Reply::bytes(b"another").cut(3)),
        Server::start(move |_| silent()),
    ];
    let (_folder, layout) = layout();
    layout.put_bytes(b"blob").unwrap();
    let blob = Descriptor::new(media_type::OCI_LAYER, Digest::of(b"blob"), 4);
    let other = Descriptor::new(media_type::OCI_LAYER, Digest::of(b"another"), 7);
    for server in &servers {
        let name = format!("{}/cache", server.host()).parse().unwrap();
        let backend = RegistryBackend::new(Arc::new(client()), name);
        let start = Instant::now();
        let errors = [
            backend.load().unwrap_err(),
            publish(&backend, &[], Moment::End).unwrap_err(),
            backend.fetch_blob(&other, &layout).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, BackendError::Place { .. }), "{}", told(&error));
        }
        assert!(!layout.has_blob(&other.digest));
        let _ = backend.put_blob(&blob, &layout);
        assert!(start.elapsed() < Duration::from_secs(25), "{:?}", start.elapsed());
    }
}

#[test]
fn wrong_blobs_are_refused() {
    let blob = Descriptor::new(media_type::OCI_LAYER, Digest::of(b"right"), 5);
    for wrong in [&b"wrong"[..], b"right and more", b"rig"] {
        let server = Server::start(move |_| Reply::bytes(wrong));
        let (_folder, layout) = layout();
        let error = backend(server.port(), "cache").fetch_blob(&blob, &layout).unwrap_err();
        assert!(matches!(error, BackendError::WrongBlob { .. }), "{}", told(&error));
        assert!(!layout.has_blob(&blob.digest));
        let left = std::fs::read_dir(layout.root().join("blobs")).unwrap().count();
        assert_eq!(left, 1, "something is left besides `sha256`");
    }
}
