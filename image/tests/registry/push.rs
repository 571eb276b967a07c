//! Pushing, to registries with manners of their own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use kairn_image::Digest;
use kairn_image::registry::{Error, PushedBlob};

use crate::server::{Reply, Request, Server};
use crate::{Image, descriptor, layout, plain_client, reference};

/// What a test registry does not do like others.
#[derive(Clone, Copy, Default)]
struct Manners {
    /// Status of an attempt to mount.
    mount: u16,
    /// Status of a blob that comes whole.
    whole: u16,
    /// How many pieces are lost on the way.
    lost_pieces: usize,
}

/// A registry that takes blobs, and what it has got.
fn registry(manners: Manners) -> (Server, Arc<Mutex<Vec<u8>>>) {
    let stored = Arc::new(Mutex::new(Vec::new()));
    let got = Arc::clone(&stored);
    let lost = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let session =
            |status: u16| Reply::new(status).header("location", "/v2/app/blobs/uploads/7?state=a%2Fb&n=1");
        let mut got = got.lock().unwrap();
        match (request.method.as_str(), request.path.as_str()) {
            ("HEAD", _) => Reply::new(404),
            ("POST", _) if request.query.contains("mount=") && manners.mount != 0 => session(manners.mount),
            ("POST", _) => {
                got.clear();
                session(202).header("oci-chunk-min-length", "17000000")
            }
            ("PATCH", _) if lost.fetch_add(1, Ordering::Relaxed) < manners.lost_pieces => Reply::new(500),
            ("PATCH", _) => {
                let expected = format!("{}-{}", got.len(), got.len() + request.body.len() - 1);
                if request.header("content-range") != expected || !request.query.contains("state=a%2Fb") {
                    return Reply::new(416);
                }
                got.extend_from_slice(&request.body);
                session(202).header("range", format!("0-{}", got.len() - 1))
            }
            ("PUT", _) if !request.query.starts_with("state=a%2Fb&n=1&digest=sha256%3A") => Reply::new(400),
            ("PUT", _) if got.is_empty() && manners.whole != 0 => {
                Reply::error(manners.whole, "SIZE", "too big")
            }
            ("PUT", _) => {
                got.extend_from_slice(&request.body);
                Reply::new(201)
            }
            _ => Reply::new(204),
        }
    });
    (server, stored)
}

fn methods(requests: &[Request]) -> String {
    requests.iter().map(|request| request.method.as_str()).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_blob_goes_the_way_that_the_registry_takes() {
    let content = Image::new().layer.repeat(30);
    let blob = descriptor("x", &content);
    let (_folder, layout) = layout();
    layout.put_bytes(&content).unwrap();
    for (name, manners, mount, pushed, expected) in [
        ("whole", Manners::default(), None, PushedBlob::Uploaded, "HEAD POST PUT"),
        (
            "mounted",
            Manners { mount: 201, ..Manners::default() },
            Some("base"),
            PushedBlob::Mounted,
            "HEAD POST",
        ),
        (
            "not mounted",
            Manners { mount: 202, ..Manners::default() },
            Some("base"),
            PushedBlob::Uploaded,
            "HEAD POST PUT",
        ),
        (
            "no mounts",
            Manners { mount: 405, ..Manners::default() },
            Some("base"),
            PushedBlob::Uploaded,
            "HEAD POST POST PUT",
        ),
        (
            "mount forbidden",
            Manners { mount: 403, ..Manners::default() },
            Some("base"),
            PushedBlob::Uploaded,
            "HEAD POST POST PUT",
        ),
        (
            "from itself",
            Manners { mount: 201, ..Manners::default() },
            Some("app"),
            PushedBlob::Uploaded,
            "HEAD POST PUT",
        ),
        (
            "in pieces",
            Manners { whole: 413, ..Manners::default() },
            None,
            PushedBlob::Uploaded,
            "HEAD POST PUT POST PATCH PATCH PATCH PUT",
        ),
        (
            "lost pieces",
            Manners { whole: 405, lost_pieces: 1, ..Manners::default() },
            None,
            PushedBlob::Uploaded,
            "HEAD POST PUT POST PATCH POST PATCH PATCH PATCH PUT",
        ),
        (
            "lost whole",
            Manners { whole: 503, ..Manners::default() },
            None,
            PushedBlob::Uploaded,
            "HEAD POST PUT POST PUT POST PATCH PATCH PATCH PUT",
        ),
    ] {
        let (server, stored) = registry(manners);
        let result =
            plain_client().push_blob(&layout, &blob, &reference(&server.host(), "app:1"), mount).unwrap();
        assert_eq!(result, pushed, "{name}");
        assert_eq!(methods(&server.requests()), expected, "{name}");
        if pushed == PushedBlob::Uploaded {
            assert!(*stored.lock().unwrap() == content, "{name}");
        }
    }
}

#[test]
fn a_blob_that_is_there_is_not_sent() {
    let server = Server::start(|_| Reply::new(200));
    let (_folder, layout) = layout();
    let blob = descriptor("x", b"not even here");
    let target = reference(&server.host(), "app:1");
    assert_eq!(plain_client().push_blob(&layout, &blob, &target, None).unwrap(), PushedBlob::Existed);
    assert!(plain_client().blob_is_there(&blob, &target, None).unwrap());

    for (mount, is_there, expected) in
        [(201, true, "HEAD POST"), (202, false, "HEAD POST DELETE"), (405, false, "HEAD POST")]
    {
        let (server, _) = registry(Manners { mount, ..Manners::default() });
        let target = reference(&server.host(), "app:1");
        assert_eq!(plain_client().blob_is_there(&blob, &target, Some("base")).unwrap(), is_there);
        assert_eq!(methods(&server.requests()), expected);
        let mount = &server.requests()[1].query;
        assert_eq!(*mount, format!("mount={}&from=base", blob.digest));
    }
}

#[test]
fn what_cannot_be_sent_is_an_error() {
    let (_folder, layout) = layout();
    let content = b"content";
    layout.put_bytes(content).unwrap();
    let blob = descriptor("x", content);
    let (server, _) = registry(Manners { whole: 413, lost_pieces: 99, ..Manners::default() });
    let error =
        plain_client().push_blob(&layout, &blob, &reference(&server.host(), "app:1"), None).unwrap_err();
    assert!(error.to_string().contains("answered 500"), "{error}");
    assert!(server.requests().len() < 20, "{}", methods(&server.requests()));
    let (server, _) = registry(Manners::default());
    let target = reference(&server.host(), "app:1");
    let short = kairn_image::Descriptor { size: 3, ..blob.clone() };
    let error = plain_client().push_blob(&layout, &short, &target, None).unwrap_err();
    assert!(matches!(error, Error::Layout(_)), "{error}");
    let absent = descriptor("x", b"absent");
    assert!(matches!(plain_client().push_blob(&layout, &absent, &target, None), Err(Error::Layout(_))));
    for location in ["", "ftp://elsewhere/x", "file:///etc/passwd"] {
        let nowhere = Server::start(move |request| match request.method.as_str() {
            "HEAD" => Reply::new(404),
            _ => Reply::new(202).header(if location.is_empty() { "x" } else { "location" }, location),
        });
        let target = reference(&nowhere.host(), "app:1");
        let error = plain_client().push_blob(&layout, &blob, &target, None).unwrap_err();
        assert!(error.to_string().contains("no usable `Location`"), "{error}");
    }
}

#[test]
fn a_manifest_is_pushed_by_tag_or_digest() {
    let server = Server::start(|request| {
        Reply::new(201).header("docker-content-digest", Digest::of(&request.body).to_string())
    });
    let image = Image::new();
    let digest = Digest::of(&image.manifest);
    let target = reference(&server.host(), "team/app:1");
    for target in [target.clone(), target.with_digest(digest), target.pinned(digest)] {
        assert_eq!(plain_client().push_manifest(&image.manifest, "m/t", &target).unwrap(), digest);
    }
    let by_digest = format!("PUT /v2/team/app/manifests/{digest}");
    assert_eq!(
        server.lines(),
        ["PUT /v2/team/app/manifests/1", "PUT /v2/team/app/manifests/1", by_digest.as_str()]
    );
    let request = &server.requests()[0];
    assert_eq!((request.header("content-type"), &request.body), ("m/t", &image.manifest));

    let liar =
        Server::start(|_| Reply::new(201).header("docker-content-digest", Digest::of(b"?").to_string()));
    let error = plain_client().push_manifest(b"{}", "m/t", &reference(&liar.host(), "app:1")).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    let strict = Server::start(|_| Reply::error(400, "MANIFEST_INVALID", "no such blob"));
    let error = plain_client().push_manifest(b"{}", "m/t", &reference(&strict.host(), "app:1")).unwrap_err();
    assert!(error.to_string().contains("MANIFEST_INVALID: no such blob"), "{error}");
}
