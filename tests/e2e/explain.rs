//! What an edit makes run again, and what kairn says of it: before the build, and after.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::bases;
use crate::support::kairn::Invocation;
use crate::support::tools::set_mode;
use crate::support::{Context, Kairn, can_run, run};

const DOCKERFILE: &str = "
    FROM {busybox} AS build
    ARG VERSION=1
    ENV MODE=fast LEVEL=2
    WORKDIR /src
    COPY src/ ./
    COPY --chmod=755 tool /tool
    RUN echo $VERSION $MODE; wc -c < main.c > /size
    RUN --mount=target=/conf,source=conf cat /conf/a
    FROM {busybox}
    LABEL a=b
    COPY --from=build /size /size
    RUN <<END
    cat /size > /out
    END
    CMD [\"x\"]
    ";

fn context() -> Context {
    Context::new(DOCKERFILE)
        .file("src/main.c", "int main;\n")
        .file("src/util.c", "int util;\n")
        .file("src/noise.log", "noise\n")
        .file("tool", "#!/bin/sh\n")
        .file("conf/a", "a\n")
        .file("conf/b", "b\n")
        .file("README", "words\n")
        .file(".dockerignore", "src/*.log\n")
        .link("src/link", "main.c")
}

/// A row: the edit's name; the edit; options of the build; the steps that have to run, each with what is said of it.
type Row = (&'static str, fn(&Context), &'static [&'static str], &'static [(&'static str, &'static str)]);

/// Steps that run only because a step before them gave another result are not listed.
const ROWS: &[Row] = &[
    ("nothing", |_| (), &[], &[]),
    ("a file is touched", |c| touch(&c.join("src/main.c")), &[], &[]),
    ("a directory is touched", |c| touch(&c.join("src")), &[], &[]),
    (
        "a file has another content",
        |c| c.write("src/main.c", b"int main2;\n"),
        &[],
        &[("COPY src/", "in the build context, the content of `src/main.c` changed")],
    ),
    (
        "a file has another mode",
        |c| set_mode(&c.join("src/main.c"), 0o600),
        &[],
        &[("COPY src/", "the mode of `src/main.c` is 0600, and was 0644")],
    ),
    ("the copied directory itself has another mode", |c| set_mode(&c.join("src"), 0o700), &[], &[]),
    (
        "a file has another owner",
        |c| std::os::unix::fs::chown(c.join("src/main.c"), Some(7), Some(7)).expect("root"),
        &[],
        &[],
    ),
    (
        "a file is renamed",
        |c| rename(c, "src/util.c", "src/other.c"),
        &[],
        &[("COPY src/", "`src/util.c` was renamed to `src/other.c`")],
    ),
    ("a file is added", |c| c.write("src/new.c", b"new"), &[], &[("COPY src/", "`src/new.c` was added")]),
    (
        "a directory is added",
        |c| c.write("src/sub/new.c", b"new"),
        &[],
        &[("COPY src/", "`src/sub/new.c` was added")],
    ),
    (
        "an empty directory is added",
        |c| std::fs::create_dir(c.join("src/empty")).expect("a folder"),
        &[],
        &[("COPY src/", "`src/empty` was added")],
    ),
    ("a file is removed", |c| remove(c, "src/util.c"), &[], &[("COPY src/", "`src/util.c` was removed")]),
    ("a file that is not copied", |c| c.write("README", b"other words"), &[], &[]),
    ("a file that is ignored", |c| c.write("src/noise.log", b"more noise"), &[], &[]),
    ("a file that is ignored is added", |c| c.write("src/more.log", b"noise"), &[], &[]),
    (
        "a file is ignored no more",
        |c| c.write(".dockerignore", b""),
        &[],
        &[("COPY src/", "`src/noise.log` was added")],
    ),
    (
        "a pattern that changes nothing",
        |c| c.write(".dockerignore", b"# words\n/src/*.log\n*.none\n"),
        &[],
        &[],
    ),
    (
        "a link leads elsewhere",
        |c| link(c, "src/link", "util.c"),
        &[],
        &[("COPY src/", "the link `src/link` leads elsewhere")],
    ),
    (
        "a file becomes a link",
        |c| link(c, "src/util.c", "main.c"),
        &[],
        &[("COPY src/", "the type of `src/util.c` changed")],
    ),
    (
        "a file has an attribute",
        |c| {
            drop(run(Command::new("setfattr")
                .args(["-n", "user.kairn", "-v", "1"])
                .arg(c.join("src/main.c"))));
        },
        &[],
        &[("COPY src/", "the extended attributes of `src/main.c` changed")],
    ),
    (
        "several files",
        |c| {
            for n in 0..9 {
                c.write(&format!("src/{n}.c"), b"x");
            }
        },
        &[],
        &[(
            "COPY src/",
            "`src/0.c` was added; `src/1.c` was added; `src/2.c` was added; `src/3.c` was added; `src/4.c` was added; and 4 more",
        )],
    ),
    ("the mode under --chmod", |c| set_mode(&c.join("tool"), 0o600), &[], &[]),
    (
        "the content under --chmod",
        |c| c.write("tool", b"#!/bin/ash\n"),
        &[],
        &[("COPY --chmod", "the content of `tool` changed")],
    ),
    (
        "another --chmod",
        |c| edit(c, "--chmod=755", "--chmod=750"),
        &[],
        &[(
            "COPY --chmod",
            "the instruction is `COPY --chmod=750 tool /tool`, and was `COPY --chmod=755 tool /tool`",
        )],
    ),
    (
        "another destination",
        |c| edit(c, "tool /tool", "tool /tool2"),
        &[],
        &[("COPY --chmod", "the instruction is")],
    ),
    (
        "what a mount shows",
        |c| c.write("conf/a", b"A\n"),
        &[],
        &[("RUN --mount", "in the build context, the content of `conf/a` changed")],
    ),
    (
        "an ARG on the command line",
        |_| (),
        &["--build-arg", "VERSION=2"],
        &[("RUN echo", "ARG `VERSION` is `2`, and was `1`"), ("RUN --mount", "ARG `VERSION` is `2`")],
    ),
    ("the same ARG on the command line", |_| (), &["--build-arg", "VERSION=1"], &[]),
    ("an ARG that nobody declares", |_| (), &["--build-arg", "OTHER=2"], &[]),
    (
        "the default of an ARG",
        |c| edit(c, "VERSION=1", "VERSION=3"),
        &[],
        &[("RUN echo", "ARG `VERSION` is `3`, and was `1`"), ("RUN --mount", "ARG `VERSION` is `3`")],
    ),
    ("an ARG that comes after", |c| edit(c, "/conf/a\n", "/conf/a\nARG LATE=1\n"), &[], &[]),
    (
        "an ENV",
        |c| edit(c, "MODE=fast", "MODE=slow"),
        &[],
        &[("RUN echo", "ENV `MODE` is `slow`, and was `fast`"), ("RUN --mount", "ENV `MODE`")],
    ),
    (
        "an ENV more",
        |c| edit(c, "LEVEL=2", "LEVEL=2 NEW=1"),
        &[],
        &[("RUN echo", "ENV `NEW` is new: `1`"), ("RUN --mount", "ENV `NEW`")],
    ),
    (
        "an ENV less",
        |c| edit(c, " LEVEL=2", ""),
        &[],
        &[("RUN echo", "ENV `LEVEL` is gone: it was `2`"), ("RUN --mount", "ENV `LEVEL`")],
    ),
    (
        "an ENV that is secret by its name",
        |c| edit(c, "LEVEL=2", "LEVEL=2 API_TOKEN=abc"),
        &[],
        &[("RUN echo", "ENV `API_TOKEN` is new: `***`"), ("RUN --mount", "***")],
    ),
    (
        "the order of ENVs",
        |c| edit(c, "MODE=fast LEVEL=2", "LEVEL=2 MODE=fast"),
        &[],
        &[
            ("RUN echo", "the order of its variables changed"),
            ("RUN --mount", "the order of its variables changed"),
        ],
    ),
    ("a comment", |c| edit(c, "WORKDIR", "# words\nWORKDIR"), &[], &[]),
    ("blanks and lines", |c| edit(c, "COPY src/ ./", "COPY   src/ \\\n    ./  "), &[], &[]),
    ("small letters", |c| edit(c, "WORKDIR /src\nCOPY src/", "workdir /src\ncopy src/"), &[], &[]),
    (
        "blanks in a command",
        |c| edit(c, "RUN echo $VERSION $MODE;", "RUN echo $VERSION  $MODE;"),
        &[],
        &[("RUN echo", "the instruction is `RUN echo $VERSION  $MODE;")],
    ),
    ("a label", |c| edit(c, "a=b", "a=c"), &[], &[]),
    ("a command of the image", |c| edit(c, "CMD [\"x\"]", "CMD [\"y\"]\nEXPOSE 80\nENV LAST=1"), &[], &[]),
    (
        "the name of a stage",
        |c| {
            edit(c, "AS build", "AS maker");
            edit(c, "--from=build", "--from=maker");
        },
        &[],
        &[],
    ),
    ("a number for the name of a stage", |c| edit(c, "--from=build", "--from=0"), &[], &[]),
    (
        "a stage that is not needed",
        |c| edit(c, "FROM {busybox}\nLABEL", "FROM {busybox} AS unused\nRUN false\nFROM {busybox}\nLABEL"),
        &[],
        &[],
    ),
    (
        "a command more",
        |c| edit(c, "COPY --chmod", "RUN echo new > /new\nCOPY --chmod"),
        &[],
        &[("RUN echo new", "the last build had no such step")],
    ),
    (
        "a command less",
        |c| edit(c, "COPY --chmod=755 tool /tool\n", ""),
        &[],
        &[("RUN echo", "its input `COPY src/ ./` (stage build) gave another result")],
    ),
    (
        "a command that is another",
        |c| edit(c, "wc -c < main.c", "wc -l < main.c"),
        &[],
        &[("RUN echo", "and was `RUN echo $VERSION $MODE; wc -c < main.c > /size`")],
    ),
    (
        "a heredoc",
        |c| edit(c, "cat /size > /out", "cat /size > /out2"),
        &[],
        &[("RUN <<END", "the command is `cat /size > /out2\\n`, and was `cat /size > /out\\n`")],
    ),
    (
        "the working directory",
        |c| edit(c, "WORKDIR /src", "WORKDIR /source"),
        &[],
        &[
            ("WORKDIR /source", "the instruction is `WORKDIR /source`, and was `WORKDIR /src`"),
            ("COPY src/", "the destination is `/source/`, and was `/src/`"),
            ("RUN echo", "the working directory is `/source`"),
            ("RUN --mount", "the working directory is"),
        ],
    ),
    (
        "the user",
        |c| edit(c, "RUN --mount", "USER 7\nRUN --mount"),
        &[],
        &[("RUN --mount", "the user is `7`, and was `root`")],
    ),
    (
        "the shell",
        |c| edit(c, "RUN --mount", "SHELL [\"/bin/ash\", \"-c\"]\nRUN --mount"),
        &[],
        &[("RUN --mount", "the command is `/bin/ash`, and was `/bin/sh`")],
    ),
    (
        "another base",
        |c| edit(c, "FROM {busybox}\nLABEL", "FROM {debian}\nLABEL"),
        &[],
        &[("COPY --from", "the base is `{debian}`, and was `{busybox}`")],
    ),
    ("--no-cache", |_| (), &["--no-cache"], &[("WORKDIR", "`--no-cache` says so")]),
    (
        "--no-cache-filter",
        |_| (),
        &["--no-cache-filter", "BUILD"],
        &[("COPY src/", "`--no-cache-filter` says so")],
    ),
    (
        "--no-cache-filter by number",
        |_| (),
        &["--no-cache-filter", "1"],
        &[("COPY --from", "`--no-cache-filter` says so")],
    ),
];

#[test]
fn every_edit_has_its_words() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    let context = context();
    let folder = context.path().to_owned();
    let kept = context.path().with_extension("kept");
    run(Command::new("cp").arg("-a").arg(&folder).arg(&kept));
    let mut wrong = Vec::new();
    for (name, edit, options, expected) in ROWS {
        kairn.build(&context).run().succeeded();
        edit(&context);
        let expected: Vec<(String, String)> = expected
            .iter()
            .map(|(step, text)| ((*step).to_owned(), crate::support::context::resolve_names(text)))
            .collect();
        let foreseen = steps(&explain(&kairn, &context).args(["--dry-run"]).args(*options));
        let misses = foreseen.iter().filter(|step| step.verdict == "miss").count();
        if misses == 0 && !expected.is_empty() {
            wrong.push(format!("{name}: nothing was foreseen"));
        }
        check(&format!("{name}, foreseen"), &foreseen, &expected, &mut wrong);
        kairn.build(&context).args(*options).run().succeeded();
        let told = steps(&explain(&kairn, &context));
        check(&format!("{name}, told"), &told, &expected, &mut wrong);
        // What was foreseen came: what was to run ran, what was cached was, and what was open is neither.
        for (before, after) in foreseen.iter().zip(&told) {
            let (before, after) = (before.verdict.as_str(), after.verdict.as_str());
            if !matches!((before, after), ("open", "hit" | "miss")) && before != after {
                wrong.push(format!("{name}: foreseen {before}, was {after}"));
            }
        }
        restore(&kept, &folder);
    }
    let _ = std::fs::remove_dir_all(&kept);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(ROWS.len() >= 30, "the issue asks for 30");
}

/// A step as `kairn explain` tells it.
struct Step {
    instruction: String,
    verdict: String,
    causes: Vec<String>,
}

fn explain(kairn: &Kairn, context: &Context) -> Invocation {
    kairn.on("explain", context).args(["--format", "json"])
}

fn steps(invocation: &Invocation) -> Vec<Step> {
    let outcome = invocation.run().succeeded();
    let answer: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let steps = answer["steps"].as_array().expect("steps").iter();
    steps
        .filter(|step| step["verdict"] != "source")
        .map(|step| Step {
            instruction: text(&step["instruction"]),
            verdict: text(&step["verdict"]),
            causes: step["causes"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|cause| text(&cause["text"]))
                .collect(),
        })
        .collect()
}

/// Whether exactly the steps that are expected run for a reason of their own.
fn check(name: &str, steps: &[Step], expected: &[(String, String)], wrong: &mut Vec<String>) {
    for (instruction, text) in expected {
        // Of a step behind another that runs nothing is foreseen.
        let found = steps.iter().find(|step| {
            step.instruction.to_uppercase().starts_with(&instruction.to_uppercase())
                && (step.verdict == "open"
                    || step.verdict == "miss"
                        && step.causes.first().is_some_and(|cause| cause.contains(text.as_str())))
        });
        if found.is_none() {
            let said: Vec<String> = steps
                .iter()
                .map(|step| format!("  {} {}: {:?}", step.verdict, step.instruction, step.causes))
                .collect();
            wrong.push(format!("{name}: `{instruction}` should say `{text}`\n{}", said.join("\n")));
        }
    }
    for step in steps.iter().filter(|step| step.verdict == "miss") {
        let is_expected = expected
            .iter()
            .any(|(instruction, _)| step.instruction.to_uppercase().starts_with(&instruction.to_uppercase()));
        let is_forced = step.causes.first().is_some_and(|cause| cause.contains("--no-cache"));
        let is_consequence = step.causes.first().is_some_and(|cause| cause.starts_with("its input"));
        if !is_expected && !is_consequence && !is_forced {
            wrong.push(format!("{name}: `{}` should not run: {:?}", step.instruction, step.causes));
        }
    }
}

fn touch(path: &Path) {
    let now = std::time::SystemTime::now();
    std::fs::File::open(path).and_then(|file| file.set_modified(now)).expect("a time is set");
}

fn rename(context: &Context, from: &str, to: &str) {
    std::fs::rename(context.join(from), context.join(to)).expect("a file of the context");
}

fn remove(context: &Context, path: &str) {
    std::fs::remove_file(context.join(path)).expect("a file of the context");
}

fn link(context: &Context, path: &str, target: &str) {
    remove(context, path);
    std::os::unix::fs::symlink(target, context.join(path)).expect("a link of the context");
}

/// Changes the Dockerfile.
fn edit(context: &Context, from: &str, to: &str) {
    let resolve = crate::support::context::resolve_names;
    let (from, to) = (resolve(from), resolve(to));
    let text = std::fs::read_to_string(context.join("Dockerfile")).expect("the Dockerfile");
    assert!(text.contains(&from), "`{from}` is not in the Dockerfile");
    context.write("Dockerfile", text.replacen(&from, &to, 1).as_bytes());
}

/// Puts a context back as it was.
fn restore(kept: &Path, context: &Path) {
    for entry in std::fs::read_dir(context).expect("the context").flatten() {
        let path = entry.path();
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.expect("the context is emptied");
    }
    run(Command::new("cp").arg("-a").arg(format!("{}/.", kept.display())).arg(context));
}

#[test]
fn files_of_a_stage_are_named_too() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    let context = Context::new(
        "FROM {busybox} AS build\nCOPY f /f\nRUN mkdir /out && cp /f /out/a && echo same > /out/b\n\
         FROM scratch\nCOPY --from=build /out /out\n",
    )
    .file("f", "1");
    kairn.build(&context).run().succeeded();
    context.write("f", b"2");
    kairn.build(&context).run().succeeded();
    let told = steps(&explain(&kairn, &context));
    let causes = &told.last().expect("steps").causes;
    assert!(causes[0].starts_with("its input `RUN mkdir /out"), "{causes:?}");
    assert_eq!(causes[1], "in what is copied of it, the content of `out/a` changed");
}

#[test]
fn a_base_that_moved_is_named() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    let registry = bases::shared();
    let base = |text: &str| {
        let context = Context::new(&format!("FROM {{busybox}}\nRUN echo {text} > /base\n"));
        kairn.build(&context).push_to(registry, "moving:1").run().succeeded();
    };
    base("one");
    let context = Context::new("FROM {registry}/moving:1\nRUN cat /base\n");
    let build = || kairn.build(&context).args(["--pull"]).run().succeeded();
    build();
    base("two");
    let foreseen = steps(&explain(&kairn, &context).args(["--dry-run", "--pull"]));
    build();
    for steps in [foreseen, steps(&explain(&kairn, &context))] {
        let cause = steps[0].causes.first().cloned().unwrap_or_default();
        let name = registry.reference("moving:1");
        assert!(cause.contains(&format!("the base `{name}` is sha256:")), "{cause}");
        assert!(cause.contains(", and was sha256:"), "{cause}");
    }
}

#[test]
fn what_was_never_built_and_what_is_gone_is_said() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    let context = Context::new("FROM {busybox}\nRUN head -c 3000000 /dev/urandom > /noise\n");
    explain(&kairn, &context).run().failed(2, &["no build of", "--dry-run"]);
    let fresh = steps(&explain(&kairn, &context).args(["--dry-run"]));
    assert_eq!(fresh[0].causes, ["never built here"]);
    kairn.build(&context).run().succeeded();
    kairn.command("cache").args(["prune", "--all"]).run().succeeded();
    let gone = steps(&explain(&kairn, &context).args(["--dry-run"]));
    assert!(gone[0].causes[0].starts_with("evicted on 20"), "{:?}", gone[0].causes);
    assert!(gone[0].causes[0].ends_with(", was 3.0 MB"), "{:?}", gone[0].causes);
    kairn.build(&context).run().succeeded().says(&["because evicted on 20"]);
    let failing = Context::new("FROM {busybox}\nRUN false\n");
    kairn.build(&failing).run().failed(1, &[]);
    let told = steps(&explain(&kairn, &failing));
    assert_eq!(
        (told[0].verdict.as_str(), &*told[0].causes),
        ("failed", &["never built here".to_owned()][..])
    );
    let again = steps(&explain(&kairn, &failing).args(["--dry-run"]));
    assert_eq!(again[0].causes, ["it failed in the last build"]);
}

#[test]
fn a_secret_counts_by_its_content_where_the_user_says_so() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    let context = Context::new("FROM {busybox}\nRUN --mount=type=secret,id=s wc -c < /run/secrets/s\n");
    let secret = ["--secret", "id=s,env=V,key=content"];
    let build = |value: &str| kairn.build(&context).args(secret).env("V", value).with_events();
    build("first-secret-value").run().succeeded();
    assert_eq!(build("first-secret-value").run().succeeded().steps_run().len(), 0);
    let foreseen = steps(&explain(&kairn, &context).args(["--dry-run"]).args(secret).env("V", "other"));
    assert_eq!(foreseen[0].causes, ["the content of the secret `s` changed"]);
    assert_eq!(build("other").run().succeeded().steps_run().len(), 1);
    kairn
        .build(&context)
        .args(["--secret", "id=s,env=V,key=x"])
        .env("V", "")
        .run()
        .failed(2, &["key=content"]);
    let found = run(Command::new("sh")
        .arg("-c")
        .arg(format!("grep -rl first-secret-value {} || true", kairn.root().display())));
    assert_eq!(found, "", "no secret is in the store");
}

#[test]
fn another_machine_compares_with_the_shared_cache() {
    if !can_run() {
        return;
    }
    let (one, two) = (Kairn::new(), Kairn::new());
    let context = Context::new("FROM {busybox}\nARG V=1\nCOPY f /f\nRUN echo $V\n").file("f", "1");
    let cache = crate::support::test_dir("cache-");
    let folder = cache.path().join("cache").display().to_string();
    one.build(&context).args(["--cache-to", &format!("type=local,dest={folder},mode=max")]).run().succeeded();
    let from = ["--cache-from".to_owned(), format!("type=local,src={folder}")];
    let look = || steps(&explain(&two, &context).args(["--dry-run"]).args(&from));
    assert!(look().iter().all(|step| step.verdict == "hit"));
    context.write("f", b"2");
    assert_eq!(look()[0].causes, ["in the build context, the content of `f` changed"]);
    context.write("f", b"1");
    edit(&context, "V=1", "V=2");
    assert_eq!(look()[1].causes, ["ARG `V` is `2`, and was `1`"]);
}
