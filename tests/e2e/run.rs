//! What a RUN sees, and what it cannot leave behind.

use crate::support::{Context, Kairn, can_run};

#[test]
fn a_run_sees_an_ordinary_machine() {
    if !can_run() {
        return;
    }
    // Each row: a shell command, and what it prints in a RUN.
    let cases = [
        ("test -r /proc/self/status && grep -c ^Name: /proc/self/status", "1"),
        ("stat -c %t,%T /dev/null", "1,3"),
        ("echo x > /dev/null && head -c 3 /dev/zero | wc -c", "3"),
        ("head -c 3 /dev/urandom | wc -c", "3"),
        ("echo x | cat /dev/stdin", "x"),
        ("test -d /sys/kernel && echo sys", "sys"),
        (
            "test -s /etc/hosts && grep -c -w localhost /etc/hosts | grep -v ^0 >/dev/null && echo hosts",
            "hosts",
        ),
        ("test -e /etc/resolv.conf && echo resolv", "resolv"),
        ("touch /dev/shm/x && echo shm", "shm"),
        ("id -u; id -g", "0\n0"),
        ("pwd", "/"),
        ("echo $HOME", "/root"),
        ("echo $PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("env | grep -c KAIRN || true", "0"),
        ("umask", "0022"),
        ("cat <&0 | wc -c", "0"),
        ("ls /proc/self/fd | grep -v -x 10 | wc -l", "4"),
    ];
    let runs: Vec<String> =
        cases.iter().enumerate().map(|(n, (command, _))| format!("({command}) > /o/{n}")).collect();
    let context = Context::new(&format!("FROM {{busybox}}\nRUN mkdir /o && {}\n", runs.join(" && ")));
    let image = Kairn::new().image_of(&context);
    let tree = image.tree();
    for (n, (command, expected)) in cases.iter().enumerate() {
        assert_eq!(tree.text(&format!("/o/{n}")).trim_end(), *expected, "{command}");
    }
    let strangers: Vec<String> = image
        .layer(-1)
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| !(path.is_empty() || path == "." || path == "o" || path.starts_with("o/")))
        .collect();
    assert!(strangers.is_empty(), "the machine's own files are in the layer: {strangers:?}");
}

#[test]
fn user_workdir_and_environment_apply() {
    if !can_run() {
        return;
    }
    let context = Context::new(
        "
        FROM {busybox}
        ENV GREETING='hello world' EMPTY=
        ARG FROM_ARG=arg
        WORKDIR /made/by/root
        USER app
        WORKDIR /made/by/app
        RUN echo \"$(id -u):$(id -g):$(id -G) $(pwd) $GREETING [$EMPTY] $FROM_ARG $HOME\" > /tmp/app
        USER 4242:4343
        RUN [\"/bin/sh\", \"-c\", \"echo $(id -u):$(id -g) > /tmp/numbers\"]
        USER root
        SHELL [\"/bin/busybox\", \"sh\", \"-e\", \"-c\"]
        RUN echo \"$0 $-\" > /tmp/shell
        ",
    );
    let tree = Kairn::new().image_of(&context).tree();
    assert_eq!(tree.text("/tmp/app"), "1000:1000:1000 2000 /made/by/app hello world [] arg /home/app\n");
    assert_eq!(tree.text("/tmp/numbers"), "4242:4343\n");
    assert!(tree.text("/tmp/shell").contains('e'), "the SHELL's own flags apply");
    let owner = |path: &str| tree.get(path).map(|node| (node.uid, node.gid, node.mode)).expect(path);
    assert_eq!(owner("/made/by/root"), (0, 0, 0o755));
    assert_eq!(owner("/made/by/app"), (1000, 1000, 0o755));
}

#[test]
fn a_failing_run_says_where_and_why() {
    if !can_run() {
        return;
    }
    let context = Context::new(
        "
        FROM {busybox}
        RUN echo fine
        RUN echo to-stdout && \\
            echo to-stderr >&2 && \\
            exit 42
        RUN echo never > /never
        ",
    );
    let kairn = Kairn::new();
    let outcome = kairn.build(&context).args(["--progress", "plain"]).run();
    let outcome = outcome.failed(1, &["to-stdout", "to-stderr", "42", "exit 42", "Dockerfile:3"]);
    assert_eq!(outcome.stdout, "", "no result is printed\n{outcome}");
    assert!(!outcome.stderr.contains("RUN echo never"), "nothing after it starts\n{outcome}");
    kairn.assert_nothing_left();
    context.write("Dockerfile", b"FROM scratch\nCOPY Dockerfile /\n");
    kairn.build(&context).run().succeeded();
}

#[test]
fn programs_that_cannot_start_are_explained() {
    if !can_run() {
        return;
    }
    for (instruction, texts) in [
        ("RUN [\"/no/such/program\"]", &["/no/such/program"][..]),
        ("RUN no-such-command", &["not found", "127"]),
        ("SHELL [\"/bin/bash\", \"-c\"]\nRUN true", &["/bin/bash"]),
        ("USER nobody-knows\nRUN true", &["nobody-knows"]),
        ("RUN kill -SEGV $$", &["RUN kill"]),
    ] {
        let context = Context::new(&format!("FROM {{busybox}}\n{instruction}\n"));
        Kairn::new().build(&context).run().failed(1, texts);
    }
}

#[test]
fn one_failing_step_stops_the_others() {
    if !can_run() {
        return;
    }
    let context = Context::new(
        "
        FROM {busybox} AS slow
        RUN sleep 30; echo slow > /slow
        FROM {busybox} AS broken
        RUN sleep 0.5; exit 3
        FROM scratch
        COPY --from=slow /slow /
        COPY --from=broken /broken /
        ",
    );
    let started = std::time::Instant::now();
    let kairn = Kairn::new();
    kairn.build(&context).args(["--jobs", "2"]).run().failed(1, &["exit 3"]);
    assert!(started.elapsed().as_secs() < 20, "the slow stage was waited for");
    kairn.assert_nothing_left();
}

#[test]
fn background_processes_end_with_their_step() {
    if !can_run() {
        return;
    }
    let context = Context::new(
        "
        FROM {busybox}
        RUN (setsid sh -c 'sleep 3; echo late > /late' &) ; nohup sleep 600 >/dev/null 2>&1 & echo started > /started
        RUN sleep 1; test -e /started; ps | grep -c '[s]leep 600' > /count || true
        ",
    );
    let kairn = Kairn::new();
    let started = std::time::Instant::now();
    let tree = kairn.image_of(&context).tree();
    assert!(started.elapsed().as_secs() < 60, "the background process was waited for");
    assert!(!tree.has("late"));
    assert_eq!(tree.text("/count"), "0\n", "a process outlived its step");
    kairn.assert_nothing_left();
}

#[test]
fn progress_is_plain_lines_with_the_stage_before_them() {
    if !can_run() {
        return;
    }
    let context = Context::new("FROM {busybox} AS build\nRUN echo first; echo second >&2\nRUN true\n");
    let outcome = Kairn::new().build(&context).args(["--progress", "plain"]).run().succeeded();
    for text in ["[build ", "RUN echo first", "| first", "| second", "done "] {
        assert!(outcome.stderr.contains(text), "no `{text}`\n{outcome}");
    }
    assert!(!outcome.stderr.contains('\u{1b}'), "escape codes where there is no terminal\n{outcome}");
    assert_eq!(outcome.stdout.trim_end(), outcome.digest(), "the result alone is on standard output");
}
