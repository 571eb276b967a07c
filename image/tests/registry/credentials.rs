//! Files of credentials, as Docker and Podman write them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use kairn_image::registry::auth::{CredentialError, CredentialFiles, CredentialSource as _, Credentials};

fn read(files: &[&str]) -> CredentialFiles {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..files.len()).map(|n| folder.path().join(format!("{n}.json"))).collect();
    for (path, text) in paths.iter().zip(files) {
        std::fs::write(path, text).unwrap();
    }
    CredentialFiles::read(paths).unwrap()
}

fn name_of(found: Option<Credentials>) -> String {
    match found {
        None => "nobody".to_owned(),
        Some(Credentials::Password { username, password }) => format!("{username}/{password}"),
        Some(Credentials::IdentityToken(token)) => format!("token {token}"),
    }
}

#[test]
fn entries_are_found() {
    // dTpw is u:p, dTpwOnE= is u:p:q.
    let docker = r#"{ "auths": {
        "https://index.docker.io/v1/": { "auth": "dTpw" },
        "example.com:5000": { "auth": "dTpwOnE=" },
        "https://slash.example/v2/": { "username": "plain", "password": "text" },
        "token.example": { "auth": "dTpw", "identitytoken": "abc" },
        "empty.example": {}
    }, "HttpHeaders": {}, "credHelpers": null }"#;
    let podman = r#"{ "auths": {
        "quay.io": { "auth": "aG9zdDpw" },
        "quay.io/team": { "auth": "dGVhbTpw" },
        "quay.io/team/app": { "auth": "YXBwOnA=" },
        "empty.example": { "auth": "bGF0ZTpw" },
        "docker.io/team": { "auth": "aHViOnA=" }
    } }"#;
    let files = read(&[docker, "", podman]);
    for (registry, repository, expected) in [
        ("docker.io", "library/debian", "u/p"),
        ("example.com:5000", "a", "u/p:q"),
        ("example.com", "a", "nobody"),
        ("slash.example", "a", "plain/text"),
        ("token.example", "a", "token abc"),
        ("empty.example", "a", "late/p"),
        ("quay.io", "other", "host/p"),
        ("quay.io", "team/other", "team/p"),
        ("quay.io", "team/app", "app/p"),
        ("quay.io", "team/app/more", "app/p"),
        ("quay.io", "team/apple", "team/p"),
        ("quay.io", "teammates/app", "host/p"),
        ("nowhere.example", "a", "nobody"),
    ] {
        assert_eq!(name_of(files.find(registry, repository).unwrap()), expected, "{registry}/{repository}");
    }
    assert!(!format!("{files:?}").contains("dTpw"), "{files:?}");
}

#[test]
fn broken_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    for text in ["{", "3", r#"{"auths":[]}"#] {
        std::fs::write(&path, text).unwrap();
        let error = CredentialFiles::read([path.clone()]).unwrap_err();
        assert!(matches!(error, CredentialError::File { .. }) && error.to_string().contains("config.json"));
    }
    for auth in ["!!", "bm9jb2xvbg=="] {
        let files = read(&[&format!(r#"{{"auths":{{"a.example":{{"auth":"{auth}"}}}}}}"#)]);
        let error = files.find("a.example", "x").unwrap_err().to_string();
        assert!(error.contains("a.example") && !error.contains(auth), "{error}");
        assert!(files.find("b.example", "x").unwrap().is_none());
    }
    assert!(
        CredentialFiles::read([folder.path().join("config.json/below")])
            .unwrap()
            .places()
            .contains("(absent)")
    );
}

/// Helpers are looked up in `PATH`, which a test must not change for the others: it runs itself once more.
#[test]
fn helpers_are_asked() {
    if std::env::var_os("KAIRN_TEST_HELPERS").is_some() {
        return ask_helpers();
    }
    let folder = tempfile::tempdir().unwrap();
    helper(
        folder.path(),
        "good",
        "read host; echo \"{\\\"ServerURL\\\":\\\"$host\\\",\\\"Username\\\":\\\"$host\\\",\\\"Secret\\\":\\\"s\\\"}\"",
    );
    helper(folder.path(), "token", "echo '{\"Username\":\"<token>\",\"Secret\":\"t\"}'");
    helper(folder.path(), "none", "echo 'credentials not found in native keychain'; exit 1");
    helper(folder.path(), "bad", "echo 'the vault is locked'; exit 1");
    helper(folder.path(), "odd", "echo 'secret, but no JSON'");
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["credentials::helpers_are_asked", "--exact", "--nocapture"])
        .env("PATH", path)
        .env("KAIRN_TEST_HELPERS", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn helper(folder: &Path, name: &str, script: &str) {
    let path = folder.join(format!("docker-credential-{name}"));
    std::fs::write(&path, format!("#!/bin/sh\n[ \"$1\" = get ] || exit 9\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn ask_helpers() {
    let files = read(&[
        r#"{ "credHelpers": { "good.example": "good", "token.example": "token", "bad.example": "bad",
             "odd.example": "odd", "missing.example": "missing", "sly.example": "../sly", "none.example": "none" },
             "auths": { "none.example": { "auth": "dTpw" }, "good.example": { "auth": "dTpw" } } }"#,
        r#"{ "credsStore": "good", "auths": { "https://index.docker.io/v1/": {} } }"#,
    ]);
    for (registry, expected) in [
        ("good.example", "good.example/s"),
        ("token.example", "token t"),
        ("none.example", "u/p"),
        ("docker.io", "https://index.docker.io/v1//s"),
        ("other.example", "other.example/s"),
    ] {
        assert_eq!(name_of(files.find(registry, "app").unwrap()), expected, "{registry}");
    }
    for (registry, expected) in [
        ("bad.example", "the vault is locked"),
        ("odd.example", "not the JSON"),
        ("missing.example", "cannot be started"),
        ("sly.example", "slash"),
    ] {
        let error = files.find(registry, "app").unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains("secret, but"), "{error}");
    }
}
