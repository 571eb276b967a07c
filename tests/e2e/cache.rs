//! The store: what runs again and what does not, and what survives a sudden end.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{Context, Kairn, Outcome, can_run, tools::set_mode};

const TWO_STAGES: &str = "
    FROM {busybox} AS build
    COPY input /src/input
    RUN wc -c < /src/input > /size
    FROM {busybox}
    RUN echo base tools > /tools
    COPY --from=build /size /size
    RUN cat /size /tools > /both
    ";

/// What is changed, how, and the steps that have to run.
type Change<'a> = (&'static str, &'a dyn Fn(), BTreeSet<String>);

fn ran(outcome: &Outcome) -> BTreeSet<String> {
    outcome
        .steps_run()
        .into_iter()
        .filter(|name| name.starts_with("RUN") || name.starts_with("COPY"))
        .collect()
}

#[test]
fn a_second_build_runs_nothing() {
    if !can_run() {
        return;
    }
    let context = Context::new(TWO_STAGES).file("input", "12345");
    let kairn = Kairn::new();
    let first = kairn.build(&context).with_events().run().succeeded();
    assert_eq!(ran(&first).len(), 5, "{first}");
    let second = kairn.build(&context).with_events().run().succeeded();
    assert_eq!(second.steps_run(), BTreeSet::new(), "{second}");
    assert_eq!(first.digest(), second.digest());

    let copy = Context::new(TWO_STAGES).file("input", "12345");
    let elsewhere = kairn.build(&copy).with_events().run().succeeded();
    assert_eq!(
        ran(&elsewhere),
        BTreeSet::new(),
        "another folder with newer files of the same content\n{elsewhere}"
    );
    assert_eq!(first.digest(), elsewhere.digest());

    let forced = kairn.build(&context).with_events().args(["--no-cache"]).run().succeeded();
    assert_eq!(ran(&forced).len(), 5, "{forced}");
}

#[test]
fn a_file_that_changes_at_once_is_seen() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    let context =
        Context::new("FROM scratch\nCOPY . /all/\n").file("f", "00").file(".dockerignore", "Dockerfile");
    let digests: BTreeSet<String> = (0..40)
        .map(|round| {
            // Of one size, in one place, and as soon as the build before has read it.
            context.write("f", format!("{round:02}").as_bytes());
            kairn.build(&context).run().succeeded().digest()
        })
        .collect();
    assert_eq!(digests.len(), 40, "each content has an image of its own");
}

#[test]
fn only_what_a_change_reaches_runs_again() {
    if !can_run() {
        return;
    }
    let context = Context::new(TWO_STAGES).file("input", "12345").file("unrelated", "1");
    let kairn = Kairn::new();
    kairn.build(&context).run().succeeded();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let starts = |outcome: &Outcome| {
        ran(outcome)
            .iter()
            .map(|name| name.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
            .collect()
    };
    let same_size = names(&["COPY input", "RUN wc"]);
    let cases: [Change<'_>; 4] = [
        ("a file that no COPY names", &|| context.write("unrelated", b"2"), names(&[])),
        ("an early cut-off: the same size again", &|| context.write("input", b"54321"), same_size.clone()),
        ("a mode", &|| set_mode(&context.join("input"), 0o600), same_size),
        (
            "a size",
            &|| context.write("input", b"123456"),
            names(&["COPY input", "RUN wc", "COPY --from=build", "RUN cat"]),
        ),
    ];
    for (change, apply, expected) in cases {
        apply();
        let outcome = kairn.build(&context).with_events().run().succeeded();
        let steps: BTreeSet<String> = starts(&outcome);
        assert_eq!(steps, expected, "{change}\n{outcome}");
    }
}

#[test]
fn a_build_killed_in_the_middle_of_a_run_leaves_a_store_that_works() {
    if !can_run() {
        return;
    }
    let context = Context::new(
        "FROM {busybox}\nRUN echo one > /one\nRUN echo two > /two && sleep 2 && echo three >> /two\n",
    );
    let kairn = Kairn::new();
    let mut command = kairn.build(&context).args(["--progress", "plain"]).to_command();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kairn starts");
    let in_the_run = Instant::now() + Duration::from_secs(20);
    while !sleeps_below(child.id()) && Instant::now() < in_the_run {
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().expect("kairn is killed");
    let killed = Outcome::of_child(&mut child, "kairn build, killed".to_owned());
    assert_eq!(killed.code, 128 + 9, "{killed}");
    kairn.assert_nothing_left();

    let again = kairn.build(&context).with_events().run().succeeded();
    assert_eq!(ran(&again).len(), 1, "the finished step is kept, the killed one runs again\n{again}");
    let fresh = Kairn::new().build(&context).run().succeeded();
    assert_eq!(again.digest(), fresh.digest(), "as if it had never been killed");
    let temporary = std::fs::read_dir(kairn.root().join("tmp")).map_or(0, Iterator::count);
    assert_eq!(temporary, 0, "what the killed build left is cleared by the next");
}

/// Tells whether some descendant of a process is a `sleep`.
pub(crate) fn sleeps_below(pid: u32) -> bool {
    let children =
        std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten().flat_map(|task| {
            let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            text.split_whitespace().filter_map(|child| child.parse::<u32>().ok()).collect::<Vec<_>>()
        });
    children.into_iter().any(|child| {
        std::fs::read_to_string(format!("/proc/{child}/cmdline"))
            .is_ok_and(|line| line.starts_with("sleep\0"))
            || sleeps_below(child)
    })
}

#[test]
fn two_builds_at_once_share_a_store() {
    if !can_run() {
        return;
    }
    let context = Context::new(TWO_STAGES).file("input", "12345");
    for _ in 0..3 {
        let kairn = Kairn::new();
        let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
            let builds: Vec<_> = (0..3).map(|_| scope.spawn(|| kairn.build(&context).run())).collect();
            builds.into_iter().map(|build| build.join().expect("a build")).collect()
        });
        let digests: BTreeSet<String> =
            outcomes.into_iter().map(|outcome| outcome.succeeded().digest()).collect();
        assert_eq!(digests.len(), 1, "{digests:?}");
    }
}
