//! A cache in an object store: a small S3 in memory.
//!
//! Spec: Amazon S3 API reference: `PutObject`, `GetObject`, `HeadObject`, `DeleteObject`, `ListObjectsV2`,
//! `CreateMultipartUpload`, `UploadPart`, `CompleteMultipartUpload`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kairn_image::backend::object::{ObjectBackend, Variables};
use kairn_image::backend::{Backend, BackendError, Moment};
use kairn_image::{Descriptor, Digest, media_type};

use crate::server::{Reply, Request, Server};
use crate::{
    a_large_blob_goes_there_and_back, blobs_go_there_and_back, document, layout, line, lines,
    nothing_is_lost, publish, put, told,
};

/// Objects in an answer to a listing.
const PAGE: usize = 7;
const TODAY: &str = "Thu, 01 Jan 2099 00:00:00 GMT";

#[derive(Default)]
struct Bucket {
    objects: BTreeMap<String, Object>,
    /// By upload and number.
    parts: BTreeMap<(String, u32), Vec<u8>>,
    uploads: u32,
}

struct Object {
    bytes: Vec<u8>,
    modified: &'static str,
}

type Shared = Arc<Mutex<Bucket>>;

fn start() -> (Shared, Server) {
    start_for("AWS4-HMAC-SHA256 Credential=me/")
}

/// Starts a server that wants this at the beginning of the authorization.
fn start_for(authorization: &'static str) -> (Shared, Server) {
    let bucket = Shared::default();
    let theirs = Arc::clone(&bucket);
    let server = Server::start(move |request| {
        if !request.header("authorization").starts_with(authorization) {
            return Reply::new(403);
        }
        answer(&mut theirs.lock().unwrap(), request)
    });
    (bucket, server)
}

fn answer(bucket: &mut Bucket, request: &Request) -> Reply {
    let query: BTreeMap<_, _> = request
        .query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (key, decoded(value)))
        .collect();
    let Some(key) = request.path.strip_prefix("/bucket/").map(decoded) else {
        return list(bucket, &query);
    };
    let tag = |bytes: &[u8]| format!("\"{}\"", Digest::of(bytes).short());
    let number = query.get("partNumber").and_then(|text| text.parse().ok());
    match (request.method.as_str(), query.get("uploadId"), number) {
        ("PUT", Some(upload), Some(number)) => {
            bucket.parts.insert((upload.clone(), number), request.body.clone());
            Reply::new(200).header("etag", tag(&request.body))
        }
        ("PUT", ..) => {
            bucket.objects.insert(key, Object { bytes: request.body.clone(), modified: TODAY });
            Reply::new(200).header("etag", tag(&request.body))
        }
        ("POST", None, _) => {
            bucket.uploads += 1;
            xml(&format!(
                "<InitiateMultipartUploadResult><UploadId>u{}</UploadId></InitiateMultipartUploadResult>",
                bucket.uploads
            ))
        }
        ("POST", Some(upload), _) => {
            let parts = bucket.parts.iter().filter(|((of, _), _)| of == upload);
            let bytes: Vec<u8> = parts.flat_map(|(_, bytes)| bytes.clone()).collect();
            let tag = tag(&bytes);
            bucket.objects.insert(key, Object { bytes, modified: TODAY });
            xml(&format!("<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>"))
        }
        ("GET" | "HEAD", ..) => match bucket.objects.get(&key) {
            Some(object) => Reply::bytes(&object.bytes)
                .header("etag", tag(&object.bytes))
                .header("last-modified", object.modified),
            None => Reply::new(404),
        },
        ("DELETE", ..) => {
            bucket.objects.remove(&key);
            Reply::new(204)
        }
        _ => Reply::new(400),
    }
}

/// Takes the percent signs out of a part of a URL.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_at(2);
        decoded.push(char::from(u8::from_str_radix(code, 16).unwrap()));
        decoded.push_str(rest);
    }
    decoded
}

fn list(bucket: &Bucket, query: &BTreeMap<&str, String>) -> Reply {
    let text = |key: &str| query.get(key).cloned().unwrap_or_default();
    assert_eq!(text("list-type"), "2");
    let (prefix, after) = (text("prefix"), text("continuation-token"));
    let found = bucket.objects.iter().filter(|(key, _)| key.starts_with(&prefix) && **key > after);
    let found: Vec<_> = found.take(PAGE + 1).collect();
    let mut body = String::from("<ListBucketResult>");
    for (key, object) in found.iter().take(PAGE) {
        let modified = if object.modified == TODAY { "2099-01-01" } else { "2020-01-01" };
        write!(
            body,
            "<Contents><Key>{key}</Key><LastModified>{modified}T00:00:00.000Z</LastModified><Size>{}</Size></Contents>",
            object.bytes.len()
        )
        .unwrap();
    }
    if found.len() > PAGE {
        let token = found[PAGE - 1].0;
        write!(body, "<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>")
            .unwrap();
    }
    xml(&(body + "</ListBucketResult>"))
}

fn xml(body: &str) -> Reply {
    Reply::bytes(body.as_bytes()).header("content-type", "application/xml")
}

fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn backend(server: &Server, name: &str) -> ObjectBackend {
    let endpoint = format!("http://{}", server.host());
    let given = options(&[
        ("bucket", "bucket"),
        ("region", "eu-central-1"),
        ("endpoint_url", &endpoint),
        ("prefix", "team/"),
        ("name", name),
    ]);
    let variables = |name: &str| match name {
        "AWS_ACCESS_KEY_ID" => Some("me".to_owned()),
        "AWS_SECRET_ACCESS_KEY" => Some("open sesame".to_owned()),
        _ => None,
    };
    ObjectBackend::s3(&given, &variables).unwrap()
}

#[test]
fn nothing_is_lost_in_an_object_store() {
    let (bucket, server) = start();
    nothing_is_lost(|| Box::new(backend(&server, "kairn")));
    let keys: Vec<_> = bucket.lock().unwrap().objects.keys().cloned().collect();
    assert!(keys.iter().any(|key| key == "team/manifests/kairn/common.json.zst"), "{keys:?}");
    let blobs = keys.iter().filter(|key| key.starts_with("team/blobs/sha256/"));
    assert_eq!(blobs.count(), 25);
}

#[test]
fn blobs_go_to_an_object_store_and_back() {
    let (bucket, server) = start();
    let backend = backend(&server, "kairn");
    assert!(backend.load().unwrap().is_empty());
    blobs_go_there_and_back(&backend);
    a_large_blob_goes_there_and_back(&backend);
    assert_eq!(bucket.lock().unwrap().parts.len(), 3, "in three parts");
}

/// Google's store speaks the same with its XML API, where nobody signs for an emulator.
///
/// Spec: Cloud Storage XML API reference.
fn google(server: &Server) -> ObjectBackend {
    let endpoint = format!("http://{}", server.host());
    let given = options(&[("bucket", "bucket"), ("endpoint_url", &endpoint), ("prefix", "team/")]);
    ObjectBackend::gcs(&given, &|_| None).unwrap()
}

#[test]
fn blobs_go_to_googles_store_and_back() {
    let (bucket, server) = start_for("");
    let backend = google(&server);
    assert!(backend.load().unwrap().is_empty());
    blobs_go_there_and_back(&backend);
    a_large_blob_goes_there_and_back(&backend);
    assert_eq!(bucket.lock().unwrap().parts.len(), 3, "in three parts");
}

#[test]
fn nothing_is_lost_in_googles_store() {
    let (bucket, server) = start_for("");
    nothing_is_lost(|| Box::new(google(&server)));
    let keys: Vec<_> = bucket.lock().unwrap().objects.keys().cloned().collect();
    assert!(keys.iter().any(|key| key == "team/manifests/kairn/common.json.zst"), "{keys:?}");
}

#[test]
fn pruning_spares_what_other_caches_have() {
    let (bucket, server) = start();
    let (one, other) = (backend(&server, "one"), backend(&server, "other;one"));
    let (_folder, here) = layout();
    let blobs: Vec<_> = (0..4_u8).map(|n| put(&one, &here, &[n])).collect();
    publish(&one, &blobs[..3], Moment::End).unwrap();
    publish(&other, &blobs[2..3], Moment::End).unwrap();
    assert_eq!(lines(&other.load().unwrap()).len(), 3, "both names are read");
    for object in bucket.lock().unwrap().objects.values_mut() {
        object.modified = "Wed, 01 Jan 2020 00:00:00 GMT";
    }
    let fresh = put(&one, &here, b"somebody is at work");
    let kept = [line(&blobs[0])].into();
    let removed = one.rewrite(&|_: &[Vec<u8>]| document(&kept)).unwrap();
    assert_eq!((removed.documents, removed.blobs, removed.bytes), (1, 2, 2));
    assert_eq!(lines(&backend(&server, "one").load().unwrap()), kept);
    for (blob, is_there) in blobs.iter().zip([true, false, true, false]).chain([(&fresh, true)]) {
        assert_eq!(one.has_blob(blob).unwrap(), is_there);
    }
}

#[test]
fn a_lost_blob_is_named() {
    let (bucket, server) = start();
    let backend = backend(&server, "kairn");
    let (_folder, here) = layout();
    let blob = put(&backend, &here, b"blob");
    bucket.lock().unwrap().objects.clear();
    let error = publish(&backend, std::slice::from_ref(&blob), Moment::End).unwrap_err();
    assert!(
        matches!(&error, BackendError::MissingBlob { digest, .. } if *digest == blob.digest),
        "{error:?}"
    );
}

#[test]
fn wrong_blobs_are_refused() {
    let (bucket, server) = start();
    let backend = backend(&server, "kairn");
    let blob = Descriptor::new(media_type::OCI_LAYER, Digest::of(b"right"), 5);
    for wrong in [&b"wrong"[..], b"right and more", b"rig"] {
        let key = format!("team/blobs/sha256/{}", blob.digest.hex());
        bucket.lock().unwrap().objects.insert(key, Object { bytes: wrong.to_vec(), modified: TODAY });
        let (_folder, here) = layout();
        let error = backend.fetch_blob(&blob, &here).unwrap_err();
        assert!(matches!(error, BackendError::WrongBlob { .. }), "{}", told(&error));
        assert!(!here.has_blob(&blob.digest));
    }
}

fn are_errors(server: &Server, limit: Duration) {
    let backend = backend(server, "kairn");
    let (_folder, here) = layout();
    let blob = Descriptor::new(media_type::OCI_LAYER, Digest::of(b"another"), 7);
    let start = Instant::now();
    let errors = [
        backend.load().unwrap_err(),
        publish(&backend, &[], Moment::End).unwrap_err(),
        backend.fetch_blob(&blob, &here).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, BackendError::Place { .. }), "{}", told(&error));
        assert!(!told(&error).contains("sesame"));
    }
    assert!(!here.has_blob(&blob.digest));
    assert!(start.elapsed() < limit, "{:?}", start.elapsed());
}

#[test]
fn stores_that_do_not_work_are_errors() {
    are_errors(&Server::start(|_| Reply::new(500)), Duration::from_secs(20));
    are_errors(&Server::start(|_| Reply::new(403)), Duration::from_secs(20));
    let cut = || Reply::bytes(b"another").header("last-modified", TODAY).header("etag", "x").cut(3);
    are_errors(&Server::start(move |_| cut()), Duration::from_secs(30));
}

#[test]
fn stores_that_say_nothing_are_errors() {
    let silent = || Reply { pause: Duration::from_mins(10), ..Reply::bytes(b"another") };
    are_errors(&Server::start(move |_| silent()), Duration::from_mins(4));
}

type Open = fn(&BTreeMap<String, String>, Variables<'_>) -> Result<ObjectBackend, BackendError>;
/// How it is opened, the options, a part of the error.
type Case<'a> = (Open, &'a [(&'a str, &'a str)], &'a str);

#[test]
fn options_are_checked() {
    let nothing = |_: &str| None;
    let cases: [Case; 8] = [
        (
            ObjectBackend::s3,
            &[("bucket", "b"), ("buckett", "c")],
            "no option `buckett`, but `bucket`, `region`",
        ),
        (ObjectBackend::s3, &[("region", "r")], "needs the option `bucket`"),
        (ObjectBackend::s3, &[("bucket", "b"), ("endpoint_url", "host:1")], "not a URL of http"),
        (ObjectBackend::s3, &[("bucket", "b"), ("name", ";")], "`name` is a name"),
        (ObjectBackend::gcs, &[("bucket", "b"), ("region", "r")], "no option `region`"),
        (ObjectBackend::gcs, &[("bucket", "b"), ("service_account", "/nowhere")], "/nowhere"),
        (
            ObjectBackend::azblob,
            &[("account_url", "https://a.blob.core.windows.net")],
            "needs the option `container`",
        ),
        (ObjectBackend::azblob, &[("container", "c")], "needs the option `account_name`"),
    ];
    for (open, given, expected) in cases {
        let error = open(&options(given), &nothing).unwrap_err();
        assert!(matches!(error, BackendError::Options(_)), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let given = [
        ("account_url", "https://acc.blob.core.windows.net"),
        ("container", "c"),
        ("secret_access_key", "a2V5"),
    ];
    assert_eq!(ObjectBackend::azblob(&options(&given), &nothing).unwrap().name(), "azblob://acc/c");
}
