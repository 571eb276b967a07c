//! A source of a few made-up images that notes what it is asked for.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Mutex;

use kairn_compiler::{ImageSource, ResolvedImage};
use kairn_image::{Descriptor, Digest, ImageConfig, Manifest, Platform};
use serde_json::{Value, json};

/// Images by canonical name.
#[derive(Default)]
pub(crate) struct Images {
    pub(crate) asked: Mutex<Vec<String>>,
}

impl ImageSource for Images {
    fn resolve(
        &self,
        reference: &str,
        platform: &Platform,
    ) -> Result<ResolvedImage, Box<dyn Error + Send + Sync>> {
        self.asked.lock().unwrap().push(format!("{reference} {platform}"));
        let short = reference.strip_prefix("docker.io/library/").unwrap_or(reference);
        let (config, layers) = image(short).ok_or_else(|| format!("{reference}: not found"))?;
        let mut config = config;
        for (field, value) in [("architecture", &platform.architecture), ("os", &platform.os)] {
            config.as_object_mut().unwrap().entry(field).or_insert_with(|| json!(value));
        }
        if let Some(variant) = &platform.variant {
            config["variant"] = json!(variant);
        }
        let seed = format!("{short} {platform}");
        let diff_ids: Vec<Digest> =
            (0..layers).map(|n| Digest::of(format!("{seed} {n}").as_bytes())).collect();
        config["rootfs"] = json!({ "type": "layers", "diff_ids": diff_ids });
        let config: ImageConfig = serde_json::from_value(config)?;
        Ok(ResolvedImage {
            reference: reference.to_owned(),
            manifest_digest: Digest::of(seed.as_bytes()),
            manifest: manifest(&seed, layers),
            config,
        })
    }
}

fn manifest(seed: &str, layers: usize) -> Manifest {
    let descriptor = |media_type: &str, content: String| Descriptor {
        media_type: media_type.to_owned(),
        digest: Digest::of(content.as_bytes()),
        size: content.len() as u64,
        annotations: BTreeMap::new(),
        platform: None,
        extra: BTreeMap::new(),
    };
    Manifest {
        schema_version: 2,
        media_type: None,
        config: descriptor("application/vnd.oci.image.config.v1+json", format!("{seed} config")),
        layers: (0..layers)
            .map(|n| descriptor("application/vnd.oci.image.layer.v1.tar+gzip", format!("{seed} gzip {n}")))
            .collect(),
        annotations: BTreeMap::new(),
        extra: BTreeMap::new(),
    }
}

fn image(name: &str) -> Option<(Value, usize)> {
    Some(match name {
        // Everything that a config can hold.
        "base:1" => (full_config(), 2),
        // A config without anything, not even PATH.
        "bare:latest" | "tools:latest" => (json!({ "config": {} }), 1),
        "app-base:latest" => {
            (on_build(&["ARG VERSION", "COPY . /app", "RUN make $VERSION", "WORKDIR /app"]), 1)
        }
        "needy:latest" => {
            (on_build(&["COPY --from=tools /bin/tool /bin/", "COPY --from=assets / /assets"]), 1)
        }
        "faulty:latest" => {
            (on_build(&["FROM x", "COPY --from=later /a /b", "COPY --chmod=u+x a b", "COPY --from=9 a b"]), 1)
        }
        "faulty-words:latest" => (on_build(&["COPY --chmod=u+x a b", "WORKDIR $NOWHERE/x"]), 1),
        "arm:latest" => (json!({ "architecture": "arm64", "os": "linux", "config": {} }), 1),
        "nothing:latest" => (
            json!({
                "config": { "Env": ["A=1"], "Labels": { "from": "nothing" } },
                "history": [{ "created_by": "LABEL from=nothing", "empty_layer": true }],
            }),
            0,
        ),
        _ => return None,
    })
}

fn on_build(triggers: &[&str]) -> Value {
    json!({ "config": { "Env": ["PATH=/bin"], "OnBuild": triggers } })
}

fn full_config() -> Value {
    json!({
        "created": "2026-01-02T03:04:05Z",
        "author": "somebody",
        "container": "0123",
        "docker_version": "20",
        "os.features": ["x"],
        "config": {
            "Hostname": "0123",
            "AttachStdin": false,
            "Image": "sha256:0123",
            "User": "daemon",
            "ExposedPorts": { "80/tcp": {} },
            "Env": ["PATH=/usr/bin:/bin", "LANG=C", "EMPTY="],
            "Entrypoint": ["/entry"],
            "Cmd": ["run"],
            "ArgsEscaped": true,
            "Healthcheck": { "Test": ["CMD", "check"], "Interval": 1_000_000_000 },
            "Volumes": { "/data": {} },
            "WorkingDir": "/srv",
            "Labels": { "a": "base", "b": "base" },
            "StopSignal": "SIGQUIT",
            "Shell": ["/bin/ash", "-ec"],
        },
        "history": [
            { "created_by": "ADD rootfs /" },
            { "created_by": "ENV LANG=C", "empty_layer": true },
            { "created_by": "RUN setup" },
        ],
    })
}
