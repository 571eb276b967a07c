//! Pushing and pulling: what is sent, to whom, and what is believed.

use std::process::Command;

use crate::support::{Context, Image, Kairn, Registry, bases, can_run, container, run, test_dir};

fn uploads(registry: &Registry, repository: &str) -> Vec<String> {
    let path = format!("/v2/{repository}/blobs/uploads/");
    let sent = |request: &String| {
        (request.starts_with("PUT ") || request.starts_with("PATCH ")) && request.contains(&path)
    };
    registry.requests().into_iter().filter(sent).collect()
}

#[test]
fn a_pushed_image_runs_and_is_not_sent_twice() {
    if !can_run() {
        return;
    }
    let registry = Registry::start();
    bases::push_busybox(&registry);
    let dockerfile = format!(
        "FROM {}\nRUN echo pushed > /f\nCMD [\"cat\", \"/f\"]\n",
        registry.reference("busybox:latest")
    );
    let context = Context::new(&dockerfile);
    let kairn = Kairn::new();
    let reference = registry.reference("team/app:1");
    let outcome = kairn.build(&context).push_to(&registry, "team/app:1").run().succeeded();
    assert_eq!(outcome.stdout, format!("{} {reference}\n", outcome.digest()));
    let image = Image::pulled(&registry, "team/app:1");
    assert_eq!(image.digest, outcome.digest());
    assert_eq!(container::run_image(&image, &[]).succeeded().stdout, "pushed\n");

    let base_layer = &image.layer_digests()[0];
    let mounted = |request: &String| {
        request.contains("mount=") && request.contains(&base_layer[7..]) && request.ends_with(" 201")
    };
    assert!(
        registry.requests().iter().any(mounted),
        "the base's layer is mounted: {:#?}",
        registry.requests()
    );
    let sent = uploads(&registry, "team/app");
    assert!(sent.iter().all(|request| !request.contains(&base_layer[7..])), "{sent:#?}");

    kairn.build(&context).push_to(&registry, "team/app:2").run().succeeded();
    assert_eq!(uploads(&registry, "team/app"), sent, "blobs are sent again");
}

#[test]
fn every_tag_is_pushed_stored_and_printed() {
    if !can_run() {
        return;
    }
    let registry = Registry::start();
    let context = Context::new("FROM scratch\nCOPY f /f\n").file("f", "x");
    let kairn = Kairn::new();
    let tags = ["one:1", "one:2", "two/deep:latest"].map(|name| registry.reference(name));
    let metadata = kairn.root().parent().expect("a folder").join("metadata.json");
    let iidfile = metadata.with_file_name("iid");
    let args = tags.iter().flat_map(|tag| ["-t", tag]);
    let build = kairn.build(&context).args(args).args(["--push", "--insecure-registry", &registry.host()]);
    let files = ["--metadata-file".as_ref(), metadata.as_os_str(), "--iidfile".as_ref(), iidfile.as_os_str()];
    let outcome = build.args(files).run().succeeded();
    let digest = outcome.digest();
    let lines = tags.each_ref().map(|tag| format!("{digest} {tag}\n")).concat();
    assert_eq!(outcome.stdout, lines);
    for name in ["one:1", "one:2", "two/deep:latest"] {
        assert_eq!(Image::pulled(&registry, name).digest, digest);
        assert_eq!(kairn.image(&registry.reference(name)).digest, digest);
    }
    let metadata: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(metadata).expect("the metadata file")).expect("JSON");
    assert_eq!(metadata["containerimage.digest"], digest);
    assert!(std::fs::read_to_string(iidfile).expect("the iidfile").starts_with("sha256:"));
}

#[test]
fn outputs_are_read_by_other_tools() {
    if !can_run() {
        return;
    }
    let context = Context::new("FROM scratch\nCOPY f /f\n").file("f", "x");
    let kairn = Kairn::new();
    let dir = test_dir("outputs-");
    let (tar, folder) = (dir.path().join("image.tar"), dir.path().join("image"));
    let outputs =
        [format!("type=oci,dest={}", tar.display()), format!("type=oci,dest={},tar=false", folder.display())];
    let build =
        kairn.build(&context).args(["-o", &outputs[0], "-o", &outputs[1], "-t", "example.test/app:1"]);
    let outcome = build.run().succeeded();
    for source in [format!("oci-archive:{}", tar.display()), format!("oci:{}", folder.display())] {
        let inspected = run(Command::new("skopeo").args(["inspect", "--format", "{{.Digest}}", &source]));
        assert_eq!(inspected.trim(), outcome.digest(), "{source}");
        let copy = dir.path().join("copy");
        run(Command::new("skopeo").args([
            "copy",
            "--insecure-policy",
            &source,
            &format!("dir:{}", copy.display()),
        ]));
    }
    assert_eq!(Image::from_layout(&folder, "1").tree().text("/f"), "x");
}

#[test]
fn credentials_come_from_dockers_own_file() {
    if !can_run() {
        return;
    }
    let registry = Registry::start_with_basic_auth("kairn", "secret");
    bases::push_busybox(&registry);
    let dir = test_dir("docker-config-");
    let dockerfile = format!("FROM {}\nRUN echo locked > /f\n", registry.reference("busybox:latest"));
    let context = Context::new(&dockerfile);
    // `kairn:secret`, `kairn:wrong`
    for (auth, works) in [("a2Fpcm46c2VjcmV0", true), ("a2Fpcm46d3Jvbmc=", false)] {
        let config = format!("{{\"auths\": {{\"{}\": {{\"auth\": \"{auth}\"}}}}}}", registry.host());
        std::fs::write(dir.path().join("config.json"), config).expect("Docker's config");
        let build = Kairn::new();
        let build = build.build(&context).env("DOCKER_CONFIG", dir.path()).push_to(&registry, "app:1");
        let outcome = build.run();
        assert!(!outcome.stderr.contains("secret") && !outcome.stderr.contains(auth), "{outcome}");
        if works {
            assert_eq!(Image::pulled(&registry, "app:1").digest, outcome.succeeded().digest());
        } else {
            outcome.failed(3, &[&registry.host()]);
        }
    }
    Kairn::new().build(&context).run().failed(3, &[&registry.host(), "credentials"]);
}

#[test]
fn a_mirror_stands_in_for_its_registry() {
    if !can_run() {
        return;
    }
    let registry = Registry::start();
    registry.push_layout(&bases::busybox_layout(), "latest", "library/busybox:latest");
    registry.push_layout(&bases::busybox_layout(), "latest", "team/base:1");
    for (base, original) in [("busybox", "docker.io"), ("registry.invalid/team/base:1", "registry.invalid")] {
        let context = Context::new(&format!("FROM {base}\nRUN echo mirrored > /f\n"));
        let kairn = Kairn::new();
        let mirror = format!("{original}={}", registry.host());
        let build = kairn.build(&context).args([
            "--registry-mirror",
            &mirror,
            "--insecure-registry",
            &registry.host(),
        ]);
        assert_eq!(kairn.image_by(build).tree().text("/f"), "mirrored\n");
    }
}

#[test]
fn a_blob_with_other_bytes_than_its_digest_is_refused() {
    if !can_run() {
        return;
    }
    let registry = Registry::start();
    bases::push_busybox(&registry);
    let image = Image::pulled(&registry, "busybox:latest");
    let context = Context::new(&format!("FROM {}\nRUN true\n", registry.reference("busybox:latest")));
    // Each time in an empty store: what it has is not asked for again.
    let build = || Kairn::new().build(&context).run();
    let layer = image.layer_digests().remove(0);
    let config = image.manifest["config"]["digest"].as_str().expect("a config").to_owned();
    for digest in [layer, config] {
        let path = registry.blob_path(&digest);
        let good = std::fs::read(&path).expect("the blob");
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        std::fs::write(&path, &bad).expect("the blob is spoilt");
        build().failed(3, &[&digest]);
        std::fs::write(&path, &good[..good.len() - 1]).expect("the blob is cut");
        build().failed(3, &[]);
        std::fs::write(&path, &good).expect("the blob is mended");
    }
    build().succeeded();
}

#[test]
fn a_registry_that_is_down_or_has_no_such_image_is_named() {
    if !can_run() {
        return;
    }
    let registry = Registry::start();
    let host = registry.host();
    let missing = Context::new(&format!("FROM {host}/no/such:image\nRUN true\n"));
    Kairn::new().build(&missing).run().failed(3, &["no/such:image"]);
    drop(registry);
    Kairn::new().build(&missing).run().failed(3, &[&host]);
    let context = Context::new("FROM scratch\nCOPY f /f\n").file("f", "x");
    let push = ["--push", "--insecure-registry", &host, "-t", &format!("{host}/app:1")].map(str::to_owned);
    let kairn = Kairn::new();
    kairn.build(&context).args(push).run().failed(3, &[&host]);
    kairn.build(&context).run().succeeded();
}
