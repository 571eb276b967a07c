//! The user's mistakes: exit code 2, the place shown, and what to do.

use crate::support::{Context, Kairn, can_run};

struct Case {
    name: &'static str,
    dockerfile: &'static str,
    args: &'static [&'static str],
    /// What standard error must say.
    says: &'static [&'static str],
}

const fn case(name: &'static str, dockerfile: &'static str, says: &'static [&'static str]) -> Case {
    Case { name, dockerfile, args: &[], says }
}

const CASES: &[Case] = &[
    case("an unknown instruction", "FROM scratch\nCPOY a /a\n", &["CPOY", "COPY", "Dockerfile:2"]),
    case("an instruction before FROM", "RUN true\nFROM scratch\n", &["RUN", "FROM", "Dockerfile:1"]),
    case("no FROM at all", "# nothing\n", &["FROM"]),
    case(
        "an unknown stage",
        "FROM scratch AS build\nFROM scratch\nCOPY --from=biuld /a /a\n",
        &["biuld", "Dockerfile:3"],
    ),
    case("a stage's own number", "FROM scratch\nCOPY --from=0 /a /a\n", &["Dockerfile:2"]),
    case(
        "a stage that comes later",
        "FROM scratch AS a\nCOPY --from=late /a /a\nFROM scratch AS late\nFROM a\n",
        &["late", "Dockerfile:2"],
    ),
    case("a source that is missing", "FROM scratch\nCOPY missing.txt /\n", &["missing.txt", "Dockerfile:2"]),
    case(
        "a source missing in a stage",
        "FROM scratch AS a\nCOPY f /f\nFROM scratch\nCOPY --from=a /nope /\n",
        &["nope"],
    ),
    case("a COPY without destination", "FROM scratch\nCOPY f\n", &["COPY", "Dockerfile:2"]),
    case("an unknown flag", "FROM scratch\nCOPY --chwon=1 f /f\n", &["--chwon", "--chown"]),
    case("a bad port", "FROM scratch\nEXPOSE eighty\n", &["eighty"]),
    case("a bad reference", "FROM UPPER/Case:x y\n", &["Dockerfile:1"]),
    case("an empty base name", "ARG BASE\nFROM ${BASE}\n", &["BASE"]),
    case("a bad mode", "FROM scratch\nCOPY --chmod=99 f /f\n", &["99"]),
    case("a required variable", "FROM scratch\nENV A=${B:?is not set}\n", &["is not set"]),
    case("an escape at the end of the file in quotes", "FROM scratch\nENV A=\"unclosed\n", &["Dockerfile:2"]),
    case("a mount of no type", "FROM scratch\nRUN --mount=type=cahce,target=/c true\n", &["cahce", "cache"]),
    case("a heredoc without an end", "FROM scratch\nRUN <<EOF\ntrue\n", &["<<EOF", "EOF"]),
    case(
        "COPY of a URL",
        "FROM scratch\nCOPY https://example.test/f /f\n",
        &["https://example.test/f", "ADD"],
    ),
    case("two mistakes are both told", "FROM scratch\nCPOY a /a\nRNU true\n", &["CPOY", "RNU"]),
    Case {
        name: "an unknown target",
        dockerfile: "FROM scratch AS build\nCOPY f /\n",
        args: &["--target", "biuld"],
        says: &["biuld", "build"],
    },
    Case {
        name: "a bad tag",
        dockerfile: "FROM scratch\nCOPY f /\n",
        args: &["-t", "UPPER CASE"],
        says: &["UPPER CASE"],
    },
    Case {
        name: "a push without a tag",
        dockerfile: "FROM scratch\nCOPY f /\n",
        args: &["--push"],
        says: &["-t"],
    },
    Case {
        name: "an unknown output",
        dockerfile: "FROM scratch\nCOPY f /\n",
        args: &["-o", "type=floppy,dest=/x"],
        says: &["floppy"],
    },
    Case {
        name: "an unknown option",
        dockerfile: "FROM scratch\nCOPY f /\n",
        args: &["--psuh"],
        says: &["--psuh", "--push"],
    },
    Case {
        name: "a bad platform",
        dockerfile: "FROM scratch\nCOPY f /\n",
        args: &["--platform", "a/b/c/d"],
        says: &["a/b/c/d"],
    },
    Case {
        name: "a bad number of jobs",
        dockerfile: "FROM scratch\nCOPY f /\n",
        args: &["--jobs", "many"],
        says: &["many"],
    },
];

#[test]
fn mistakes_are_shown_with_their_place_and_a_way_out() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    let mut wrong = Vec::new();
    for Case { name, dockerfile, args, says } in CASES {
        let context = Context::new(dockerfile).file("f", "").file("g", "");
        let outcome = kairn.build(&context).args(*args).run();
        let missing: Vec<_> = says.iter().filter(|text| !outcome.stderr.contains(**text)).collect();
        if outcome.code != 2 || !missing.is_empty() || !outcome.stdout.is_empty() {
            wrong.push(format!("=== {name}: lacks {missing:?}\n{outcome}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    kairn.assert_nothing_left();
    let good = Context::new("FROM scratch\nCOPY f /f\n").file("f", "");
    kairn.build(&good).run().succeeded();
}

#[test]
fn missing_files_and_contexts_are_named() {
    if !can_run() {
        return;
    }
    let kairn = Kairn::new();
    let context = Context::new("FROM scratch\n");
    std::fs::remove_file(context.join("Dockerfile")).expect("the Dockerfile is removed");
    kairn.build(&context).run().failed(2, &["Dockerfile"]);
    kairn.build(&context).args(["-f", "/no/such/file"]).run().failed(2, &["/no/such/file"]);
    kairn.command("build").args(["/no/such/context"]).run().failed(2, &["/no/such/context"]);
    kairn.command("build").args([context.join("x")]).run().failed(2, &["x"]);
    context.write("Dockerfile", b"FROM scratch\nCOPY \xff\xfe /\n");
    kairn.build(&context).run().failed(2, &["UTF-8"]);
}
