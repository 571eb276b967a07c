//! Being let in, and kept out.

use std::sync::atomic::{AtomicUsize, Ordering};

use kairn_image::registry::auth::{CredentialFiles, Credentials};
use kairn_image::registry::{Client, Error};

use crate::server::{Reply, Request, Server};
use crate::{Image, Known, amd64, client, descriptor, layout, password, plain_client, reference, told};

/// `me:open sesame`.
const BASIC: &str = "Basic bWU6b3BlbiBzZXNhbWU=";

/// A registry whose tokens name the scopes they are for, and which lets in by `lets_in`.
fn token_server(
    lets_in: impl Fn(&Request) -> bool + Send + Sync + 'static,
    token: fn(&str) -> String,
) -> Server {
    let image = Image::new();
    Server::start(move |request| {
        let realm = format!("http://{}/token", request.header("host"));
        if request.path == "/token" {
            if !lets_in(request) {
                return Reply::error(401, "UNAUTHORIZED", "who are you?");
            }
            let query = if request.method == "POST" {
                String::from_utf8_lossy(&request.body).into_owned()
            } else {
                request.query.clone()
            };
            let scopes: Vec<_> = query
                .split('&')
                .filter_map(|pair| pair.strip_prefix("scope="))
                .map(|scope| scope.replace("%3A", ":").replace("%2F", "/").replace("%2C", ","))
                .collect();
            return Reply::bytes(token(&scopes.join("+")).as_bytes());
        }
        let repository =
            request.path.trim_start_matches("/v2/").split(['/']).next().unwrap_or_default().to_owned();
        let needed = if request.method == "GET" { "pull" } else { "pull,push" };
        let held = request.header("authorization");
        if held
            .strip_prefix("Bearer ")
            .is_some_and(|t| t.split('+').any(|s| s == format!("repository:{repository}:{needed}")))
        {
            let other = Reply::new(if request.method == "HEAD" { 404 } else { 201 });
            return if request.method == "GET" { image.answer(request) } else { other };
        }
        Reply::error(401, "UNAUTHORIZED", "a token, please").header(
            "www-authenticate",
            format!(
                "Bearer realm=\"{realm}\",service=\"the service\",scope=\"repository:{repository}:pull\""
            ),
        )
    })
}

fn plain_token(scopes: &str) -> String {
    format!(r#"{{"token":"{scopes}","expires_in":300}}"#)
}

fn token_requests(server: &Server) -> Vec<Request> {
    server.requests().into_iter().filter(|request| request.path == "/token").collect()
}

#[test]
fn a_token_is_fetched_once_for_each_set_of_scopes() {
    let server = token_server(|request| request.header("authorization").is_empty(), plain_token);
    let client = plain_client();
    for _ in 0..3 {
        client.resolve(&reference(&server.host(), "app:1"), &amd64()).unwrap();
    }
    client.resolve(&reference(&server.host(), "other:1"), &amd64()).unwrap();
    client.blob_is_there(&descriptor("x", b"x"), &reference(&server.host(), "app:1"), None).unwrap();
    let queries: Vec<_> = token_requests(&server).into_iter().map(|request| request.query).collect();
    let query = |scope: &str| format!("service=the+service&scope=repository%3A{scope}");
    assert_eq!(queries, [query("app%3Apull"), query("other%3Apull"), query("app%3Apull%2Cpush")]);
    let refused = server
        .requests()
        .iter()
        .filter(|r| r.path != "/token" && r.header("authorization").is_empty())
        .count();
    assert_eq!(refused, 1, "the way in is remembered");
}

#[test]
fn a_password_goes_to_the_token_server_only() {
    let server = token_server(|request| request.header("authorization") == BASIC, plain_token);
    let client = client(|config| config.credentials = Box::new(password()));
    client.resolve(&reference(&server.host(), "app:1"), &amd64()).unwrap();
    assert!(token_requests(&server)[0].query.ends_with("&account=me"));
    for request in server.requests().iter().filter(|request| request.path != "/token") {
        assert!(!request.header("authorization").starts_with("Basic"));
    }
}

#[test]
fn an_identity_token_is_posted() {
    let server = token_server(
        |request| {
            let body = String::from_utf8_lossy(&request.body);
            request.method == "POST"
                && request.header("content-type") == "application/x-www-form-urlencoded"
                && [
                    "grant_type=refresh_token",
                    "refresh_token=s%2Fcret",
                    "client_id=kairn",
                    "service=the+service",
                ]
                .iter()
                .all(|part| body.split('&').any(|pair| pair == *part))
        },
        |scopes| format!(r#"{{"access_token":"{scopes}"}}"#),
    );
    let credentials = Known(Credentials::IdentityToken("s/cret".to_owned()));
    let client = client(|config| config.credentials = Box::new(credentials));
    client.resolve(&reference(&server.host(), "app:1"), &amd64()).unwrap();
}

#[test]
fn a_mount_asks_for_both_repositories() {
    let server = token_server(|_| true, plain_token);
    let client = plain_client();
    let blob = descriptor("x", b"x");
    assert!(client.blob_is_there(&blob, &reference(&server.host(), "app:1"), Some("base")).unwrap());
    let queries: Vec<_> = token_requests(&server).into_iter().map(|request| request.query).collect();
    let push = "service=the+service&scope=repository%3Aapp%3Apull%2Cpush";
    assert_eq!(queries, [push.to_owned(), format!("{push}&scope=repository%3Abase%3Apull")]);
}

#[test]
fn an_old_token_is_replaced() {
    static SERIAL: AtomicUsize = AtomicUsize::new(0);
    static USED: AtomicUsize = AtomicUsize::new(0);
    let image = Image::new();
    let server = Server::start(move |request| {
        if request.path == "/token" {
            let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
            return Reply::bytes(format!(r#"{{"token":"t{serial}","expires_in":3600}}"#).as_bytes());
        }
        // Every token does for one request.
        if request.header("authorization") == format!("Bearer t{}", USED.load(Ordering::Relaxed)) {
            USED.fetch_add(1, Ordering::Relaxed);
            return image.answer(request);
        }
        let realm = format!("Bearer realm=\"http://{}/token\"", request.header("host"));
        Reply::new(401).header("www-authenticate", realm)
    });
    plain_client().resolve(&reference(&server.host(), "app:1"), &amd64()).unwrap();
    assert_eq!(SERIAL.load(Ordering::Relaxed), 3);
}

fn basic_server() -> Server {
    let image = Image::new();
    Server::start(move |request| {
        if request.header("authorization") == BASIC {
            return image.answer(request);
        }
        Reply::error(401, "UNAUTHORIZED", "no").header("www-authenticate", "Basic realm=\"x\"")
    })
}

#[test]
fn basic_authentication_is_answered() {
    let server = basic_server();
    let client = client(|config| config.credentials = Box::new(password()));
    client.resolve(&reference(&server.host(), "app:1"), &amd64()).unwrap();
    let refused = server.requests().iter().filter(|r| r.header("authorization").is_empty()).count();
    assert_eq!(refused, 1);
}

fn refused(client: &Client, server: &Server) -> String {
    let error = client.resolve(&reference(&server.host(), "app:1"), &amd64()).unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    let text = format!("{} {error:?} {client:?}", told(&error));
    assert!(!text.contains("sesame") && !text.contains("bWU6"), "{text}");
    text
}

#[test]
fn whoever_is_kept_out_is_told_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("config.json");
    let files = CredentialFiles::read([absent]).unwrap();
    let anonymous = client(|config| config.credentials = Box::new(files));
    let server = basic_server();
    let text = refused(&anonymous, &server);
    assert!(text.contains(&format!("run `docker login {}`", server.host())), "{text}");
    assert!(text.contains("no credentials found in `") && text.contains("config.json` (absent)"), "{text}");
    assert!(text.contains("UNAUTHORIZED: no"), "{text}");

    let known = client(|config| config.credentials = Box::new(password()));
    for status in [401, 403] {
        let strict = Server::start(move |_| {
            Reply::error(status, "DENIED", "not you").header("www-authenticate", "Basic realm=\"x\"")
        });
        let text = refused(&known, &strict);
        assert!(text.contains("the credentials found in `/some/config.json` do not do"), "{text}");
        assert!(text.contains("DENIED: not you"), "{text}");
        assert!(strict.requests().len() <= 2);
    }
    let closed = token_server(|_| false, plain_token);
    assert!(refused(&known, &closed).contains("who are you?"));
    let unhelpful = Server::start(|_| Reply::new(401));
    refused(&known, &unhelpful);
    let narrow = token_server(|_| true, |_| plain_token("repository:elsewhere:pull"));
    assert!(refused(&known, &narrow).contains("a token, please"));
}

#[test]
fn bad_token_servers_are_errors() {
    for (answer, expected) in
        [("not json", "no token"), (r#"{"token":""}"#, "no token"), (r#"{"token":"a\r\nb: c"}"#, "no token")]
    {
        let server = token_server(
            |_| true,
            match answer {
                "not json" => |_| "not json".to_owned(),
                r#"{"token":""}"# => |_| r#"{"token":""}"#.to_owned(),
                _ => |_| r#"{"token":"a\r\nb: c"}"#.to_owned(),
            },
        );
        let error = plain_client().resolve(&reference(&server.host(), "app:1"), &amd64()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let server =
        Server::start(|_| Reply::new(401).header("www-authenticate", "Bearer realm=\"file:///etc/passwd\""));
    let error = plain_client().resolve(&reference(&server.host(), "app:1"), &amd64()).unwrap_err();
    assert!(error.to_string().contains("not https"), "{error}");
}

#[test]
fn credentials_do_not_follow_to_other_hosts() {
    let image = Image::new();
    let bytes = image.layer.clone();
    let storage = Server::start(move |_| Reply::bytes(&bytes));
    let place = storage.host();
    let server = Server::start(move |request| {
        if request.header("authorization") != BASIC {
            return Reply::new(401).header("www-authenticate", "Basic realm=\"x\"");
        }
        Reply::new(307).header("location", format!("http://{place}/bucket?signature=x"))
    });
    let client = client(|config| config.credentials = Box::new(password()));
    let (_folder, layout) = layout();
    client.fetch_blob(&reference(&server.host(), "app:1"), &Image::new().layer(), &layout).unwrap();
    assert_eq!(storage.requests()[0].header("authorization"), "");
}
