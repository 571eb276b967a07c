//! COPY and ADD: from the context and from stages, straight into layers.

use crate::support::{Context, Kairn, can_run, run, tools::set_mode};

/// A context with one file of each kind that the cases below copy.
fn context(instructions: &str) -> Context {
    let context = Context::new(&format!("FROM {{busybox}}\n{instructions}\n"))
        .file("a.txt", "a\n")
        .file("b.txt", "b\n")
        .file("dir/inner.txt", "inner\n")
        .file("dir/sub/deep.txt", "deep\n")
        .link("dir/link", "inner.txt")
        .link("top-link", "a.txt");
    set_mode(&context.join("dir/sub/deep.txt"), 0o4755);
    context
}

#[test]
fn copied_files_land_where_and_as_docker_puts_them() {
    if !can_run() {
        return;
    }
    let tree_of_dir = "-0644 0:0 w/inner.txt \"inner\\n\"\nl0777 0:0 w/link -> inner.txt\nd0755 0:0 w/sub\n\
                       -4755 0:0 w/sub/deep.txt \"deep\\n\"\n";
    let under_w = |text: &str| format!("d0755 0:0 w\n{text}");
    let cases: [(&str, String); 16] = [
        ("COPY a.txt /w/f", under_w("-0644 0:0 w/f \"a\\n\"\n")),
        ("COPY a.txt /w/", under_w("-0644 0:0 w/a.txt \"a\\n\"\n")),
        ("COPY a.txt b.txt /w/", under_w("-0644 0:0 w/a.txt \"a\\n\"\n-0644 0:0 w/b.txt \"b\\n\"\n")),
        ("COPY ?.txt /w/", under_w("-0644 0:0 w/a.txt \"a\\n\"\n-0644 0:0 w/b.txt \"b\\n\"\n")),
        ("COPY dir /w", under_w(tree_of_dir)),
        ("COPY dir/ /w/", under_w(tree_of_dir)),
        ("COPY [\"a.txt\", \"/w/with space\"]", under_w("-0644 0:0 w/with space \"a\\n\"\n")),
        ("WORKDIR /w\nCOPY a.txt .", under_w("-0644 0:0 w/a.txt \"a\\n\"\n")),
        ("WORKDIR /w\nCOPY a.txt rel/f", under_w("d0755 0:0 w/rel\n-0644 0:0 w/rel/f \"a\\n\"\n")),
        ("COPY top-link /w/f", under_w("-0644 0:0 w/f \"a\\n\"\n")),
        ("COPY --chown=app:extra a.txt /w/f", "d0755 1000:2000 w\n-0644 1000:2000 w/f \"a\\n\"\n".to_owned()),
        ("COPY --chown=app a.txt /w/f", "d0755 1000:1000 w\n-0644 1000:1000 w/f \"a\\n\"\n".to_owned()),
        ("COPY --chown=7:8 a.txt /w/f", "d0755 7:8 w\n-0644 7:8 w/f \"a\\n\"\n".to_owned()),
        ("COPY --chmod=0600 a.txt /w/f", under_w("-0600 0:0 w/f \"a\\n\"\n")),
        ("USER app\nCOPY a.txt /w/f", under_w("-0644 0:0 w/f \"a\\n\"\n")),
        ("ARG F=a.txt\nENV D=/w/f\nCOPY $F ${D}", under_w("-0644 0:0 w/f \"a\\n\"\n")),
    ];
    let kairn = Kairn::new();
    for (instructions, expected) in cases {
        let image = kairn.image_of(&context(instructions));
        assert_eq!(image.tree().listing("/w"), expected, "{instructions}");
    }
}

#[test]
fn the_context_never_reaches_out_of_itself() {
    if !can_run() {
        return;
    }
    let secret = std::fs::read_to_string("/etc/passwd").expect("the host's users");
    let hostile = Context::new("FROM scratch\nCOPY tree /tree/\n").file("tree/plain", "plain");
    let hostile =
        hostile.link("tree/out", "/etc/passwd").link("tree/up", "../../../../../../../../etc/passwd");
    let tree = Kairn::new().image_of(&hostile).tree();
    let links = "l0777 0:0 tree/out -> /etc/passwd\n-0644 0:0 tree/plain \"plain\"\nl0777 0:0 tree/up -> ../../../../../../../../etc/passwd\n";
    assert_eq!(tree.listing("/tree"), format!("d0755 0:0 tree\n{links}"), "links stay links");

    // A link that is itself the source is followed, inside the context only; so is a folder on the way.
    for (source, link, target) in [
        ("leak", "leak", "/etc/passwd"),
        ("leak", "leak", "../../../../../../../../../../etc/passwd"),
        ("folder/passwd", "folder", "/etc"),
        ("folder/passwd", "folder", "../../../../../../../../../../etc"),
        ("../../../../../../../../../../etc/passwd", "x", "x"),
    ] {
        let context = Context::new(&format!("FROM scratch\nCOPY {source} /f\n")).link(link, target);
        let outcome = Kairn::new().build(&context).run().failed(2, &["COPY"]);
        assert!(!outcome.stderr.contains(secret.lines().next().expect("a user")), "{outcome}");
    }
    let inside =
        Context::new("FROM scratch\nCOPY leak /f\n").link("leak", "/etc/passwd").file("etc/passwd", "ours");
    assert_eq!(Kairn::new().image_of(&inside).tree().text("/f"), "ours");
}

#[test]
fn copies_from_a_stage_stay_inside_it() {
    if !can_run() {
        return;
    }
    let context = Context::new(
        "
        FROM {busybox} AS stage
        RUN ln -s /etc/passwd /abs; ln -s ../../../etc/passwd /rel; chown app /abs; mkdir -p /d; echo x > /d/f; chown -R app:extra /d
        FROM scratch
        COPY --from=stage /../../../etc/passwd /dots
        COPY --from=stage /abs /abs
        COPY --from=stage /rel /rel
        COPY --from=stage /d /d
        ",
    );
    let tree = Kairn::new().image_of(&context).tree();
    for path in ["dots", "abs", "rel"] {
        assert!(tree.text(path).contains("app:x:1000:1000:"), "{path} is the stage's file");
    }
    assert_eq!(tree.listing("/d/f"), "-0644 1000:2000 d/f \"x\\n\"\n", "owners are kept");
}

#[test]
fn archives_are_unpacked_by_add_and_copied_by_copy() {
    if !can_run() {
        return;
    }
    let context = Context::new(
        "
        FROM scratch
        ADD a.tar.gz /gz/
        ADD a.tar /plain
        ADD a.tar.xz b.txt /both/
        COPY a.tar /kept/
        ADD --chown=9:9 a.tar.bz2 /owned/
        ",
    )
    .file("b.txt", "b");
    let script = "mkdir src && echo hi > src/f && ln -s f src/l && ln src/f src/h && chmod 4755 src/f
        tar --owner=3 --group=4 --numeric-owner --mtime=@1000000000 --sort=name -C src -cf a.tar .
        gzip -k a.tar && xz -k a.tar && bzip2 -k a.tar";
    run(std::process::Command::new("sh").args(["-ec", script]).current_dir(context.path()));
    let tree = Kairn::new().image_of(&context).tree();
    for dir in ["gz", "plain", "both"] {
        let listing = tree.listing(&format!("/{dir}/f")) + &tree.listing(&format!("/{dir}/l"));
        assert_eq!(listing, format!("-4755 3:4 {dir}/f \"hi\\n\"\nl0777 3:4 {dir}/l -> f\n"));
        assert_eq!(tree.text(&format!("/{dir}/h")), "hi\n");
        assert_eq!(tree.get(&format!("/{dir}/f")).expect("f").mtime_ns, 1_000_000_000_000_000_000);
    }
    assert_eq!(tree.text("/both/b.txt"), "b");
    assert!(tree.has("kept/a.tar") && !tree.has("kept/f"));
    assert!(tree.listing("/owned/f").contains("9:9"), "{}", tree.listing("/owned"));
}

#[test]
fn ignored_files_are_not_there() {
    if !can_run() {
        return;
    }
    let context = Context::new("FROM scratch\nCOPY . /all/\n")
        .file(
            ".dockerignore",
            "# comment\n*.log\n**/*.tmp\nsecret\n!secret/public\nDockerfile\n.dockerignore\n/only-top\n",
        )
        .file("a.log", "")
        .file("sub/b.log", "kept: `*` stays in one folder")
        .file("x.tmp", "")
        .file("sub/deep/y.tmp", "")
        .file("secret/private", "")
        .file("secret/public", "public")
        .file("only-top/f", "")
        .file("sub/only-top/f", "kept");
    let tree = Kairn::new().image_of(&context).tree();
    let paths: Vec<String> = tree
        .listing("/all")
        .lines()
        .filter(|line| line.starts_with('-'))
        .map(|line| line.split(' ').nth(2).expect("a path").to_owned())
        .collect();
    assert_eq!(paths, ["all/secret/public", "all/sub/b.log", "all/sub/only-top/f"]);

    let gone =
        Context::new("FROM scratch\nCOPY a.log /\n").file(".dockerignore", "*.log\n").file("a.log", "");
    Kairn::new().build(&gone).run().failed(2, &["a.log", ".dockerignore"]);
}

#[test]
fn an_ignore_file_of_the_dockerfiles_own_wins() {
    if !can_run() {
        return;
    }
    let context = Context::new("")
        .file("docker/app.Dockerfile", "FROM scratch\nCOPY . /all/\n")
        .file("docker/app.Dockerfile.dockerignore", "b\ndocker\nDockerfile\n.dockerignore\n")
        .file(".dockerignore", "a\n")
        .file("a", "")
        .file("b", "");
    let kairn = Kairn::new();
    let dockerfile = context.join("docker/app.Dockerfile");
    let image = kairn.image_by(kairn.build(&context).args(["-f".as_ref(), dockerfile.as_os_str()]));
    assert_eq!(image.tree().listing("/all"), "d0755 0:0 all\n-0644 0:0 all/a \"\"\n");
}
