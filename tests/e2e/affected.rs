//! `kairn affected`: the images that a change touches.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{Kairn, Workspace, test_dir};

/// Some changes to a monorepo, made one after another at random.
const EDITS: &[(&str, &str)] = &[
    ("base/file", "other\n"),
    ("base/ignored.log", "noise\n"),
    ("base/unused", "not copied\n"),
    ("base/Dockerfile", "FROM scratch\n# a comment\nCOPY file /base\n"),
    ("base/Dockerfile", "FROM scratch\nCOPY file /base\nLABEL a=b\n"),
    ("lib/src/a.c", "int a;\n"),
    ("lib/src/sub/b.h", "int b;\n"),
    ("lib/README.md", "words\n"),
    ("lib/.dockerignore", "*.md\nsrc/sub\n"),
    (
        "app/Dockerfile",
        "FROM base AS build\nCOPY --from=lib /src /src\nFROM build\nARG V\nCOPY main.* /app$V/\n",
    ),
    ("app/main.c", "main\n"),
    ("app/main.h", "header\n"),
    ("app/other.c", "other\n"),
    ("alone/x", "x\n"),
    ("docs/page", "page\n"),
];

#[test]
fn an_image_that_is_not_affected_is_cached() {
    let kairn = Kairn::new();
    let toml = "[image.base]\ncontext='base'\n[image.lib]\ncontext='lib'\n\
                [image.app]\ncontext='app'\nmatrix={v=['1','2']}\nargs={V='${v}'}\n\
                [image.alone]\ncontext='alone'\n[image.native.stage.s]\nfrom='app-1'\nsteps=[{copy='docs', to='/docs', exclude=['*.tmp']}]\n";
    let workspace = Workspace::new(toml)
        .file("base/Dockerfile", "FROM scratch\nCOPY file /base\n")
        .file("base/.dockerignore", "*.log\n")
        .file("base/file", "file\n")
        .file("lib/Dockerfile", "FROM scratch\nCOPY src /src\n")
        .file("lib/src/a.c", "a\n")
        .file("app/Dockerfile", "FROM base\nCOPY --from=lib /src /src\nARG V\nCOPY main.* /app$V/\n")
        .file("app/main.c", "c\n")
        .file("alone/Dockerfile", "FROM scratch\nCOPY . /\n")
        .file("alone/x", "1\n")
        .file("docs/page", "1\n")
        .file("docs/a.tmp", "1\n");
    let build = |names: &[String]| workspace.on(&kairn, "build").args(names).run().succeeded();
    build(&[]);
    let mut seed = 20_261_126_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap_or_default() % below
    };
    let (mut listed, mut spared) = (0, 0);
    for round in 0..40 {
        workspace.commit();
        build(&[]);
        for _ in 0..=random(2) {
            let (path, text) = EDITS[random(EDITS.len())];
            let text = if path.ends_with("Dockerfile") || path.ends_with("ignore") {
                text.to_owned()
            } else {
                format!("{text}{}\n", random(3))
            };
            workspace.write(path, &text);
        }
        let answer =
            workspace.on(&kairn, "affected").args(["--since", "HEAD", "--format", "json"]).run().succeeded();
        let answer: Value = serde_json::from_str(&answer.stdout).expect("JSON");
        let mut affected = BTreeSet::new();
        for image in answer.as_array().expect("a list") {
            let reasons = image["reasons"].as_array().expect("reasons");
            assert!(
                !reasons.is_empty()
                    && reasons.iter().all(|reason| reason.as_str().is_some_and(|r| !r.is_empty()))
            );
            affected.insert(image["image"].as_str().expect("a name").to_owned());
        }
        let all = ["base", "lib", "app-1", "app-2", "alone", "native"].map(str::to_owned);
        let others: Vec<String> = all.iter().filter(|name| !affected.contains(*name)).cloned().collect();
        listed += affected.len();
        spared += others.len();
        if others.is_empty() {
            continue;
        }
        let outcome = build(&others);
        let table: Vec<&str> = outcome.stderr.lines().filter(|line| line.contains(" built ")).collect();
        assert!(
            table.is_empty(),
            "round {round}: not affected and built: {table:?}\naffected: {answer:#}\n{outcome}"
        );
    }
    assert!(listed > 20 && spared > 40, "the edits say something: {listed} listed, {spared} not");
}

#[test]
fn what_is_affected_is_built_alone() {
    let kairn = Kairn::new();
    let workspace = Workspace::new("[image.a]\ncontext='a'\n[image.b]\ncontext='b'\n")
        .file("a/Dockerfile", "FROM scratch\nCOPY f /f\n")
        .file("a/f", "1\n")
        .file("b/Dockerfile", "FROM a\nCOPY g /g\n")
        .file("b/g", "1\n");
    workspace.commit();
    let since = |what: &str| workspace.on(&kairn, "build").args(["--affected-since", what]).run();
    since("HEAD").succeeded().says(&["nothing that was asked for changed since `HEAD`"]);
    workspace.write("b/g", "2\n");
    let built = since("HEAD").succeeded().says(&["b: `", "g` changed, which `COPY g /g` of `b/0` reads"]);
    assert_eq!(built.stdout.lines().count(), 1, "{built}");
    since("nowhere").failed(2, &["the repository has no such revision"]);
    // By a link to the folder it is the same.
    let links = test_dir("link-");
    std::os::unix::fs::symlink(workspace.path(), links.path().join("to")).expect("a link");
    let linked = kairn
        .command("affected")
        .args(["--since", "HEAD", "--format", "names"])
        .args([links.path().join("to")]);
    assert_eq!(linked.run().succeeded().stdout, "b\n");
    let list = test_dir("list-");
    std::fs::write(list.path().join("files"), workspace.join("a/f").display().to_string()).expect("a list");
    let by_list = workspace
        .on(&kairn, "affected")
        .args(["--format", "names", "--files"])
        .args([list.path().join("files")]);
    assert_eq!(by_list.run().succeeded().stdout, "a\nb\n");
}
