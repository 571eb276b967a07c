//! Configs and manifests as other tools write them.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is a failed test")]

use kairn_image::{Descriptor, Digest, ImageConfig, Index, Manifest, media_type};
use serde_json::{Value, json};

/// As `docker build` writes it, with all that the OCI spec leaves out, and with fields of the future.
fn docker_config() -> Value {
    json!({
        "architecture": "arm64", "variant": "v8", "os": "linux", "os.version": "1.2",
        "created": "2024-01-02T03:04:05.678901234Z",
        "docker_version": "20.10",
        "container_config": { "Cmd": ["/bin/sh"] },
        "moby.buildkit.buildinfo.v1": "eyJ9",
        "config": {
            "User": "1000:1000",
            "ExposedPorts": { "80/tcp": {}, "443/tcp": {} },
            "Env": ["PATH=/usr/bin", "A=b=c"],
            "Entrypoint": ["/entry"],
            "Cmd": ["run"],
            "Healthcheck": { "Test": ["CMD-SHELL", "true"], "Interval": 30_000_000_000_i64, "Retries": 3 },
            "ArgsEscaped": true,
            "Volumes": { "/data": {} },
            "WorkingDir": "/srv",
            "OnBuild": ["RUN true"],
            "Labels": { "b": "2", "a": "1" },
            "StopSignal": "SIGQUIT",
            "StopTimeout": 10,
            "Shell": ["/bin/bash", "-c"],
        },
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(b"layer")] },
        "history": [
            { "created": "2024-01-02T03:04:05Z", "created_by": "COPY . .", "comment": "buildkit.dockerfile.v0" },
            { "created_by": "CMD [\"run\"]", "empty_layer": true },
        ],
    })
}

#[test]
fn nothing_of_a_config_is_lost() {
    let original = docker_config();
    let config = ImageConfig::from_bytes(original.to_string().as_bytes()).unwrap();
    let bytes = config.to_bytes();
    assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), original);
    assert_eq!(ImageConfig::from_bytes(&bytes).unwrap(), config);
    assert_eq!(config.digest(), Digest::of(&bytes));
    assert!(!bytes.contains(&b'\n'));
}

#[test]
fn null_is_taken_for_nothing() {
    let config = ImageConfig::from_bytes(
        br#"{"architecture":"amd64","os":"linux","author":null,"created":null,"history":null,
            "config":{"User":null,"ExposedPorts":null,"Env":null,"Entrypoint":null,"Cmd":null,"Healthcheck":null,
                      "ArgsEscaped":null,"Volumes":null,"WorkingDir":null,"OnBuild":null,"Labels":null,
                      "StopSignal":null,"Shell":null},
            "rootfs":{"type":"layers","diff_ids":null}}"#,
    )
    .unwrap();
    let expected =
        ImageConfig { architecture: "amd64".to_owned(), os: "linux".to_owned(), ..ImageConfig::default() };
    assert_eq!(config, expected);
    let odd = br#"{"architecture":"amd64","os":"linux","config":null,"rootfs":{"type":"layers"},
        "history":[{"created_by":null,"empty_layer":null,"comment":null,"author":null}]}"#;
    let config = ImageConfig::from_bytes(odd).unwrap();
    assert_eq!(config.history.len(), 1);
    let empty =
        ImageConfig::from_bytes(br#"{"config":{"Healthcheck":{"Test":null,"Interval":null}}}"#).unwrap();
    assert_eq!(empty.config.healthcheck, Some(kairn_image::config::HealthConfig::default()));
}

#[test]
fn manifests_are_written_as_buildkit_writes_them() {
    let mut layer = Descriptor::new(media_type::OCI_LAYER_GZIP, Digest::of(b"l"), 3);
    layer.annotations.insert("b".to_owned(), "2".to_owned());
    layer.annotations.insert("a".to_owned(), "1".to_owned());
    let manifest = Manifest::new(Descriptor::new(media_type::OCI_CONFIG, Digest::of(b"c"), 2), vec![layer]);
    let text = String::from_utf8(manifest.to_bytes()).unwrap();
    let expected = format!(
        r#"{{
  "schemaVersion": 2,
  "mediaType": "application/vnd.oci.image.manifest.v1+json",
  "config": {{
    "mediaType": "application/vnd.oci.image.config.v1+json",
    "digest": "{}",
    "size": 2
  }},
  "layers": [
    {{
      "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
      "digest": "{}",
      "size": 3,
      "annotations": {{
        "a": "1",
        "b": "2"
      }}
    }}
  ]
}}"#,
        Digest::of(b"c"),
        Digest::of(b"l")
    );
    assert_eq!(text, expected);
    assert_eq!(Manifest::from_bytes(text.as_bytes()).unwrap(), manifest);
}

#[test]
fn nothing_of_a_manifest_or_index_is_lost() {
    let descriptor = json!({
        "mediaType": "x", "digest": Digest::of(b"d"), "size": 1, "urls": ["https://example.com"],
        "platform": { "architecture": "arm64", "os": "linux", "variant": "v8" },
    });
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type::DOCKER_MANIFEST, "artifactType": "y",
        "config": descriptor, "layers": [descriptor], "subject": descriptor, "annotations": { "k": "v" },
    });
    let read = Manifest::from_bytes(manifest.to_string().as_bytes()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&read.to_bytes()).unwrap(), manifest);
    let index = json!({ "schemaVersion": 2, "manifests": [descriptor], "subject": descriptor });
    let read = Index::from_bytes(index.to_string().as_bytes()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&read.to_bytes()).unwrap(), index);
    let nulls = br#"{"schemaVersion":2,"manifests":null,"annotations":null}"#;
    assert_eq!(Index::from_bytes(nulls).unwrap(), Index { media_type: None, ..Index::of(vec![]) });
}
