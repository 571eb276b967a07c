//! A cache in GitHub Actions: the service as its protocol describes it, in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kairn_image::backend::gha::GhaBackend;
use kairn_image::backend::{Backend, BackendError, Moment};
use kairn_image::{Descriptor, Digest, media_type};
use serde_json::{Value, json};

use crate::server::{Reply, Request, Server};
use crate::{
    a_large_blob_goes_there_and_back, blobs_go_there_and_back, document, layout, line, lines,
    nothing_is_lost, publish, put, told,
};

const METHODS: &str = "/twirp/github.actions.results.api.v1.CacheService/";

#[derive(Default)]
struct Service {
    /// In the order in which they were reserved.
    entries: Vec<Entry>,
    blocks: BTreeMap<String, Vec<u8>>,
}

struct Entry {
    key: String,
    bytes: Vec<u8>,
    is_there: bool,
}

type Shared = Arc<Mutex<Service>>;

fn start() -> (Shared, Server) {
    let service = Shared::default();
    let theirs = Arc::clone(&service);
    let server = Server::start(move |request| answer(&mut theirs.lock().unwrap(), request));
    (service, server)
}

fn answer(service: &mut Service, request: &Request) -> Reply {
    let Some(method) = request.path.strip_prefix(METHODS) else { return store(service, request) };
    if request.header("authorization") != "Bearer open sesame" {
        return Reply::new(401);
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let key = body["key"].as_str().unwrap();
    assert_eq!(body["version"].as_str().unwrap().len(), 64);
    let at = service.entries.iter().position(|entry| entry.key == key);
    let address = |n: usize| format!("http://{}/store/{n}?sig=secret", request.header("host"));
    match (method, at) {
        ("CreateCacheEntry", None) => {
            service.entries.push(Entry { key: key.to_owned(), bytes: Vec::new(), is_there: false });
            json_reply(&json!({ "ok": true, "signed_upload_url": address(service.entries.len() - 1) }))
        }
        ("CreateCacheEntry", Some(_)) => {
            Reply { status: 409, ..json_reply(&json!({ "code": "already_exists" })) }
        }
        ("FinalizeCacheEntryUpload", Some(at)) => {
            let entry = &mut service.entries[at];
            entry.is_there = body["size_bytes"].as_str() == Some(&entry.bytes.len().to_string());
            json_reply(&json!({ "ok": entry.is_there, "entry_id": "1" }))
        }
        ("GetCacheEntryDownloadURL", _) => {
            let there = || service.entries.iter().enumerate().filter(|(_, entry)| entry.is_there);
            let prefix = body["restore_keys"][0].as_str().unwrap();
            let found = there().find(|(_, entry)| entry.key == key);
            let found = found.or_else(|| there().rfind(|(_, entry)| entry.key.starts_with(prefix)));
            json_reply(&match found {
                Some((at, entry)) => {
                    json!({ "ok": true, "signed_download_url": address(at), "matched_key": entry.key })
                }
                None => json!({ "ok": false, "signed_download_url": "", "matched_key": "" }),
            })
        }
        _ => Reply::new(400),
    }
}

/// Azure's part of it.
fn store(service: &mut Service, request: &Request) -> Reply {
    let at: usize = request.path.strip_prefix("/store/").unwrap().parse().unwrap();
    let query = request.query.replace("%3D", "=");
    assert!(query.contains("sig=secret") && request.header("authorization").is_empty());
    let id = query.split('&').find_map(|pair| pair.strip_prefix("blockid="));
    match (request.method.as_str(), id) {
        ("GET", _) => Reply::bytes(&service.entries[at].bytes),
        ("PUT", Some(id)) => {
            STANDARD.decode(id).unwrap();
            service.blocks.insert(format!("{at} {id}"), request.body.clone());
            Reply::new(201)
        }
        ("PUT", None) if query.contains("comp=blocklist") => {
            let list = String::from_utf8(request.body.clone()).unwrap();
            let ids = list.split("<Latest>").skip(1).map(|rest| rest.split('<').next().unwrap());
            service.entries[at].bytes =
                ids.flat_map(|id| service.blocks[&format!("{at} {id}")].clone()).collect();
            Reply::new(201)
        }
        ("PUT", None) => {
            assert_eq!(request.header("x-ms-blob-type"), "BlockBlob");
            service.entries[at].bytes.clone_from(&request.body);
            Reply::new(201)
        }
        _ => Reply::new(400),
    }
}

fn json_reply(value: &Value) -> Reply {
    Reply::bytes(value.to_string().as_bytes()).header("content-type", "application/json")
}

fn backend(server: &Server) -> GhaBackend {
    let url = format!("http://{}/", server.host());
    let variables = |name: &str| match name {
        "ACTIONS_RESULTS_URL" => Some(url.clone()),
        "ACTIONS_RUNTIME_TOKEN" => Some("open sesame".to_owned()),
        _ => None,
    };
    GhaBackend::new(&BTreeMap::new(), &variables).unwrap()
}

#[test]
fn nothing_is_lost_in_github() {
    let (service, server) = start();
    nothing_is_lost(|| Box::new(backend(&server)));
    let service = service.lock().unwrap();
    let documents = service.entries.iter().filter(|entry| entry.key.starts_with("kairn-kairn-index-0"));
    assert!(documents.count() >= 9);
}

#[test]
fn blobs_go_to_github_and_back() {
    let (service, server) = start();
    let backend = backend(&server);
    assert!(backend.load().unwrap().is_empty());
    blobs_go_there_and_back(&backend);
    a_large_blob_goes_there_and_back(&backend);
    assert_eq!(service.lock().unwrap().blocks.len(), 2, "in two blocks");
}

#[test]
fn names_that_dead_jobs_took_are_gone_around() {
    let (service, server) = start();
    let backend = backend(&server);
    let (_folder, here) = layout();
    let reserve = |key: String| {
        service.lock().unwrap().entries.push(Entry { key, bytes: Vec::new(), is_there: false });
    };
    reserve(format!("kairn-blob-sha256-{}", Digest::of(b"blob").hex()));
    reserve("kairn-kairn-index-000001".to_owned());
    let blob = put(&backend, &here, b"blob");
    let (_folder, there) = layout();
    backend.fetch_blob(&blob, &there).unwrap();
    publish(&backend, std::slice::from_ref(&blob), Moment::Midway).unwrap();
    assert!(backend.load().unwrap().is_empty(), "midway nothing is written at once");
    publish(&backend, std::slice::from_ref(&blob), Moment::End).unwrap();
    assert_eq!(lines(&backend.load().unwrap()), [line(&blob)].into());
    let error = backend.rewrite(&|_: &[Vec<u8>]| document(&[].into())).unwrap_err();
    assert!(matches!(error, BackendError::Options(_)), "{error:?}");
}

#[test]
fn a_document_that_ends_late_is_found() {
    let (service, server) = start();
    let (_folder, here) = layout();
    let one = backend(&server);
    let blobs: Vec<_> = (0..2_u8).map(|n| put(&one, &here, &[n])).collect();
    publish(&one, &blobs[..1], Moment::End).unwrap();
    publish(&one, &blobs[1..], Moment::End).unwrap();
    // The second was reserved first, so the first is taken for the newest.
    service.lock().unwrap().entries.reverse();
    assert_eq!(lines(&backend(&server).load().unwrap()).len(), 2);
}

#[test]
fn wrong_blobs_are_refused() {
    let blob = Descriptor::new(media_type::OCI_LAYER, Digest::of(b"right"), 5);
    for wrong in [&b"wrong"[..], b"right and more", b"rig"] {
        let (service, server) = start();
        service.lock().unwrap().entries.push(Entry {
            key: format!("kairn-blob-sha256-{}", blob.digest.hex()),
            bytes: wrong.to_vec(),
            is_there: true,
        });
        let (_folder, here) = layout();
        let error = backend(&server).fetch_blob(&blob, &here).unwrap_err();
        assert!(matches!(error, BackendError::WrongBlob { .. }), "{}", told(&error));
        assert!(!here.has_blob(&blob.digest));
    }
}

fn are_errors(server: &Server, limit: Duration) {
    let backend = backend(server);
    let (_folder, here) = layout();
    let start = Instant::now();
    let blob = Descriptor::new(media_type::OCI_LAYER, here.put_bytes(b"another").unwrap(), 7);
    let (_folder, there) = layout();
    let errors = [
        backend.load().unwrap_err(),
        publish(&backend, &[], Moment::End).unwrap_err(),
        backend.put_blob(&blob, &here).unwrap_err(),
        backend.fetch_blob(&blob, &there).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, BackendError::Place { .. }), "{}", told(&error));
        let told = told(&error);
        assert!(!told.contains("sesame") && !told.contains("sig="), "{told}");
    }
    assert!(!there.has_blob(&blob.digest));
    assert!(start.elapsed() < limit, "{:?}", start.elapsed());
}

#[test]
fn a_service_that_does_not_work_is_an_error() {
    are_errors(&Server::start(|_| Reply::new(500)), Duration::from_secs(20));
    are_errors(&Server::start(|_| Reply::new(401)), Duration::from_secs(20));
    are_errors(&Server::start(|_| Reply::bytes(b"{\"ok\":true}").cut(3)), Duration::from_secs(20));
    let broken_store = |request: &Request| match request.path.strip_prefix(METHODS) {
        Some("GetCacheEntryDownloadURL") => {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let url = format!("http://{}/store/1?sig=secret", request.header("host"));
            json_reply(
                &json!({ "ok": true, "matched_key": format!("{}9", body["key"].as_str().unwrap()), "signed_download_url": url }),
            )
        }
        _ => Reply::new(503),
    };
    let server = Server::start(broken_store);
    let (_folder, here) = layout();
    let blob = Descriptor::new(media_type::OCI_LAYER, Digest::of(b"another"), 7);
    for error in
        [backend(&server).load().unwrap_err(), backend(&server).fetch_blob(&blob, &here).unwrap_err()]
    {
        assert!(told(&error).contains("503") && !told(&error).contains("sig="), "{}", told(&error));
    }
}

#[test]
fn a_service_that_says_nothing_is_an_error() {
    let silent = || Reply { pause: Duration::from_mins(10), ..Reply::bytes(b"{\"ok\":true}") };
    are_errors(&Server::start(move |_| silent()), Duration::from_mins(5));
}

#[test]
fn options_are_checked() {
    let nothing = |_: &str| None;
    let cases: [(&[(&str, &str)], &str); 8] = [
        (&[("url_v2", "https://a"), ("token", "t"), ("scope", "a-index")], "no `-index`"),
        (&[("scopes", "x")], "no option `scopes`, but `url`, `url_v2`"),
        (&[], "`ACTIONS_RESULTS_URL`"),
        (&[("url_v2", "https://a")], "`ACTIONS_RUNTIME_TOKEN`"),
        (&[("url_v2", "https://a"), ("token", "t"), ("version", "1")], "version 2 only"),
        (&[("url_v2", "host:1"), ("token", "t")], "not a URL"),
        (&[("url_v2", "https://a"), ("token", "t\n")], "letters that no token has"),
        (&[("url_v2", "https://a"), ("token", "t"), ("timeout", "soon")], "`30s`"),
    ];
    for (given, expected) in cases {
        let given = given.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let error = GhaBackend::new(&given, &nothing).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}
