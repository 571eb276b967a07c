//! Stages that are written in TOML give the graph that a Dockerfile gives: `tests/cases/native.txt`, for every instruction
//! and flag.
//!
//! `=== NAME` begins a case: TOML below `[image.x]`, then `---`, then the Dockerfile.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kairn_compiler::CompileOptions;
use kairn_compiler::compile::{Unit, compile_all};
use kairn_compiler::render::{Format, render};
use kairn_spec::Severity;
use kairn_spec::dockerfile::{Dockerfile, InstructionKind, parse};
use kairn_spec::workspace::{Loader, load};
use serde_json::Value;

use crate::images::Images;

const CASES: &str = include_str!("../cases/native.txt");

/// The stages of a TOML, as syntax.
fn native(name: &str, toml: &str) -> (Dockerfile, BTreeMap<String, String>) {
    let text = format!("[vars]\nwhich = \"base\"\n[image.x]\n{toml}\n");
    let read = |_: &Path| Ok(text.clone());
    let loader = Loader {
        vars: &BTreeMap::new(),
        environment: &|_| None,
        read: &read,
        find: &|_| Vec::<PathBuf>::new(),
    };
    let loaded = load(Path::new("kairn.toml"), &loader).expect("it is there");
    let errors: Vec<_> =
        loaded.diagnostics.iter().filter(|found| found.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{name}: {errors:#?}");
    let image = &loaded.workspace.images[0];
    let (parsed, _) = image.stages().expect("no Dockerfile").expect("stages");
    let errors: Vec<_> =
        parsed.diagnostics.iter().filter(|found| found.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{name}: {errors:#?}");
    let args = image.options.args.0.iter().map(|(name, value)| (name.value.clone(), value.0.clone()));
    (parsed.dockerfile, args.collect())
}

/// The graph without what says where its steps came from.
fn graph(name: &str, dockerfile: Dockerfile, build_args: BTreeMap<String, String>) -> Value {
    let options =
        CompileOptions { build_args, ..CompileOptions::new("linux/amd64".parse().expect("a platform")) };
    let compiled = compile_all(&[Unit::new(Arc::new(dockerfile), options)], &[0], &Images::default());
    let compiled = compiled.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let mut value: Value = serde_json::from_str(&render(&compiled.graph, Format::Json)).expect("JSON");
    for step in value["steps"].as_array_mut().expect("a list") {
        for origin in step["origins"].as_array_mut().expect("a list") {
            origin["span"] = Value::Null;
            origin["text"] = Value::Null;
        }
    }
    value
}

#[test]
fn stages_in_toml_give_the_same_graph() {
    let mut kinds = BTreeSet::new();
    let cases: Vec<&str> = CASES.split("=== ").skip(1).collect();
    for case in &cases {
        let (name, rest) = case.split_once('\n').expect("a name");
        let (toml, text) = rest.split_once("\n---\n").expect("two parts");
        let parsed = parse(text);
        let errors: Vec<_> =
            parsed.diagnostics.iter().filter(|found| found.severity == Severity::Error).collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}");
        let (dockerfile, build_args) = native(name, toml);
        for instruction in dockerfile.stages.iter().flat_map(|stage| &stage.instructions) {
            kinds.insert(instruction.keyword.value.clone());
            if let InstructionKind::Run(run) = &instruction.kind {
                let mounts = run.mounts.iter().flat_map(|mount| &mount.fields);
                kinds.extend(mounts.map(|field| format!("mount {}", field.key.value)));
            }
        }
        let (toml, text) =
            (graph(name, dockerfile, build_args.clone()), graph(name, parsed.dockerfile, build_args));
        assert_eq!(toml, text, "{name}");
    }
    let all = [
        "ADD",
        "ARG",
        "CMD",
        "COPY",
        "ENTRYPOINT",
        "ENV",
        "EXPOSE",
        "HEALTHCHECK",
        "LABEL",
        "MAINTAINER",
        "ONBUILD",
        "RUN",
        "SHELL",
        "STOPSIGNAL",
        "USER",
        "VOLUME",
        "WORKDIR",
        "mount env",
        "mount from",
        "mount gid",
        "mount id",
        "mount mode",
        "mount required",
        "mount readonly",
        "mount rw",
        "mount sharing",
        "mount size",
        "mount source",
        "mount target",
        "mount type",
        "mount uid",
    ];
    let missing: Vec<_> = all.iter().filter(|kind| !kinds.contains(**kind)).collect();
    assert!(missing.is_empty(), "no case has {missing:?}");
}
