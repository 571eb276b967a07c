//! The image's config and history.

use serde_json::{Value, json};

use crate::support::{Context, Image, Kairn, bases, can_run, container};

#[test]
fn every_instruction_reaches_the_config() {
    if !can_run() {
        return;
    }
    let context = Context::new(
        "
        FROM {busybox}
        LABEL org.example.name=\"a name\" single=quoted
        ENV ONE=1 TWO=\"two words\"
        EXPOSE 80 53/udp
        VOLUME /data
        WORKDIR /srv
        WORKDIR sub
        USER app
        STOPSIGNAL SIGINT
        SHELL [\"/bin/sh\", \"-ec\"]
        HEALTHCHECK --interval=5s --timeout=1m30s --retries=2 CMD wget -q localhost
        ONBUILD COPY . /app
        ONBUILD RUN make
        ENTRYPOINT [\"/bin/echo\", \"-n\"]
        CMD [\"hi\"]
        ",
    );
    let kairn = Kairn::new();
    let image =
        kairn.image_by(kairn.build(&context).args(["--label", "added=by hand", "--label", "single=again"]));
    let config = &image.config["config"];
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let expected = json!({
        "Labels": { "org.example.name": "a name", "single": "again", "added": "by hand" },
        "Env": [path, "ONE=1", "TWO=two words"],
        "ExposedPorts": { "80/tcp": {}, "53/udp": {} },
        "Volumes": { "/data": {} },
        "WorkingDir": "/srv/sub",
        "User": "app",
        "StopSignal": "SIGINT",
        "Shell": ["/bin/sh", "-ec"],
        "Healthcheck": { "Test": ["CMD-SHELL", "wget -q localhost"], "Interval": 5_000_000_000_u64,
                         "Timeout": 90_000_000_000_u64, "Retries": 2 },
        "OnBuild": ["COPY . /app", "RUN make"],
        "Entrypoint": ["/bin/echo", "-n"],
        "Cmd": ["hi"],
    });
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(&config[key], value, "{key} of {config:#}");
    }
    assert_eq!(container::run_image(&image, &[]).succeeded().stdout, "hi");
}

#[test]
fn history_tells_each_instruction_and_whether_it_made_a_layer() {
    if !can_run() {
        return;
    }
    let context = Context::new(
        "
        FROM {busybox}
        ARG WHO=world
        ENV GREETING=hello
        COPY f /f
        RUN echo $WHO > /who
        WORKDIR /w
        CMD [\"cat\", \"/who\"]
        ",
    )
    .file("f", "");
    let image = Kairn::new().image_of(&context);
    let rows: Vec<(String, bool)> = image
        .history()
        .iter()
        .map(|entry| {
            (entry["created_by"].as_str().unwrap_or_default().to_owned(), entry["empty_layer"] == true)
        })
        .collect();
    let expected = [
        ("base", false),
        ("ARG WHO=world", true),
        ("ENV GREETING=hello", true),
        ("COPY f /f # buildkit", false),
        ("RUN |1 WHO=world /bin/sh -c echo $WHO > /who # buildkit", false),
        ("WORKDIR /w", false),
        ("CMD [\"cat\" \"/who\"]", true),
    ];
    let expected: Vec<(String, bool)> =
        expected.iter().map(|(text, empty)| ((*text).to_owned(), *empty)).collect();
    assert_eq!(rows, expected);
    let os_and_architecture = (&image.config["os"], &image.config["architecture"]);
    let base = Image::pulled(bases::shared(), "busybox:latest");
    assert_eq!(os_and_architecture, (&json!("linux"), &base.config["architecture"]));
    assert_eq!(image.layer_digests()[0], base.layer_digests()[0], "the base's layer is the base's own");
}

#[test]
fn config_is_inherited_and_a_new_entrypoint_drops_the_inherited_command() {
    if !can_run() {
        return;
    }
    let context = Context::new(
        "
        FROM {busybox} AS base
        ENV A=1
        LABEL l=base
        ENTRYPOINT [\"/bin/old\"]
        CMD [\"old\"]
        FROM base
        ENV A=2 B=$A
        LABEL l=child
        ENTRYPOINT [\"/bin/echo\"]
        ",
    );
    let config = Kairn::new().image_of(&context).config;
    let env = config["config"]["Env"].as_array().expect("an environment");
    assert_eq!(env[1..], [json!("A=2"), json!("B=1")]);
    assert_eq!(config["config"]["Labels"], json!({ "l": "child" }));
    assert_eq!(config["config"]["Cmd"], Value::Null, "as in Docker");
}

#[test]
fn triggers_of_a_base_run_in_the_image_made_from_it() {
    if !can_run() {
        return;
    }
    let registry = bases::shared();
    let kairn = Kairn::new();
    let base =
        Context::new("FROM {busybox}\nONBUILD COPY f /from-trigger\nONBUILD RUN cat /from-trigger > /ran\n");
    kairn.build(&base).push_to(registry, "tests/onbuild:1").run().succeeded();
    let child = Context::new("FROM {registry}/tests/onbuild:1\nRUN cat /ran > /after\n").file("f", "text");
    let image = kairn.image_of(&child);
    assert_eq!(image.tree().text("/after"), "text");
    assert_eq!(image.config["config"]["OnBuild"], Value::Null);
}
