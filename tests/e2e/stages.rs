//! Several stages: what flows between them, what is built at all, what runs at the same time.

use crate::support::{Context, Kairn, can_run};

#[test]
fn files_are_copied_from_stages_by_name_by_number_and_from_images() {
    if !can_run() {
        return;
    }
    let context = Context::new(
        "
        FROM {busybox} AS first
        RUN echo one > /one && mkdir -p /dir/sub && echo deep > /dir/sub/deep
        FROM {busybox}
        RUN echo two > /two
        FROM scratch
        COPY --from=first /one /by-name
        COPY --from=1 two /by-number
        COPY --from={busybox} /etc/group /by-image
        COPY --from=first /dir /dir/
        COPY --from=FIRST /one /by-name-in-capitals
        ",
    );
    let tree = Kairn::new().image_of(&context).tree();
    let texts = ["by-name", "by-number", "dir/sub/deep", "by-name-in-capitals"].map(|path| tree.text(path));
    assert_eq!(texts, ["one\n", "two\n", "deep\n", "one\n"]);
    assert!(tree.text("/by-image").starts_with("root:x:0:"));
    assert!(!tree.has("bin/sh"), "nothing else is there:\n{}", tree.listing(""));
}

#[test]
fn independent_stages_run_at_the_same_time() {
    if !can_run() {
        return;
    }
    let context = Context::new(
        "
        FROM {busybox} AS left
        RUN sleep 1; echo left > /left
        FROM {busybox} AS right
        RUN sleep 1; echo right > /right
        FROM scratch
        COPY --from=left /left /
        COPY --from=right /right /
        ",
    );
    let kairn = Kairn::new();
    let outcome = kairn.build(&context).with_events().args(["--jobs", "2"]).run().succeeded();
    let (left, right) = (outcome.interval_of("echo left"), outcome.interval_of("echo right"));
    let overlap_ns = left.1.min(right.1).saturating_sub(left.0.max(right.0));
    assert!(overlap_ns > 500_000_000, "left {left:?} and right {right:?} do not overlap\n{outcome}");

    let one_by_one = Kairn::new().build(&context).with_events().args(["--jobs", "1"]).run().succeeded();
    let (left, right) = (one_by_one.interval_of("echo left"), one_by_one.interval_of("echo right"));
    assert!(left.1 <= right.0 || right.1 <= left.0, "left {left:?} and right {right:?} overlap with one job");
    assert_eq!(one_by_one.digest(), outcome.digest());
}

#[test]
fn only_what_the_target_reaches_is_built() {
    if !can_run() {
        return;
    }
    let context = Context::new(
        "
        FROM {registry}/no/such:image AS unreachable
        RUN exit 1
        FROM {busybox} AS tools
        RUN echo tools > /tools
        FROM {busybox} AS broken
        RUN exit 1
        FROM scratch AS final
        COPY --from=tools /tools /
        ",
    );
    let kairn = Kairn::new();
    let outcome = kairn.build(&context).with_events().run().succeeded();
    assert!(!outcome.stderr.contains("exit 1"), "{outcome}");
    let tools = kairn.image_by(kairn.build(&context).args(["--target", "tools"]));
    assert_eq!(tools.tree().text("/tools"), "tools\n");
    assert!(tools.tree().has("bin/sh"));
    kairn.build(&context).args(["--target", "broken"]).run().failed(1, &["exit 1"]);
}

#[test]
fn equal_steps_run_once() {
    if !can_run() {
        return;
    }
    let context = Context::new(
        "
        FROM {busybox} AS a
        RUN echo same > /same
        RUN echo a > /a
        FROM {busybox} AS b
        RUN echo same > /same
        RUN echo b > /b
        FROM scratch
        COPY --from=a /same /a /
        COPY --from=b /b /
        ",
    );
    let outcome = Kairn::new().build(&context).with_events().run().succeeded();
    let events = outcome.events();
    let started = |text: &str| {
        let named = |name: &str| name.contains(text);
        events
            .iter()
            .filter(|e| e["event"] == "step-started" && e["name"].as_str().is_some_and(named))
            .count()
    };
    assert_eq!((started("echo same"), started("echo a"), started("echo b")), (1, 1, 1), "{outcome}");
}

#[test]
fn variables_reach_what_their_scope_says() {
    if !can_run() {
        return;
    }
    let context = Context::new(
        "
        ARG BASE={busybox}
        ARG GLOBAL=global
        FROM ${BASE} AS build
        ARG GLOBAL
        ARG PLAIN=default
        ARG GIVEN=default
        ENV FIXED=env-${PLAIN} FALLBACK=${MISSING:-fallback}
        RUN echo \"$GLOBAL $PLAIN $GIVEN $FIXED $FALLBACK ${UNDECLARED-none}\" > /scopes
        FROM ${BASE}
        COPY --from=build /scopes /
        RUN echo \"${GLOBAL-none} ${PLAIN-none} ${FIXED-none}\" > /other-scope
        ",
    );
    let kairn = Kairn::new();
    let image = kairn.image_by(kairn.build(&context).args([
        "--build-arg",
        "GIVEN=given",
        "--build-arg=UNDECLARED=x",
    ]));
    assert_eq!(image.tree().text("/scopes"), "global default given env-default fallback none\n");
    assert_eq!(image.tree().text("/other-scope"), "none none none\n");
}

#[test]
fn the_graph_is_drawn_in_every_format() {
    if !can_run() {
        return;
    }
    let context = Context::new(
        "
        FROM scratch AS unused
        COPY unused /
        FROM {busybox} AS build
        RUN make it
        FROM scratch
        COPY --from=build /it /
        ",
    );
    let kairn = Kairn::new();
    for (format, marks) in [
        ("text", &["RUN make it", "COPY"][..]),
        ("dot", &["digraph", "->", "RUN make it"]),
        ("mermaid", &["graph", "-->", "RUN make it"]),
        ("json", &["{", "RUN make it"]),
    ] {
        let registry = crate::support::bases::shared().host();
        let graph = kairn.command("graph").args(["--format", format, "--insecure-registry", &registry]);
        let outcome =
            graph.args(["-f".as_ref(), context.join("Dockerfile").as_os_str(), context.path().as_os_str()]);
        let outcome = outcome.run().succeeded();
        for mark in marks {
            let found =
                outcome.stdout.contains(mark) || *mark == "graph" && outcome.stdout.contains("flowchart");
            assert!(found, "{format} lacks `{mark}`\n{outcome}");
        }
        assert!(!outcome.stdout.contains("unused"), "{format} shows a stage that is not built\n{outcome}");
        if format == "json" {
            serde_json::from_str::<serde_json::Value>(&outcome.stdout).expect("the graph is JSON");
        }
    }
}
