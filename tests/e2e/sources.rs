//! What comes from elsewhere, from build to build: linked copies, URLs, repositories, mounts, agents.

use std::os::unix::net::UnixListener;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::support::bases::hex;
use crate::support::web::Web;
use crate::support::{Context, Kairn, can_run, test_dir};

fn web() -> Web {
    Web::start(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/web"))
}

#[test]
fn a_linked_copy_is_not_made_again_on_another_base() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    let dockerfile = |base: &str| format!("FROM {{busybox}}\nRUN echo {base} > /base\nCOPY --link f /d/\n");
    let build = |base: &str| {
        let context = Context::new(&dockerfile(base)).file("f", "x\n");
        let image = kairn.image_of(&context);
        let outcome = kairn.build(&context).with_events().run().succeeded();
        assert_eq!(outcome.steps_run().len(), 0, "{outcome}");
        image
    };
    let one = build("one");
    let context = Context::new(&dockerfile("two")).file("f", "x\n");
    let ran = kairn.build(&context).with_events().run().succeeded().steps_run();
    assert!(!ran.iter().any(|step| step.contains("1/3") && step.contains("COPY")), "{ran:?}");
    let two = kairn.image_of(&context);
    assert_eq!(one.layer_digests().last(), two.layer_digests().last(), "the copy's layer is the same");
    assert_ne!(one.digest, two.digest);
}

#[test]
fn a_url_is_fetched_again_only_when_it_changed() {
    if !can_run() {
        return;
    }
    let (web, kairn) = (web(), Kairn::new());
    let url = format!("{}/plain.txt", web.url());
    let context = Context::new(&format!("FROM {{busybox}}\nADD {url} /f\nRUN cat /f\n"));
    kairn.build(&context).run().succeeded().says(&["plain"]);
    let again = kairn.build(&context).with_events().run().succeeded();
    assert_eq!(again.steps_run().len(), 0, "{again}");
    std::fs::write(web.folder().join("plain.txt"), "changed\n").expect("a file of the server");
    kairn.build(&context).run().succeeded().says(&["changed"]);
    // A file that is known by its checksum is asked of nobody.
    let sum = format!("sha256:{}", hex(&Sha256::digest("changed\n")));
    std::fs::remove_file(web.folder().join("plain.txt")).expect("a file of the server");
    let known = Context::new(&format!("FROM scratch\nADD --checksum={sum} {url} /f\n"));
    assert_eq!(kairn.image_of(&known).tree().text("f"), "changed\n");
}

#[test]
fn a_branch_that_moved_is_seen() {
    if !can_run() {
        return;
    }
    let (web, kairn) = (web(), Kairn::new());
    let context = Context::new(&format!("FROM scratch\nADD {}/repo.git#main /r/\n", web.url()));
    let first = kairn.image_of(&context);
    assert_eq!(first.tree().text("r/file"), "second\n");
    let again = kairn.build(&context).with_events().run().succeeded();
    assert_eq!(again.steps_run().len(), 0, "{again}");
    web.commit("third\n");
    assert_eq!(kairn.image_of(&context).tree().text("r/file"), "third\n");
}

#[test]
fn a_bind_of_the_context_runs_again_when_its_files_change() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    let dockerfile = "FROM {busybox}\nRUN --mount=target=/s,source=s echo got $(cat /s/f)\n";
    let context = Context::new(dockerfile).file("s/f", "one").file("other", "x");
    kairn.build(&context).run().succeeded().says(&["got one"]);
    context.write("other", b"y");
    let again = kairn.build(&context).with_events().run().succeeded();
    assert_eq!(again.steps_run().len(), 0, "a file beside the mount is nobody's: {again}");
    context.write("s/f", b"two");
    kairn.build(&context).run().succeeded().says(&["got two"]);
}

#[test]
fn a_secret_may_change_without_a_run_and_is_nowhere_in_the_store() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    let context =
        Context::new("FROM {busybox}\nRUN --mount=type=secret,id=s,env=S test -n \"$S\" && echo used\n");
    let secret = "kairn-test-secret-value";
    let build = |value: &str| kairn.build(&context).args(["--secret", "id=s,env=V"]).env("V", value);
    build(secret).run().succeeded().says(&["used"]);
    let again = build("another").with_events().run().succeeded();
    assert_eq!(again.steps_run().len(), 0, "{again}");
    let found = std::process::Command::new("grep")
        .args(["-rl", secret])
        .arg(kairn.root())
        .output()
        .expect("grep runs");
    assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
}

#[test]
fn an_agent_is_reached_through_its_mount() {
    if !can_run() {
        return;
    }
    let folder = test_dir("agent-");
    let path = folder.path().join("agent");
    let listener = UnixListener::bind(&path).expect("a socket");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            use std::io::{Read as _, Write as _};
            let mut word = [0; 5];
            if stream.read_exact(&mut word).is_ok() && &word == b"hello" {
                let _ = stream.write_all(b"agent here\n");
            }
        }
    });
    let kairn = Kairn::new();
    let context = Context::new(
        "FROM {debian}\nRUN --mount=type=ssh,uid=7,mode=0600 stat -c '%a %u' $SSH_AUTH_SOCK && \\\n  \
         perl -MIO::Socket::UNIX -e '$s = IO::Socket::UNIX->new($ENV{SSH_AUTH_SOCK}) or die; \
         print $s \"hello\"; $s->flush; print scalar <$s>'\n",
    );
    let build = kairn.build(&context).args(["--ssh", &format!("default={}", path.display())]);
    build.run().succeeded().says(&["600 7", "agent here"]);
}

#[test]
fn a_cache_mount_outlives_the_build_and_no_cache() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    let context =
        Context::new("FROM {busybox}\nRUN --mount=type=cache,target=/c echo run >> /c/log; wc -l < /c/log\n");
    kairn.build(&context).run().succeeded().says(&["| 1"]);
    kairn.build(&context).args(["--no-cache"]).run().succeeded().says(&["| 2"]);
}

#[test]
fn tokens_open_urls_and_repositories_and_are_nowhere_in_the_store() {
    if !can_run() {
        return;
    }
    let (web, kairn) = (web(), Kairn::new());
    let host = web.url().trim_start_matches("http://").to_owned();
    let url = format!("{}/private", web.url());
    let context = Context::new(&format!("FROM scratch\nADD {url}/plain.txt /f\nADD {url}/repo.git#v1 /r/\n"));
    kairn.build(&context).run().failed(3, &["private"]);
    let http = format!("id=HTTP_AUTH_TOKEN_{host},env=T");
    let git = format!("id=GIT_AUTH_TOKEN.{host},env=T");
    let build = kairn.build(&context).args(["--secret", &http, "--secret", &git]).env("T", "open");
    let tree = kairn.image_by(build).tree();
    assert_eq!((tree.text("f"), tree.text("r/file")), ("plain\n".to_owned(), "first\n".to_owned()));
    let found = std::process::Command::new("grep")
        .args(["-rli", "eC1hY2Nlc3MtdG9rZW46b3Blbg"])
        .arg(kairn.root())
        .output()
        .expect("grep runs");
    assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
}
