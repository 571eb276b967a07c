//! Resolving with as few requests as can be, and manifests as they are.

use kairn_image::registry::Error;
use kairn_image::{Digest, media_type};

use crate::server::{Reply, Server};
use crate::{Image, amd64, client, descriptor, layout, plain_client, reference};

fn of(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}

#[test]
fn what_is_known_is_not_asked_for_again() {
    let image = Image::new();
    let server = Server::start(|_| Reply::new(404));
    let good = Server::start({
        let image = image.clone();
        move |request| {
            let reply = image.answer(request);
            let digest = of(&reply.body);
            reply.header("docker-content-digest", digest)
        }
    });
    let (_folder, known) = layout();
    let client = plain_client();
    let tag = reference(&good.host(), "app:1");
    let first = client.resolve_known(&tag, &amd64(), &known).unwrap();
    let (manifest, config) = (of(&image.manifest), of(&image.config));
    assert_eq!(
        good.lines(),
        [
            "HEAD /v2/app/manifests/1".to_owned(),
            "GET /v2/app/manifests/1".to_owned(),
            format!("GET /v2/app/manifests/{manifest}"),
            format!("GET /v2/app/blobs/{config}"),
        ]
    );
    assert_eq!(client.resolve(&tag, &amd64()).unwrap(), first);

    let before = good.lines().len();
    assert_eq!(client.resolve_known(&tag, &amd64(), &known).unwrap(), first);
    assert_eq!(good.lines()[before..], ["HEAD /v2/app/manifests/1"]);

    let tag = reference(&server.host(), "app:1");
    for bytes in [&image.index, &image.manifest] {
        let pinned = tag.with_digest(Digest::of(bytes));
        assert_eq!(client.resolve_known(&pinned, &amd64(), &known).unwrap(), first);
    }
    assert!(server.lines().is_empty(), "{:?}", server.lines());

    // A damaged document is fetched again, and mended.
    let path = known.blob_path(&Digest::of(&image.manifest));
    std::fs::write(&path, image.manifest.to_ascii_uppercase()).unwrap();
    let before = good.lines().len();
    let tag = reference(&good.host(), "app:1");
    assert_eq!(client.resolve_known(&tag, &amd64(), &known).unwrap(), first);
    let manifest = format!("GET /v2/app/manifests/{manifest}");
    assert_eq!(good.lines()[before..], ["HEAD /v2/app/manifests/1".to_owned(), manifest]);
    assert_eq!(std::fs::read(path).unwrap(), image.manifest);
}

#[test]
fn a_head_that_says_nothing_is_made_up_for() {
    let image = Image::new();
    for status in [200, 400, 403, 404, 405, 500, 503] {
        let theirs = image.clone();
        let server = Server::start(move |request| match request.method.as_str() {
            "HEAD" => Reply::new(status),
            _ => theirs.answer(request),
        });
        let (_folder, known) = layout();
        let tag = reference(&server.host(), "app:1");
        let client = plain_client();
        for requests in [4, 2] {
            let before = server.lines().len();
            let resolved = client.resolve_known(&tag, &amd64(), &known).unwrap();
            assert_eq!(resolved.descriptor, descriptor(media_type::OCI_MANIFEST, &image.manifest));
            assert_eq!(server.lines().len() - before, requests, "{status}: {:?}", server.lines());
        }
    }
}

#[test]
fn a_head_that_lies_is_not_believed() {
    let image = Image::new();
    let (_folder, known) = layout();
    let layer = known.put_bytes(&image.layer).unwrap();
    let theirs = image.clone();
    let server = Server::start(move |request| match request.method.as_str() {
        "HEAD" => Reply::new(200).header("docker-content-digest", layer.to_string()),
        _ => theirs.answer(request),
    });
    let resolved =
        plain_client().resolve_known(&reference(&server.host(), "app:1"), &amd64(), &known).unwrap();
    assert_eq!(resolved.manifest_bytes, image.manifest);
}

#[test]
fn a_client_tries_as_often_as_it_is_told() {
    for tries in [1, 2] {
        let server = Server::start(|_| Reply::new(503));
        let error = client(|config| config.tries = tries)
            .manifest_bytes(&reference(&server.host(), "app:1"))
            .unwrap_err();
        assert!(matches!(error, Error::Status { status: 503, .. }), "{error}");
        assert_eq!(server.lines().len(), tries as usize);
    }
}

#[test]
fn tags_come_in_pages() {
    let server = Server::start(|request| {
        let reply = |tags: &[&str]| Reply::bytes(serde_json::json!({ "tags": tags }).to_string().as_bytes());
        match (request.path.as_str(), request.query.as_str()) {
            ("/v2/app/tags/list", query) if query.starts_with("n=") => reply(&["a", "b"])
                .header("link", r#"<http://elsewhere.example/v2/app/tags/list?last=b>; rel="next""#),
            ("/v2/app/tags/list", "last=b") => {
                reply(&["c"]).header("link", "</v2/app/tags/list?last=c>; rel=next")
            }
            ("/v2/app/tags/list", _) => Reply::bytes(br#"{"name":"app","tags":null}"#),
            ("/v2/refused/tags/list", _) => Reply::error(403, "DENIED", "no"),
            _ => Reply::error(404, "NAME_UNKNOWN", "no"),
        }
    });
    let client = plain_client();
    let tags = |name: &str, limit| client.tags(&reference(&server.host(), name), limit);
    assert_eq!(tags("app", 100).unwrap(), ["a", "b", "c"]);
    assert_eq!(tags("app", 1).unwrap(), ["a"]);
    assert_eq!(tags("app", 2).unwrap(), ["a", "b"]);
    assert!(tags("other", 100).unwrap().is_empty());
    assert!(matches!(tags("refused", 100), Err(Error::Unauthorized { .. })));
}
