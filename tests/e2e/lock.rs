//! `kairn lock`: what names stand for, until somebody moves them.

use std::path::Path;

use crate::support::web::Web;
use crate::support::{Context, Image, Kairn, Registry, Workspace, can_run, test_dir};

#[test]
fn a_lock_pins_what_bases_stand_for() {
    if !can_run() {
        return;
    }
    let (registry, kairn) = (Registry::start(), Kairn::new());
    let host = registry.host();
    let base = |text: &str| {
        let context = Context::new(&format!("FROM {{busybox}}\nRUN echo {text} > /text\n"));
        Kairn::new().build(&context).push_to(&registry, "moving:1").run().succeeded().digest()
    };
    let first = base("one");
    let workspace = Workspace::new(&format!(
        "
        [build]
        insecure-registries = ['{host}']
        [image.a.stage.x]
        from = '{host}/moving:1'
        steps = [{{ run = 'cp /text /copy' }}]
        [image.b]
        context = 'b'
        "
    ))
    .file("b/Dockerfile", "FROM a\nRUN cat /copy\n");
    workspace.on(&kairn, "lock").run().succeeded().prints(&[&first, "1 images"]);
    let built = workspace.on(&kairn, "build").run().succeeded();
    let second = base("two");
    workspace
        .on(&kairn, "lock")
        .args(["--check"])
        .run()
        .failed(1, &["names that do not stand"])
        .prints(&["moved", &second]);
    let before = registry.requests().len();
    assert_eq!(workspace.on(&kairn, "build").run().succeeded().stdout, built.stdout);
    assert_eq!(
        registry.requests().len(),
        before,
        "with a lock nobody is asked: {:?}",
        &registry.requests()[before..]
    );
    workspace.on(&kairn, "lock").args(["--update", "moving"]).run().succeeded().prints(&["moved", &second]);
    workspace.on(&kairn, "lock").args(["--check"]).run().succeeded().prints(&["nothing moved"]);
    assert_ne!(workspace.on(&kairn, "build").run().succeeded().stdout, built.stdout);
    workspace
        .on(&kairn, "lock")
        .args(["--update", "nobody"])
        .run()
        .failed(2, &["no base, Git reference or file"]);
    workspace.write("kairn.lock", "version = 99\n");
    workspace.on(&kairn, "build").run().failed(2, &["it has the version 99"]);
}

#[test]
fn git_references_and_urls_are_locked_as_well() {
    if !can_run() {
        return;
    }
    let web = Web::start(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/web"));
    let kairn = Kairn::new();
    let address = web.url();
    let workspace = Workspace::new(&format!(
        "
        [image.git.stage.s]
        steps = [{{ add = '{address}/repo.git#main', to = '/git' }}]
        [image.file.stage.s]
        steps = [{{ add = '{address}/plain.txt', to = '/f' }}]
        [image.context]
        context = '{address}/repo.git#main'
        dockerfile-inline = '''
        FROM scratch
        COPY . /
        '''
        "
    ));
    workspace.on(&kairn, "lock").run().succeeded().prints(&["0 images, 1 Git references, 1 files"]);
    let texts = |kairn: &Kairn| {
        ["git", "context"].map(|name| {
            let out = test_dir("image-");
            let output = format!("type=oci,dest={},tar=false", out.path().join("oci").display());
            workspace.on(kairn, "build").args([name, "-o", &output]).run().succeeded();
            let tree = Image::from_layout(&out.path().join("oci"), "latest").tree();
            if name == "git" { tree.text("git/file") } else { tree.text("file") }
        })
    };
    let first = texts(&kairn);
    web.commit("another\n");
    // Another store has seen nothing, and gets the commit of the lock.
    let other = Kairn::new();
    assert_eq!(texts(&other), first);
    std::fs::write(web.folder().join("plain.txt"), "changed\n").expect("a file of the server");
    workspace.on(&other, "build").args(["file"]).run().failed(2, &["plain.txt", "has the digest"]);
    let check = workspace.on(&kairn, "lock").args(["--check"]).run();
    check.failed(1, &[]).prints(&["moved", "repo.git#main", "plain.txt"]);
    workspace.on(&kairn, "lock").args(["--update", "plain.txt"]).run().succeeded();
    workspace.on(&other, "build").args(["file"]).run().succeeded();
    assert_eq!(texts(&other), first);
    workspace.on(&kairn, "lock").args(["--update"]).run().succeeded();
    assert_eq!(texts(&other), ["another\n", "another\n"]);
}
