//! Reaching hosts: TLS, plain HTTP, and nobody there.

use std::path::PathBuf;

use kairn_image::registry::{Error, Mirror};

use crate::server::{CERTIFICATE, Reply, Server, closed_port};
use crate::{Image, amd64, client, plain_client, reference, told};

#[test]
fn nobody_there_is_told_with_the_host() {
    let host = format!("127.0.0.1:{}", closed_port());
    let error = plain_client().resolve(&reference(&host, "app:1"), &amd64()).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    let text = told(&error);
    assert!(text.contains(&host) && text.contains("check its name"), "{text}");
    assert!(text.to_lowercase().contains("connection refused"), "{text}");
}

#[test]
fn an_insecure_host_may_have_any_certificate_or_none() {
    let image = Image::new();
    let (a, b) = (image.clone(), image);
    let tls = Server::start_tls(move |request| a.answer(request));
    let plain = Server::start(move |request| b.answer(request));
    for server in [&tls, &plain] {
        let client = client(|config| config.insecure = vec![server.host()]);
        for _ in 0..2 {
            client.resolve(&reference(&server.host(), "app:1"), &amd64()).unwrap();
        }
        assert_eq!(server.requests().iter().filter(|r| r.path.starts_with("/v2/")).count(), 6);
    }
}

/// A mirror's address says that it is TLS, so this is a verified connection to a loopback port.
#[test]
fn a_certificate_must_be_trusted() {
    let image = Image::new();
    let server = Server::start_tls(move |request| image.answer(request));
    let origin = Server::start(|_| Reply::new(404));
    let mirror = |host: &str| Mirror {
        registry: origin.host(),
        endpoint: format!("https://{host}:{}", server.port()),
    };
    let tag = reference(&origin.host(), "app:1");
    let with = |host: &str, certificates: Vec<PathBuf>| {
        client(|config| {
            config.mirrors = vec![mirror(host)];
            config.certificates = certificates;
        })
        .resolve(&tag, &amd64())
    };
    assert!(with("127.0.0.1", vec![]).is_err());
    assert!(server.requests().is_empty());
    with("127.0.0.1", vec![CERTIFICATE.into()]).unwrap();
    with("localhost", vec![CERTIFICATE.into()]).unwrap();
    assert!(with("127.0.0.2", vec![CERTIFICATE.into()]).is_err(), "the certificate is for another name");
}

#[test]
fn a_file_of_certificates_must_be_one() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "nothing here").unwrap();
    for path in [empty, folder.path().join("absent.pem")] {
        let client = client(|config| config.certificates = vec![path.clone()]);
        let error = client.resolve(&"registry.invalid/app:1".parse().unwrap(), &amd64()).unwrap_err();
        assert!(matches!(error, Error::Certificates { .. }), "{error}");
        assert!(told(&error).contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn a_proxy_is_used_but_for_the_exceptions() {
    let image = Image::new();
    let proxy = Server::start(move |request| image.answer(request));
    let host = "registry.invalid:80";
    let ask = |except: &str| {
        client(|config| {
            config.proxies.http = Some(format!("http://{}", proxy.host()));
            config.proxies.except = except.to_owned();
            config.mirrors =
                vec![Mirror { registry: "docker.io".to_owned(), endpoint: format!("http://{host}") }];
            config.insecure = vec!["docker.io".to_owned()];
        })
    };
    ask("").resolve(&"docker.io/team/app:1".parse().unwrap(), &amd64()).unwrap();
    assert!(proxy.lines()[0].contains("registry.invalid"), "{:?}", proxy.lines());
}

#[test]
fn a_redirect_to_plain_http_is_refused() {
    let plain = Server::start(|_| Reply::new(200));
    let place = plain.host();
    let server = Server::start_tls(move |_| Reply::new(307).header("location", format!("http://{place}/x")));
    let client = client(|config| config.insecure = vec![server.host()]);
    assert!(client.resolve(&reference(&server.host(), "app:1"), &amd64()).is_err());
    assert!(plain.requests().is_empty());
}
