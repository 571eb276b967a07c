//! Step keys change with what changes the result, and with nothing else.

use std::collections::BTreeMap;

use kairn_compiler::graph::{
    Archives, ContextOp, CopyOp, CopySource, GitOp, HttpOp, ImageOp, InlineFile, InlineOp, Input, Mount,
    MountKind, Network, Op, Ownership, Parents, RunOp, Security, Sharing, StepId, WorkdirOp,
};
use kairn_compiler::key::{KeyParts, StepKey, key_parts};
use kairn_compiler::mode::ModeChange;
use kairn_compiler::{Compiled, Environment, Graph};
use kairn_image::{Digest, Platform};
use proptest::prelude::*;

use crate::cases::compiled;

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn inputs() -> Vec<(Input, Digest)> {
    vec![(Input::Root, digest("root")), (Input::Source(0), digest("source"))]
}

fn key(op: &Op) -> StepKey {
    key_parts(op, &inputs()).key()
}

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|&item| item.to_owned()).collect()
}

fn pairs(items: &[(&str, &str)]) -> Vec<(String, String)> {
    items.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn environment(items: &[(&str, &str)]) -> Environment {
    items.iter().copied().collect()
}

fn run() -> RunOp {
    RunOp {
        args: strings(&["sh", "-c", "x"]),
        env: environment(&[("A", "1"), ("B", "2")]),
        proxy_env: Vec::new(),
        arg_names: Vec::new(),
        cwd: "/".to_owned(),
        user: String::new(),
        platform: "linux/arm64".parse().unwrap(),
        mounts: Vec::new(),
        network: Network::Default,
        security: Security::Sandbox,
    }
}

fn mount(kind: MountKind) -> Op {
    Op::Run(RunOp { mounts: vec![Mount { target: Some("/m".to_owned()), kind }], ..run() })
}

fn secret() -> MountKind {
    MountKind::Secret { id: "a".to_owned(), env: None, required: false, mode: 0o400, uid: 0, gid: 0 }
}

fn cache() -> MountKind {
    MountKind::Cache {
        id: "a".to_owned(),
        sharing: Sharing::Shared,
        source: ".".to_owned(),
        read_only: false,
        mode: None,
        uid: None,
        gid: None,
    }
}

fn source(path: &str) -> CopySource {
    CopySource {
        input: 0,
        path: path.to_owned(),
        parents: None,
        ownership: Ownership::Root,
        archives: Archives::Copy,
    }
}

fn git() -> GitOp {
    GitOp {
        remote: "r".to_owned(),
        reference: None,
        subdir: None,
        checksum: None,
        keep_git_dir: false,
        submodules: true,
        commit_mtime: false,
        fetch_by_commit: false,
    }
}

fn copy() -> CopyOp {
    CopyOp {
        sources: vec![source("a"), source("b")],
        dest: "/c/".to_owned(),
        chown: None,
        mode: None,
        excludes: Vec::new(),
    }
}

fn image() -> ImageOp {
    ImageOp {
        reference: "r".to_owned(),
        manifest_digest: digest("m"),
        diff_ids: vec![digest("1"), digest("2")],
    }
}

/// Steps of which each makes something else.
fn different() -> Vec<Op> {
    let platform = |change: fn(&mut Platform)| {
        let mut run = run();
        change(&mut run.platform);
        Op::Run(run)
    };
    let workdir =
        |path: &str, user: &str| Op::Workdir(WorkdirOp { path: path.to_owned(), user: user.to_owned() });
    let copy_of = |sources| Op::Copy(CopyOp { sources, ..copy() });
    let parents = Parents { pattern: "b".to_owned(), required: true };
    let inline = |path: &str, mode, content: &str| {
        let file = InlineFile { path: path.to_owned(), mode, content: content.to_owned() };
        Op::Inline(InlineOp { files: vec![file] })
    };
    vec![
        Op::Scratch,
        Op::Context(ContextOp { name: "context".to_owned() }),
        Op::Context(ContextOp { name: "other".to_owned() }),
        Op::Image(image()),
        Op::Image(ImageOp { diff_ids: vec![digest("2"), digest("1")], ..image() }),
        Op::Image(ImageOp { diff_ids: vec![digest("1")], ..image() }),
        Op::Run(run()),
        Op::Run(RunOp { args: strings(&["sh", "-c", "y"]), ..run() }),
        Op::Run(RunOp { args: strings(&["sh", "-cx"]), ..run() }),
        Op::Run(RunOp { args: strings(&["sh", "-c", "x", ""]), ..run() }),
        Op::Run(RunOp { env: environment(&[("A", "1")]), ..run() }),
        Op::Run(RunOp { env: environment(&[("A", "1"), ("B", "3")]), ..run() }),
        Op::Run(RunOp { env: environment(&[("B", "2"), ("A", "1")]), ..run() }),
        Op::Run(RunOp { env: environment(&[("A", "1"), ("C", "2")]), ..run() }),
        Op::Run(RunOp { cwd: "/a".to_owned(), ..run() }),
        Op::Run(RunOp { user: "a".to_owned(), ..run() }),
        platform(|platform| "arm".clone_into(&mut platform.architecture)),
        platform(|platform| "other".clone_into(&mut platform.os)),
        platform(|platform| platform.variant = Some("v9".to_owned())),
        platform(|platform| platform.os_version = Some("v9".to_owned())),
        Op::Copy(copy()),
        copy_of(vec![source("a")]),
        copy_of(vec![source("b"), source("a")]),
        copy_of(vec![source("a"), CopySource { input: 1, ..source("b") }]),
        copy_of(vec![source("a"), CopySource { ownership: Ownership::Keep, ..source("b") }]),
        copy_of(vec![source("a"), CopySource { archives: Archives::Unpack, ..source("b") }]),
        copy_of(vec![source("a"), CopySource { parents: Some(parents.clone()), ..source("b") }]),
        Op::Copy(CopyOp { dest: "/c".to_owned(), ..copy() }),
        Op::Copy(CopyOp { chown: Some("a".to_owned()), ..copy() }),
        Op::Copy(CopyOp { chown: Some("b".to_owned()), ..copy() }),
        Op::Copy(CopyOp { mode: ModeChange::parse("0").ok(), ..copy() }),
        Op::Copy(CopyOp { mode: ModeChange::parse("755").ok(), ..copy() }),
        Op::Copy(CopyOp { mode: ModeChange::parse("u=rwx,go=rx").ok(), ..copy() }),
        Op::Copy(CopyOp { excludes: strings(&["x"]), ..copy() }),
        Op::Link,
        Op::Http(HttpOp { url: "u".to_owned(), name: "n".to_owned(), checksum: None }),
        Op::Http(HttpOp { url: "u".to_owned(), name: "n".to_owned(), checksum: Some(digest("c")) }),
        Op::Http(HttpOp { url: "u".to_owned(), name: "m".to_owned(), checksum: None }),
        Op::Git(git()),
        Op::Git(GitOp { reference: Some("x".to_owned()), ..git() }),
        Op::Git(GitOp { subdir: Some("x".to_owned()), ..git() }),
        Op::Git(GitOp { checksum: Some("x".to_owned()), ..git() }),
        Op::Git(GitOp { keep_git_dir: true, ..git() }),
        Op::Git(GitOp { submodules: false, ..git() }),
        Op::Git(GitOp { commit_mtime: true, ..git() }),
        Op::Git(GitOp { fetch_by_commit: true, ..git() }),
        inline("f", 0o644, "x"),
        inline("f", 0o755, "x"),
        inline("f", 0o644, "y"),
        inline("g", 0o644, "x"),
        Op::Run(RunOp { network: Network::None, ..run() }),
        Op::Run(RunOp { network: Network::Host, ..run() }),
        Op::Run(RunOp { security: Security::Insecure, ..run() }),
        mount(MountKind::Bind { source: ".".to_owned(), read_write: false }),
        mount(MountKind::Bind { source: ".".to_owned(), read_write: true }),
        mount(MountKind::Bind { source: "a".to_owned(), read_write: false }),
        mount(cache()),
        mount(secret()),
        mount(MountKind::Tmpfs { size_bytes: None }),
        mount(MountKind::Tmpfs { size_bytes: Some(1) }),
        mount(MountKind::Ssh { id: "a".to_owned(), required: false, mode: 0o600, uid: 0, gid: 0 }),
        workdir("/a", ""),
        workdir("/b", ""),
        workdir("/a", "u"),
    ]
}

#[test]
fn what_changes_the_result_changes_the_key() {
    let mut seen: BTreeMap<StepKey, Op> = BTreeMap::new();
    for op in different() {
        if let Some(other) = seen.insert(key(&op), op.clone()) {
            panic!("{op:?} and {other:?} have one key");
        }
    }
}

#[test]
fn inputs_change_the_key() {
    let op = Op::Copy(copy());
    let keys = [
        vec![],
        inputs(),
        vec![inputs()[0]],
        vec![(Input::Root, digest("other")), inputs()[1]],
        vec![inputs()[0], (Input::Source(0), digest("other"))],
        vec![(Input::Root, digest("source")), (Input::Source(0), digest("root"))],
    ]
    .map(|inputs| key_parts(&op, &inputs).key());
    let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len());
    let reversed: Vec<_> = inputs().into_iter().rev().collect();
    assert_eq!(key_parts(&op, &reversed).key(), key(&op), "the order in which inputs are given is nobody's");
}

#[test]
fn what_does_not_change_the_result_is_in_no_key() {
    let proxied = RunOp { proxy_env: pairs(&[("HTTP_PROXY", "http://p")]), ..run() };
    assert_eq!(key(&Op::Run(proxied)), key(&Op::Run(run())));
    let renamed = ImageOp { reference: "other".to_owned(), manifest_digest: digest("other"), ..image() };
    assert_eq!(key(&Op::Image(renamed)), key(&Op::Image(image())));
    let chown = |ownership| {
        let sources = vec![CopySource { ownership, ..source("a") }];
        Op::Copy(CopyOp { chown: Some("a".to_owned()), sources, ..copy() })
    };
    assert_eq!(key(&chown(Ownership::Keep)), key(&chown(Ownership::Root)));
    let named = |id: &str, sharing| {
        mount(MountKind::Cache {
            id: id.to_owned(),
            sharing,
            source: ".".to_owned(),
            read_only: false,
            mode: None,
            uid: None,
            gid: None,
        })
    };
    assert_eq!(key(&named("a", Sharing::Shared)), key(&named("b", Sharing::Locked)));
    let needed = |required| {
        let (id, env) = ("a".to_owned(), None);
        mount(MountKind::Secret { id, env, required, mode: 0o400, uid: 0, gid: 0 })
    };
    assert_eq!(key(&needed(true)), key(&needed(false)));
    let of_args = RunOp { arg_names: strings(&["A"]), ..run() };
    assert_eq!(
        key(&Op::Run(of_args)),
        key(&Op::Run(run())),
        "an ARG and an ENV of one value are one variable"
    );
}

#[test]
fn a_hidden_part_changes_the_key_and_is_not_shown() {
    let parts = || key_parts(&Op::Run(run()), &inputs());
    let hidden = |value: &[u8]| parts().with_hidden("secret.a", value);
    assert_ne!(hidden(b"one").key(), hidden(b"two").key());
    assert_ne!(hidden(b"one").key(), parts().key());
    assert_eq!(hidden(b"one").parts, hidden(b"two").parts);
    assert!(!format!("{:?}", hidden(b"one").parts).contains("one"));
}

/// The meaning of keys is shared by machines and stores: raise `VERSION` where these change.
#[test]
fn keys_stay_what_they_are() {
    let text: String = [Op::Scratch, Op::Image(image()), Op::Run(run()), Op::Copy(copy())]
        .iter()
        .map(|op| {
            let parts = key_parts(op, &inputs());
            let lines: String =
                parts.parts.iter().map(|(name, value)| format!("{name} = {value:?}\n")).collect();
            format!("{lines}=> {}\n\n", parts.key())
        })
        .collect();
    insta::assert_snapshot!(text);
}

/// Keys of all steps, inputs standing for themselves, as an executor would find them.
fn keys(graph: &Graph) -> Vec<(StepId, StepKey)> {
    let mut contents: BTreeMap<StepId, StepKey> = BTreeMap::new();
    for step in graph.topological() {
        let inputs: Vec<_> = graph.inputs(step).iter().map(|(input, id)| (*input, contents[id].0)).collect();
        contents.insert(step, key_parts(graph.op(step), &inputs).key());
    }
    contents.into_iter().collect()
}

fn target_key(text: &str) -> StepKey {
    let Compiled { graph, .. } = compiled(text).unwrap();
    let target = graph.images[0].step;
    keys(&graph).into_iter().find(|(step, _)| *step == target).unwrap().1
}

#[test]
fn names_labels_proxies_and_places_are_in_no_key() {
    let plain = target_key("FROM base:1 AS a\nRUN x\nFROM bare\nCOPY --from=a /x /\n");
    let dressed = target_key(
        "#: arg HTTP_PROXY=http://p\n#: arg UNUSED=1\n#: label c=d\n\n# words\nARG UNUSED_TOO\n\
         FROM base:1 AS other\nLABEL a=b\nRUN  x\nEXPOSE 80\nFROM base:1 AS unused\nRUN z\n\
         FROM bare AS last\nMAINTAINER me\nCOPY --from=other ./x/ /\nCMD y\n",
    );
    assert_eq!(plain, dressed);
    let declared = |value: &str| target_key(&format!("#: arg A={value}\nFROM bare\nARG A\nRUN x\n"));
    assert_ne!(declared("1"), declared("2"), "a declared ARG is in the environment of a RUN");
    let proxy =
        |value: &str| target_key(&format!("#: arg HTTP_PROXY={value}\nFROM bare\nARG HTTP_PROXY\nRUN x\n"));
    assert_ne!(proxy("1"), proxy("2"), "a declared proxy is an ARG like any other");
}

fn part() -> impl Strategy<Value = (String, String)> {
    // Few letters, so that parts which frame differently often spell the same.
    ("[ab\\[\\]=\0\n]{0,3}", "[ab\\[\\]=\0\n]{0,3}")
}

proptest! {
    #[test]
    fn framing_is_unambiguous(a in prop::collection::vec(part(), 0..5), b in prop::collection::vec(part(), 0..5)) {
        let equal = a == b;
        prop_assert_eq!(KeyParts::of(a).key() == KeyParts::of(b).key(), equal);
    }

    #[test]
    fn lists_are_framed(a in prop::collection::vec("[ab]{0,2}", 0..4), b in prop::collection::vec("[ab]{0,2}", 0..4)) {
        let equal = a == b;
        let key_of = |args: Vec<String>| key(&Op::Run(RunOp { args, ..run() }));
        prop_assert_eq!(key_of(a) == key_of(b), equal);
    }

    #[test]
    fn no_part_is_named_twice(
        args in prop::collection::vec("[ab]{0,2}", 0..4),
        names in prop::collection::btree_set("[AB]{1,2}", 0..4),
    ) {
        let env = names.into_iter().map(|name| (name, String::new())).collect::<Environment>();
        let parts = key_parts(&Op::Run(RunOp { args, env, ..run() }), &inputs()).parts;
        let distinct: std::collections::BTreeSet<_> = parts.iter().map(|(name, _)| name).collect();
        prop_assert_eq!(distinct.len(), parts.len());
    }

    #[test]
    fn a_command_has_another_key_if_it_is_another(a in any_run(), b in any_run()) {
        // Everything that a command can see, and nothing else.
        let seen = |run: &RunOp| {
            let pairs: Vec<_> = run.env.pairs().iter().map(|(n, v)| format!("{n}={v}")).collect();
            let platform = run.platform.to_string();
            let mounts: Vec<_> = run.mounts.iter().map(Mount::key_text).collect();
            let rest = (run.network, run.security);
            (run.args.clone(), pairs, run.cwd.clone(), run.user.clone(), platform, mounts, rest)
        };
        prop_assert_eq!(key(&Op::Run(a.clone())) == key(&Op::Run(b.clone())), seen(&a) == seen(&b));
    }
}

fn any_run() -> impl Strategy<Value = RunOp> {
    let names = prop::collection::vec(("[AB]", "[12]{0,1}"), 0..3);
    let place = prop_oneof![Just("/"), Just("/a")];
    let platform = prop_oneof![3 => Just("linux/amd64"), 1 => Just("linux/arm64"), 1 => Just("linux/arm/v7")];
    let kinds = prop_oneof![
        Just(MountKind::Tmpfs { size_bytes: None }),
        Just(MountKind::Tmpfs { size_bytes: Some(1) }),
        Just(cache()),
        Just(secret()),
    ];
    let mounts =
        prop::collection::vec(kinds.prop_map(|kind| Mount { target: Some("/m".to_owned()), kind }), 0..2);
    let network =
        prop_oneof![4 => Just(Network::Default), 1 => Just(Network::None), 1 => Just(Network::Host)];
    let args = prop::collection::vec("[xy]{0,1}", 1..3);
    let noise = ("[ab]{0,1}", prop::bool::ANY);
    (args, names, place, "[u]{0,1}", platform, mounts, network, noise).prop_map(
        |(args, names, cwd, user, platform, mounts, network, (proxy, is_arg))| RunOp {
            args,
            env: names.into_iter().collect(),
            proxy_env: pairs(&[("http_proxy", &proxy)]),
            arg_names: if is_arg { strings(&["A"]) } else { Vec::new() },
            cwd: cwd.to_owned(),
            user,
            platform: platform.parse().unwrap(),
            mounts,
            network,
            security: Security::Sandbox,
        },
    )
}
