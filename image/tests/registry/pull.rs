//! Pulling, from registries that lie, break off and stutter.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kairn_image::registry::{Error, Mirror};
use kairn_image::{Digest, Index, Manifest, media_type};

use crate::server::{Reply, Request, Server};
use crate::{Image, amd64, client, descriptor, layout, partial, plain_client, reference, told};

#[test]
fn an_image_is_found_through_its_index() {
    let image = Image::new();
    let server = Server::start({
        let image = image.clone();
        move |request| image.answer(request)
    });
    let client = plain_client();
    let tag = reference(&server.host(), "app:1");
    let resolved = client.resolve(&tag, &amd64()).unwrap();
    assert_eq!(resolved.descriptor, descriptor(media_type::OCI_MANIFEST, &image.manifest));
    assert_eq!(
        (resolved.manifest_bytes, resolved.config_bytes),
        (image.manifest.clone(), image.config.clone())
    );
    assert_eq!(resolved.config.architecture, "amd64");
    let accept = server.requests()[0].header("accept").to_owned();
    assert!(
        accept.contains(media_type::OCI_INDEX) && accept.contains(media_type::DOCKER_MANIFEST),
        "{accept}"
    );

    let by_digest = tag.with_digest(Digest::of(&image.index));
    assert_eq!(client.resolve(&by_digest, &amd64()).unwrap().descriptor, resolved.descriptor);

    let error = client.resolve(&tag, &"linux/s390x".parse().unwrap()).unwrap_err();
    assert!(
        error.to_string().contains("no image for linux/s390x, but for linux/arm64, linux/amd64"),
        "{error}"
    );

    let error = client.resolve(&reference(&server.host(), "app:2"), &amd64()).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    assert!(error.to_string().contains("app:2"), "{error}");

    let (_folder, layout) = layout();
    client.fetch_blob(&tag, &image.layer(), &layout).unwrap();
    assert_eq!(layout.read_blob(&image.layer()).unwrap(), image.layer);
    let requests = server.requests().len();
    client.fetch_blob(&tag, &image.layer(), &layout).unwrap();
    assert_eq!(server.requests().len(), requests, "a blob that is there is not asked for");
}

/// A registry that is good but for the answers that `change` gives.
fn mostly_good(
    change: impl Fn(&Image, &Request) -> Option<Reply> + Send + Sync + 'static,
) -> (Image, Server) {
    let image = Image::new();
    let theirs = image.clone();
    let server =
        Server::start(move |request| change(&theirs, request).unwrap_or_else(|| theirs.answer(request)));
    (image, server)
}

#[test]
fn lies_are_seen() {
    type Lie = fn(&Image, &Request) -> Option<Reply>;
    fn at(request: &Request, bytes: &[u8]) -> bool {
        request.path.ends_with(&Digest::of(bytes).hex())
    }
    let other_manifest: Lie = |image, request| {
        let mut manifest = Manifest::from_bytes(&image.manifest).ok()?;
        manifest.annotations.insert("evil".into(), "yes".into());
        at(request, &image.manifest).then(|| Reply::bytes(&manifest.to_bytes()))
    };
    let same_length_manifest: Lie = |image, request| {
        let mut bytes = image.manifest.clone();
        let at_blank = bytes.iter().position(|b| *b == b' ')?;
        bytes[at_blank] = b'\t';
        at(request, &image.manifest).then(|| Reply::bytes(&bytes))
    };
    let other_config: Lie = |image, request| {
        let config = String::from_utf8(image.config.clone()).ok()?.replace("amd64", "amd46");
        at(request, &image.config).then(|| Reply::bytes(config.as_bytes()))
    };
    let long_config: Lie = |image, request| {
        let config = [image.config.as_slice(), b" "].concat();
        at(request, &image.config).then(|| Reply::bytes(&config))
    };
    let header_disagrees: Lie = |image, request| {
        let reply = image.answer(request).header("docker-content-digest", Digest::of(b"other").to_string());
        request.path.ends_with("/1").then_some(reply)
    };
    let huge_manifest: Lie =
        |_, request| request.path.ends_with("/1").then(|| Reply::bytes(&vec![b' '; 5 << 20]));
    let both_at_once: Lie = |image, request| {
        let mut value: serde_json::Value = serde_json::from_slice(&image.manifest).ok()?;
        value["manifests"] = serde_json::json!([]);
        request.path.ends_with("/1").then(|| Reply::bytes(value.to_string().as_bytes()))
    };
    let wrong_kind: Lie = |image, request| {
        let reply = Reply::bytes(&image.manifest).header("content-type", media_type::OCI_INDEX);
        request.path.ends_with("/1").then_some(reply)
    };
    let not_json: Lie = |_, request| request.path.ends_with("/1").then(|| Reply::bytes(b"<html>"));
    let an_artifact: Lie = |_, request| {
        let reply = Reply::bytes(b"{\"schemaVersion\":2,\"mediaType\":\"x/y\"}");
        request.path.ends_with("/1").then_some(reply)
    };
    let schema_1: Lie = |_, request| {
        request.path.ends_with("/1").then(|| Reply::bytes(b"{\"schemaVersion\":1,\"fsLayers\":[]}"))
    };
    let endless_indexes: Lie = |image, request| {
        let nested = Index::of(vec![descriptor(media_type::OCI_INDEX, &image.index)]).to_bytes();
        let deeper = Index::of(vec![descriptor(media_type::OCI_INDEX, &nested)]).to_bytes();
        if request.path.ends_with("/1") {
            Some(Reply::bytes(&deeper))
        } else {
            at(request, &nested).then(|| Reply::bytes(&nested))
        }
    };
    let cases: [(&str, Lie, &str); 12] = [
        ("another manifest", other_manifest, "instead of"),
        ("a manifest of the same length", same_length_manifest, "expected digest"),
        ("another config", other_config, "expected digest"),
        ("a longer config", long_config, "instead of"),
        ("a header for another manifest", header_disagrees, "expected digest"),
        ("a huge manifest", huge_manifest, "too large"),
        ("a manifest that is an index", both_at_once, "contradicts itself"),
        ("a manifest sent as an index", wrong_kind, "contradicts itself"),
        ("no JSON", not_json, "no valid document"),
        ("no image", an_artifact, "not an image"),
        ("schema 1", schema_1, "schema 1"),
        ("indexes in indexes", endless_indexes, "an index in an index"),
    ];
    for (name, lie, expected) in cases {
        let (_, server) = mostly_good(lie);
        let error = plain_client().resolve(&reference(&server.host(), "app:1"), &amd64()).expect_err(name);
        assert!(error.to_string().contains(expected), "{name}: {}", told(&error));
    }
}

#[test]
fn lying_blobs_leave_nothing() {
    for (name, change) in [
        ("other bytes", (|b| b[1000] ^= 1) as fn(&mut Vec<u8>)),
        ("too many", |b| b.push(0)),
        ("too few", |b| b.truncate(b.len() - 1)),
        ("none", Vec::clear),
    ] {
        let (image, server) = mostly_good(move |image, request| {
            let mut bytes = image.layer.clone();
            change(&mut bytes);
            request.path.contains("/blobs/").then(|| Reply::bytes(&bytes))
        });
        let (folder, layout) = layout();
        let error = plain_client()
            .fetch_blob(&reference(&server.host(), "app:1"), &image.layer(), &layout)
            .expect_err(name);
        assert!(
            matches!(error, Error::DigestMismatch { .. } | Error::SizeMismatch { .. }),
            "{name}: {error}"
        );
        assert!(!layout.has_blob(&image.layer().digest));
        assert_eq!(std::fs::read_dir(folder.path().join("blobs")).unwrap().count(), 1, "{name}");
        assert_eq!(server.requests().len(), 1, "{name}: asked again");
    }
}

#[test]
fn a_broken_connection_is_taken_up_where_it_broke() {
    let count = AtomicUsize::new(0);
    let (image, server) = mostly_good(move |image, request| {
        let reply = partial(&image.layer, request);
        let cuts = count.fetch_add(1, Ordering::Relaxed) < 12;
        let reply = if cuts { reply.cut(90_000) } else { reply };
        request.path.contains("/blobs/").then_some(reply)
    });
    let (_folder, layout) = layout();
    plain_client().fetch_blob(&reference(&server.host(), "app:1"), &image.layer(), &layout).unwrap();
    assert_eq!(layout.read_blob(&image.layer()).unwrap(), image.layer);
    let ranges: Vec<_> = server.requests().iter().map(|r| r.header("range").to_owned()).collect();
    assert_eq!(ranges.len(), 13);
    assert_eq!(ranges[..3], ["", "bytes=90000-", "bytes=180000-"]);
}

#[test]
fn a_registry_without_ranges_starts_over() {
    for status in [200, 206] {
        let count = AtomicUsize::new(0);
        let (image, server) = mostly_good(move |image, request| {
            let reply = Reply { status, ..Reply::bytes(&image.layer) };
            let reply =
                if status == 206 { reply.header("content-range", "bytes 0-1199999/1200000") } else { reply };
            let cuts = count.fetch_add(1, Ordering::Relaxed) < 2;
            let reply = if cuts { reply.cut(70_000) } else { reply };
            request.path.contains("/blobs/").then_some(reply)
        });
        let (_folder, layout) = layout();
        plain_client().fetch_blob(&reference(&server.host(), "app:1"), &image.layer(), &layout).unwrap();
        assert_eq!(server.requests().len(), 3);
    }
}

#[test]
fn a_connection_that_brings_nothing_is_given_up() {
    let (image, server) = mostly_good(|image, request| {
        request.path.contains("/blobs/").then(|| Reply::bytes(&image.layer).cut(0))
    });
    let (_folder, layout) = layout();
    let error =
        plain_client().fetch_blob(&reference(&server.host(), "app:1"), &image.layer(), &layout).unwrap_err();
    assert!(matches!(error, Error::Interrupted { .. }), "{error}");
    assert_eq!(server.requests().len(), 5);
}

#[test]
fn a_blob_may_take_its_time_but_not_stop() {
    for (pause_ms, comes) in [(60, true), (1_000, false)] {
        let (image, server) = mostly_good(move |image, request| {
            let pause = Duration::from_millis(pause_ms);
            request.path.contains("/blobs/").then(|| Reply { pause, ..Reply::bytes(&image.layer) })
        });
        let client = client(|config| config.read_timeout = Duration::from_millis(300));
        let (_folder, layout) = layout();
        let result = client.fetch_blob(&reference(&server.host(), "app:1"), &image.layer(), &layout);
        assert_eq!(result.is_ok(), comes, "{result:?}");
        if let Err(error) = result {
            assert!(matches!(error, Error::Interrupted { .. } | Error::Unreachable { .. }), "{error}");
            assert!(told(&error).contains("timed out"), "{}", told(&error));
        }
    }
}

#[test]
fn an_empty_blob_is_a_blob() {
    let server = Server::start(|_| Reply::bytes(b""));
    let (_folder, layout) = layout();
    let empty = descriptor("x", b"");
    plain_client().fetch_blob(&reference(&server.host(), "app:1"), &empty, &layout).unwrap();
    assert!(layout.has_blob(&empty.digest));
}

#[test]
fn what_passes_is_tried_again() {
    for status in [429, 500, 502, 503, 504] {
        let count = AtomicUsize::new(0);
        let (_, server) = mostly_good(move |_, request| {
            let fails = request.path.ends_with("/1") && count.fetch_add(1, Ordering::Relaxed) < 3;
            fails.then(|| Reply::error(status, "BUSY", "later"))
        });
        plain_client().resolve(&reference(&server.host(), "app:1"), &amd64()).unwrap();
        assert_eq!(server.requests().len(), 4 + 2, "{status}");
    }
}

#[test]
fn what_does_not_pass_is_an_error_with_the_registrys_words() {
    for (status, requests) in [(500, 5), (429, 5), (418, 1), (400, 1)] {
        let server = Server::start(move |_| Reply::error(status, "TEAPOT", "short and\u{7} stout"));
        let error = plain_client().resolve(&reference(&server.host(), "app:1"), &amd64()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("answered {status}")), "{text}");
        assert!(text.contains("(TEAPOT: short and stout)") && text.contains("manifests/1"), "{text}");
        assert_eq!(server.requests().len(), requests);
    }
}

#[test]
fn retry_after_is_obeyed_within_bounds() {
    for (seconds, least_ms, most_ms) in
        [("0", 0, 250), ("1", 300, 2_000), ("86400", 300, 2_000), ("soon", 0, 250)]
    {
        let count = AtomicUsize::new(0);
        let (_, server) = mostly_good(move |_, request| {
            let fails = request.path.ends_with("/1") && count.fetch_add(1, Ordering::Relaxed) == 0;
            fails.then(|| Reply::new(429).header("retry-after", seconds))
        });
        let start = Instant::now();
        plain_client().resolve(&reference(&server.host(), "app:1"), &amd64()).unwrap();
        let waited = start.elapsed().as_millis();
        assert!((least_ms..most_ms).contains(&waited), "{seconds}: {waited} ms");
    }
}

#[test]
fn mirrors_come_first_and_are_passed_over_when_they_fail_or_lie() {
    let (image, origin) = mostly_good(|_, _| None);
    let (_, good) = mostly_good(|_, _| None);
    let (_, liar) = mostly_good(|image, request| {
        let is_layer = request.path.ends_with(&Digest::of(&image.layer).hex());
        let is_manifest = request.path.ends_with(&Digest::of(&image.manifest).hex());
        (is_layer || is_manifest).then(|| Reply::bytes(b"{}"))
    });
    let empty = Server::start(|_| Reply::new(404));
    let broken = Server::start(|_| Reply::new(500));
    let closed = format!("127.0.0.1:{}", crate::server::closed_port());
    let mirror = |endpoint: String| Mirror { registry: origin.host(), endpoint };
    let tag = reference(&origin.host(), "team/app:1");

    let bad = [liar.host(), empty.host(), broken.host(), closed];
    let with_bad = client(|config| config.mirrors = bad.iter().cloned().map(mirror).collect());
    let resolved = with_bad.resolve(&tag, &amd64()).unwrap();
    assert_eq!(resolved.descriptor.digest, Digest::of(&image.manifest));
    let (_folder, target) = layout();
    with_bad.fetch_blob(&tag, &image.layer(), &target).unwrap();
    for server in [&liar, &empty, &broken] {
        assert!(server.lines().iter().any(|line| line.contains("/blobs/")), "a mirror was not asked");
    }
    assert!(origin.requests().iter().all(|request| request.query.is_empty()));

    let asked = origin.requests().len();
    let with_good = client(|config| config.mirrors = vec![mirror(format!("http://{}/proxy/x", good.host()))]);
    with_good.resolve(&tag, &amd64()).unwrap();
    let (_folder, target) = layout();
    with_good.fetch_blob(&tag, &image.layer(), &target).unwrap();
    assert_eq!(origin.requests().len(), asked, "the registry itself was asked");
    let first = &good.requests()[0];
    assert_eq!(first.line(), "GET /v2/proxy/x/team/app/manifests/1");
    assert!(first.query.starts_with("ns=127.0.0.1"), "{}", first.query);
}

#[test]
fn the_registrys_own_error_is_told_when_all_fail() {
    let origin = Server::start(|_| Reply::error(404, "MANIFEST_UNKNOWN", "unknown"));
    let mirror = Server::start(|_| Reply::error(418, "TEAPOT", "x"));
    let mirrors = vec![Mirror { registry: origin.host(), endpoint: mirror.host() }];
    let client = client(|config| config.mirrors = mirrors);
    let error = client.resolve(&reference(&origin.host(), "app:1"), &amd64()).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}
