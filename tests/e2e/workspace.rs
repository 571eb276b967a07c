//! Builds of a kairn.toml: many images, one graph.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Image, Kairn, Outcome, Pod, Profile, Registry, Workspace, can_run, run, test_dir};

/// Three levels, an `ARG BASE_IMAGE`, a matrix, a gate and an artifact.
fn shop(registry: &Registry) -> Workspace {
    let host = registry.host();
    Workspace::new(&format!(
        "
        [vars]
        repo = '{host}/acme'
        tag = {{ default = 'dev', env = 'TAG' }}
        [build]
        insecure-registries = ['{host}', '{{registry}}']
        [defaults]
        labels = {{ team = 'shop' }}
        [image.base]
        context = 'base'
        tags = ['${{repo}}/base:${{tag}}']
        [image.runtime]
        context = 'runtime'
        args = {{ BASE_IMAGE = 'base' }}
        tags = ['${{repo}}/runtime:${{tag}}']
        [image.api]
        context = 'api'
        args = {{ V = '${{v}}' }}
        matrix = {{ v = [1, 2] }}
        tags = ['${{repo}}/api:${{tag}}-${{v}}']
        requires = ['stage:test']
        artifacts = [{{ stage = 'test', path = '/report', dest = 'out/${{image}}/' }}]
        [image.static.stage.pages]
        from = 'runtime'
        steps = [{{ run = 'echo page > /page' }}]
        [image.static.stage.final]
        steps = [{{ copy = '/page', from = 'pages', to = '/page' }}]
        "
    ))
    .file("base/Dockerfile", "FROM {busybox}\nRUN echo base > /base\nENV LEVEL=1\nWORKDIR /srv\n")
    .file(
        "runtime/Dockerfile",
        "ARG BASE_IMAGE\nFROM $BASE_IMAGE\nRUN echo runtime > /runtime\nENV LEVEL=2\n",
    )
    .file(
        "api/Dockerfile",
        &format!(
            "FROM {host}/acme/runtime AS build\nARG V\nCOPY main /main\nRUN echo api $V $LEVEL > /api\n\
             FROM build AS test\nRUN cat /api > /report && grep -q api /api\n\
             FROM build\nCMD [\"/api\"]\n"
        ),
    )
    .file("api/main", "fn main() {}\n")
}

fn metadata(workspace: &Workspace) -> Value {
    let text = std::fs::read(workspace.join("metadata.json")).expect("a metadata file");
    serde_json::from_slice(&text).expect("JSON")
}

fn tags_of(registry: &Registry, name: &str) -> Option<Vec<String>> {
    let url = format!("http://{}/v2/{name}/tags/list", registry.host());
    let output = Command::new("curl").args(["-sf", &url]).stderr(Stdio::null()).output().expect("curl");
    let list: Value = serde_json::from_slice(&output.stdout).ok()?;
    let tags = list["tags"].as_array()?.iter().filter_map(|tag| tag.as_str().map(str::to_owned));
    Some(tags.collect())
}

#[test]
fn one_command_builds_everything_in_order_and_pushes_it() {
    if !can_run() {
        return;
    }
    let (registry, kairn) = (Registry::start(), Kairn::new());
    let workspace = shop(&registry);
    let file = workspace.join("metadata.json");
    let build = || workspace.on(&kairn, "build").args(["--push", "--metadata-file"]).args([&file]);
    let first = build().with_events().env("TAG", "7").run().succeeded();
    // Seven commands, a WORKDIR, the COPY that both versions share, and that of the page.
    assert_eq!(first.events().iter().filter(|event| event["event"] == "step-started").count(), 10, "{first}");
    for (name, tags) in
        [("acme/base", vec!["7"]), ("acme/runtime", vec!["7"]), ("acme/api", vec!["7-1", "7-2"])]
    {
        assert_eq!(tags_of(&registry, name), Some(tags.into_iter().map(str::to_owned).collect()), "{name}");
    }
    let image = Image::pulled(&registry, "acme/api:7-2");
    assert_eq!(image.tree().text("api"), "api 2 2\n");
    assert_eq!(image.config["config"]["Labels"]["team"], "shop");
    assert_eq!(image.config["config"]["WorkingDir"], "/srv");
    for version in ["api-1", "api-2"] {
        let report = std::fs::read_to_string(workspace.join("out").join(version).join("report"));
        assert!(report.is_ok_and(|report| report.starts_with("api ")));
    }
    let about = metadata(&workspace);
    for name in ["base", "runtime", "api-1", "api-2", "static"] {
        assert_eq!(about[name]["kairn.fate"], "published", "{about:#}");
        assert_eq!(about[name]["kairn.cached"], false);
        assert!(about[name]["kairn.size_bytes"].as_u64().is_some_and(|bytes| bytes > 0));
    }
    assert_eq!(about["api-2"]["containerimage.digest"], image.digest.as_str());
    assert_eq!(about["api-2"]["kairn.platforms"][0]["digest"], image.digest.as_str());
    assert!(about["kairn.critical_path"].as_array().is_some_and(|path| !path.is_empty()));

    let again = build().env("TAG", "7").run().succeeded();
    assert_eq!(again.stdout, first.stdout);
    let again = again.says(&["cached: RUN echo runtime > /runtime", "image ", "static "]);
    assert!(!again.stderr.contains("] done "), "{again}");
    assert_eq!(metadata(&workspace)["api-1"]["kairn.cached"], true);
}

#[test]
fn an_image_is_the_same_as_from_a_registry() {
    if !can_run() {
        return;
    }
    let (registry, kairn) = (Registry::start(), Kairn::new());
    let workspace = shop(&registry);
    let together = workspace.on(&kairn, "build").args(["base", "runtime", "--push"]).run().succeeded();
    // The same in two builds of their own, the second from what the first pushed.
    let other = Kairn::new();
    let build = |name: &str| {
        other.command("build").args(["--label", "team=shop", "--insecure-registry", &registry.host(), name])
    };
    let busybox = crate::support::bases::shared().host();
    let base = build(&workspace.join("base").display().to_string())
        .args(["--insecure-registry", &busybox])
        .run()
        .succeeded();
    let from = format!("BASE_IMAGE={}", registry.reference("acme/base:dev"));
    let runtime = build(&workspace.join("runtime").display().to_string())
        .args(["--build-arg", &from])
        .run()
        .succeeded();
    let digests: Vec<&str> = together.stdout.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(digests, [base.digest(), runtime.digest()], "{together}");
}

#[test]
fn edges_are_found_and_shown() {
    if !can_run() {
        return;
    }
    let (registry, kairn) = (Registry::start(), Kairn::new());
    let workspace = shop(&registry);
    let graph = workspace.on(&kairn, "graph").args(["api-1", "static"]).run().succeeded();
    let host = registry.host();
    graph.prints(&[
        "\"runtime\" needs \"base\": FROM $BASE_IMAGE: its name",
        &format!("\"api-1\" needs \"runtime\": FROM {host}/acme/runtime: the repository of its tag `{host}/acme/runtime:dev`"),
        "\"static\" needs \"runtime\": FROM runtime: its name",
    ]);
}

#[test]
fn a_failure_publishes_nothing_and_still_copies_reports_out() {
    if !can_run() {
        return;
    }
    let (registry, kairn) = (Registry::start(), Kairn::new());
    let workspace = shop(&registry);
    let dockerfile = std::fs::read_to_string(workspace.join("api/Dockerfile")).expect("a Dockerfile");
    workspace.write("api/Dockerfile", &dockerfile.replace("grep -q api /api", "exit 9"));
    let failed = workspace.on(&kairn, "build").args(["--push"]).run();
    failed.failed(1, &["exit code: 9", "api/Dockerfile", "in stage `api-", "not reached"]);
    assert_eq!(tags_of(&registry, "acme/base"), None);
    assert!(workspace.join("out/api-1/report").exists() || workspace.join("out/api-2/report").exists());
    // What is whole may go if it is asked to.
    let failed = workspace.on(&kairn, "build").args(["--push", "--keep-going=publish"]).run();
    failed.failed(1, &["2 failures", "FAILED"]).prints(&["acme/base:dev", "acme/runtime:dev", "static"]);
    assert_eq!(tags_of(&registry, "acme/base"), Some(vec!["dev".to_owned()]));
    assert_eq!(tags_of(&registry, "acme/api"), None);
}

#[test]
fn other_tools_files_give_the_same_images() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    let workspace = Workspace::new("[image.base]\ncontext='base'\n[image.app]\ncontext='app'\nargs={V='1'}\ntags=['x/app:1']\n")
        .file("base/Dockerfile", "FROM scratch\nCOPY f /f\n")
        .file("base/f", "f\n")
        .file("app/Dockerfile", "FROM base\nARG V\nCOPY g /g$V\n")
        .file("app/g", "g\n")
        .file(
            "docker-bake.hcl",
            "variable \"V\" { default = \"1\" }\n\
             group \"default\" { targets = [\"app\"] }\n\
             target \"base\" { context = \"base\" }\n\
             target \"app\" {\n  context = \"app\"\n  args = { V = V }\n  tags = [\"x/app:1\"]\n\
             contexts = { base = \"target:base\" }\n  shm-size = \"1g\"\n}\n",
        )
        .file(
            "compose.yaml",
            "services:\n  base: { build: base, image: base }\n  app:\n    build: { context: app, args: { V: \"${V:-1}\" } }\n    image: x/app:1\n",
        );
    let run = |args: &[&str]| {
        let command = kairn.command("build").args(args);
        let mut command = command.to_command();
        Outcome::of(command.current_dir(workspace.path())).succeeded()
    };
    let own = run(&["app"]);
    let bake = run(&["-f", "docker-bake.hcl"]).says(&["`shm-size` of target `app` is left out"]);
    let compose = run(&["-f", "compose.yaml", "app"]);
    assert_eq!([bake.digest(), compose.digest()], [own.digest(), own.digest()]);
    assert_ne!(run(&["-f", "docker-bake.hcl", "--var", "V=2"]).digest(), own.digest());
    let mut convert = kairn.command("convert").args(["docker-bake.hcl", "-o", "from-bake.toml"]).to_command();
    Outcome::of(convert.current_dir(workspace.path())).succeeded();
    assert_eq!(run(&["-f", "from-bake.toml"]).digest(), own.digest());
    let mut convert = kairn.command("convert").args(["docker-bake.hcl", "-o", "from-bake.toml"]).to_command();
    Outcome::of(convert.current_dir(workspace.path())).failed(2, &["is there already"]);
}

#[test]
fn mistakes_point_at_the_toml() {
    let kairn = Kairn::new();
    let workspace = Workspace::new(
        "[image.a]\ncontext='a'\ntags=['x/a:1']\n[image.b]\ncontext='b'\ntags=['docker.io/x/a:1']\n\
         [image.c]\ncontext='none'\n[image.d]\ncontext='a'\ntarget='tset'\n[image.e]\ncontext='a'\nrequires=['test']\n\
         [image.f]\ncontext='a'\nallow=['network.host']\n[image.g]\ndockerfile-inline='FORM x'\n\
         [group]\nfine=['a','d']\n",
    )
    .file("a/Dockerfile", "FROM scratch AS test\nCOPY f /\n")
    .file("a/f", "")
    .file("b/Dockerfile", "FROM scratch\nCOPY f /\n")
    .file("b/f", "");
    for (names, texts) in [
        (
            &["a", "b"][..],
            &["duplicate-tag", "the images `a` and `b` have the same tag", "kairn.toml:6:7"][..],
        ),
        (&["c"], &["not-found", "the build context", "kairn.toml:8:9"]),
        (&["d"], &["unknown-stage", "did you mean `test`?", "kairn.toml:11:8"]),
        (&["e"], &["`test` is neither a stage nor an image", "kairn.toml:14:11"]),
        (&["f"], &["the image wants `network.host`", "--allow network.host"]),
        (&["g"], &["unknown-instruction", "(g):1:1"]),
        (&["fine", "-t", "x"], &["`--tag x` names one image"]),
        (&["fien"], &["there is no image or group `fien`", "did you mean `fine`?"]),
        (&["--var", "x=1"], &["there is no variable `x`"]),
    ] {
        workspace.on(&kairn, "build").args(names).run().failed(2, texts);
    }
    // A mistake in an image that nobody asked for is in nobody's way.
    workspace.on(&kairn, "build").args(["a"]).run().succeeded();
}

#[test]
fn three_hundred_images_lose_nothing_and_do_nothing_twice() {
    let kairn = Kairn::new();
    let mut toml = String::from("[stage.common]\nsteps = [{ write = { c = 'common' }, to = '/' }]\n");
    for image in 0..300 {
        let _ = write!(toml, "[image.i{image}.stage.own]\nfrom = ");
        let _ = match image {
            0 => writeln!(toml, "'common'"),
            _ => writeln!(toml, "'i{}'", (image - 1) / 3),
        };
        // Seven steps, one of which another image has as well.
        let _ = writeln!(toml, "steps = [");
        for step in 0..6 {
            let _ = writeln!(toml, "  {{ write = {{ f{step} = 'image {image}' }}, to = '/d{image}/' }},");
        }
        let _ = writeln!(toml, "  {{ copy = '/c', from = 'common', to = '/last' }},\n]");
    }
    let workspace = Workspace::new("").file("kairn.toml", &toml);
    let file = workspace.join("metadata.json");
    let build = || {
        workspace.on(&kairn, "build").with_events().args(["--metadata-file"]).args([&file]).run().succeeded()
    };
    let first = build();
    assert_eq!(first.stdout.lines().count(), 300);
    let mut runs: BTreeMap<String, usize> = BTreeMap::new();
    for event in first.events().iter().filter(|event| event["event"] == "step-started") {
        *runs.entry(event["step"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    assert_eq!(runs.len(), 1 + 300 * 7);
    assert!(runs.values().all(|count| *count == 1));
    assert_eq!(
        first
            .stdout
            .split_whitespace()
            .filter(|word| word.starts_with("sha256"))
            .collect::<BTreeSet<_>>()
            .len(),
        300
    );
    let again = build();
    assert_eq!(again.stdout, first.stdout);
    assert!(again.events().iter().all(|event| event["event"] != "step-started"), "nothing runs again");
}

#[test]
fn an_edge_of_another_platform_is_an_index() {
    if !can_run() {
        return;
    }
    let (registry, kairn) = (Registry::start(), Kairn::new());
    let host = registry.host();
    let workspace = Workspace::new(&format!(
        "
        [build]
        insecure-registries = ['{host}']
        [image.tools.stage.t]
        steps = [{{ write = {{ t = 'tool' }}, to = '/' }}]
        [image.app]
        platforms = ['linux/amd64', 'linux/arm64']
        tags = ['{host}/app:1']
        dockerfile-inline = '''
        FROM --platform=$BUILDPLATFORM tools AS assets
        COPY --from=tools /t /assets
        FROM scratch
        ARG TARGETARCH
        COPY --from=assets /assets /for-$TARGETARCH
        '''
        "
    ));
    let outcome = workspace.on(&kairn, "build").args(["--push"]).with_events().run().succeeded();
    // The stages for the platform that builds are one for both.
    assert_eq!(outcome.steps_run().len(), 3, "{outcome}");
    let url = format!("http://{host}/v2/app/manifests/1");
    let accept = "Accept: application/vnd.oci.image.index.v1+json";
    let index = Command::new("curl").args(["-sf", "-H", accept, &url]).output().expect("curl").stdout;
    let index: Value = serde_json::from_slice(&index).expect("an index");
    let platforms: Vec<&str> = (index["manifests"].as_array().expect("a list").iter())
        .filter_map(|manifest| manifest["platform"]["architecture"].as_str())
        .collect();
    assert_eq!(platforms, ["amd64", "arm64"]);
}

#[test]
fn stages_in_toml_give_the_image_of_a_dockerfile() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    let workspace = Workspace::new(
        "
        [image.toml]
        args = { V = '7' }
        [image.toml.stage.build]
        from = '{busybox}'
        env = { A = 'a b' }
        workdir = '/w'
        steps = [
          { arg = 'V' },
          { copy = 'in', to = 'out', chmod = 600 },
          { write = { conf = '''x=$V
        ''' }, to = '/etc/', expand = true },
          { run = '''
        cat /w/out > /made
        echo $V $A >> /made
        ''', mounts = [{ type = 'tmpfs', target = '/tmp' }] },
        ]
        [image.toml.stage.final]
        steps = [{ copy = ['/made', '/etc/conf'], from = 'build', to = '/' }]
        labels = { l = 'm' }
        cmd = ['x']
        [image.dockerfile]
        args = { V = '7' }
        ",
    )
    .file(
        "Dockerfile",
        "FROM {busybox} AS build\nENV A=\"a b\"\nWORKDIR /w\nARG V\nCOPY --chmod=600 in out\nCOPY <<conf /etc/\nx=$V\nconf\n\
         RUN --mount=type=tmpfs,target=/tmp <<EOF\ncat /w/out > /made\necho $V $A >> /made\nEOF\n\
         FROM scratch AS final\nCOPY --from=build /made /etc/conf /\nLABEL l=m\nCMD [\"x\"]\n",
    )
    .file("in", "in\n");
    let host = crate::support::bases::shared().host();
    let outcome =
        workspace.on(&kairn, "build").args(["--insecure-registry", &host]).with_events().run().succeeded();
    let digests: BTreeSet<&str> = outcome.stdout.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(digests.len(), 1, "{outcome}");
    assert_eq!(
        outcome.events().iter().filter(|event| event["event"] == "step-started").count(),
        5,
        "{outcome}"
    );
}

#[test]
fn a_command_that_needs_two_places_has_them() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    let workspace = Workspace::new(
        "
        [defaults]
        cpu = 2
        [image.one.stage.s]
        from = '{busybox}'
        steps = [{ run = 'sleep 0.5; echo one' }]
        [image.two.stage.s]
        from = '{busybox}'
        steps = [{ run = 'sleep 0.5; echo two' }]
        ",
    );
    let host = crate::support::bases::shared().host();
    let build = |jobs: &str| {
        let build =
            workspace.on(&kairn, "build").args(["--insecure-registry", &host, "--no-cache", "--jobs", jobs]);
        let outcome = build.with_events().run().succeeded();
        (outcome.interval_of("echo one"), outcome.interval_of("echo two"))
    };
    let (one, two) = build("2");
    assert!(one.1 <= two.0 || two.1 <= one.0, "one {one:?} and two {two:?} overlap");
    let (one, two) = build("4");
    assert!(one.0 < two.1 && two.0 < one.1, "one {one:?} and two {two:?} do not overlap");
}

/// What a build of a kairn.toml in a pod prints, and what it copied out.
fn in_pod(profile: Profile, workspace: &Workspace, names: &[&str]) -> (Outcome, Option<String>) {
    let dir = test_dir("pod-");
    // The pod's own copy, to which files are copied out.
    let copy = dir.path().join("workspace");
    run(Command::new("cp").arg("-a").arg(workspace.path()).arg(&copy));
    let pod = Pod::new(profile);
    profile.own_all(&copy);
    let store = pod.own(&dir.path().join("root"));
    let pod = pod.mount(&copy, "/mnt/workspace", "rw").mount(&store, "/mnt/root", "rw");
    let host = crate::support::bases::shared().host();
    let mut args = vec!["kairn", "build", "-f", "/mnt/workspace/kairn.toml", "--insecure-registry", &host];
    args.extend(names);
    let outcome = pod.env("KAIRN_ROOT", "/mnt/root").run(&args);
    let report = std::fs::read_to_string(copy.join("out/report")).ok();
    (outcome, report)
}

#[test]
fn every_container_builds_the_same_images() {
    if !can_run() {
        return;
    }
    let workspace = Workspace::new(
        "
        [stage.files]
        steps = [{ write = { a = 'a' }, to = '/' }]
        [image.plain.stage.s]
        steps = [{ copy = '/a', from = 'files', to = '/plain' }]
        [image.base.stage.s]
        from = '{busybox}'
        steps = [{ copy = '/a', from = 'files', to = '/a', chown = 'app' }, { run = 'cat /a > /made && chown 7:8 /made' }]
        [image.app.stage.s]
        from = 'base'
        steps = [{ run = 'cat /made /a > /both' }]
        [image.tested]
        requires = ['stage:test']
        artifacts = [{ stage = 'test', path = '/report', dest = 'out/' }]
        [image.tested.stage.test]
        from = 'base'
        steps = [{ run = 'echo failed > /report; mkdir /d; exit 5' }]
        [image.tested.stage.s]
        from = 'base'
        ",
    );
    let kairn = Kairn::new();
    let host = crate::support::bases::shared().host();
    let here = workspace
        .on(&kairn, "build")
        .args(["plain", "app", "base", "--insecure-registry", &host])
        .run()
        .succeeded();
    for profile in [Profile::Default, Profile::Unconfined, Profile::Nonroot, Profile::Userns] {
        let (outcome, _) = in_pod(profile, &workspace, &["plain", "app", "base"]);
        assert_eq!(outcome.succeeded().stdout, here.stdout, "{profile:?}");
        let (outcome, report) = in_pod(profile, &workspace, &["tested"]);
        outcome.failed(1, &["exit code: 5", "in stage `tested/test`"]);
        assert_eq!(report.as_deref(), Some("failed\n"), "{profile:?}");
    }
    let (outcome, _) = in_pod(Profile::Restricted, &workspace, &["plain"]);
    assert!(here.stdout.starts_with(&outcome.succeeded().digest()));
    in_pod(Profile::Restricted, &workspace, &["app"]).0.failed(3, &["no way to isolate a RUN"]);
}

#[test]
fn an_image_that_is_needed_has_its_own_secrets_and_caches() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    let workspace = Workspace::new(
        "
        [image.base]
        context = 'base'
        secrets = ['id=token,src=secret.txt,key=content']
        no-cache-filter = ['0']
        [image.base.stage.0]
        timeout = '1m'
        [image.app.stage.s]
        from = 'base'
        steps = [{ run = 'cat /count' }]
        ",
    )
    .file(
        "base/Dockerfile",
        "FROM {busybox}\nRUN --mount=type=secret,id=token,required wc -c < /run/secrets/token > /count\n",
    )
    .file("secret.txt", "four");
    let host = crate::support::bases::shared().host();
    let build = |args: &[&str]| {
        workspace
            .on(&kairn, "build")
            .args(["app", "--insecure-registry", &host])
            .args(args)
            .with_events()
            .run()
    };
    build(&[]).succeeded().says(&["\"line\":\"5\""]);
    // Done again each time, because the image says so.
    assert_eq!(build(&[]).succeeded().steps_run().len(), 1);
    let other = workspace.join("other.txt");
    std::fs::write(&other, "seven77").expect("another secret");
    let given = format!("id=token,src={}", other.display());
    build(&["--secret", &given]).succeeded().says(&["\"line\":\"7\""]);
}
