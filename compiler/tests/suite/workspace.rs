//! Several images in one build: `tests/cases/workspace`.
//!
//! `=== NAME KEY=VALUE..` begins an image; its Dockerfile follows. The keys: `tag`, `platform`, `arg`, `context`, `requires`,
//! `artifact`, `demand`, `target`. `=== NAME shared ..` is not among what is built.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kairn_compiler::compile::contexts::NamedContext;
use kairn_compiler::compile::{
    ArtifactWish, CompileError, Required, Requirement, StageDemand, Unit, compile_all,
};
use kairn_compiler::graph::Demand;
use kairn_compiler::render::{Format, render};
use kairn_compiler::{CompileOptions, Compiled, Op};
use kairn_spec::dockerfile::parse;
use kairn_spec::{FileId, Severity, Span};

use crate::images::Images;

fn unit(number: usize, head: &str, text: &str) -> (Unit, bool) {
    let mut words = head.split_whitespace();
    let name = words.next().expect("an image has a name");
    let parsed = parse(text);
    assert!(
        parsed.diagnostics.iter().all(|found| found.severity == Severity::Warning),
        "{:?}",
        parsed.diagnostics
    );
    let mut options = CompileOptions::new("linux/amd64".parse().expect("a platform"));
    options.context = format!("context of {name}");
    let mut unit = Unit::new(Arc::new(parsed.dockerfile), options);
    name.clone_into(&mut unit.name);
    unit.file = FileId(u32::try_from(number).expect("a small number"));
    let (file, span) = (FileId(99), Span::default());
    let mut is_selected = true;
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let pair = || value.split_once('=').expect("NAME=VALUE");
        let pair_owned = || (pair().0.to_owned(), pair().1.to_owned());
        match key {
            "shared" => is_selected = false,
            "tag" => unit.tags.push(value.to_owned()),
            "platform" => unit.platforms.push(value.parse().expect("a platform")),
            "target" => (unit.options.target, unit.target_at) = (Some(value.to_owned()), Some((file, span))),
            "arg" => unit.options.build_args.extend([pair_owned()]),
            "context" => {
                let (name, value) = pair_owned();
                let context = match value.split_once(':').expect("a kind") {
                    ("image", name) => NamedContext::Sibling(name.to_owned()),
                    ("docker-image", name) => NamedContext::Image(name.to_owned()),
                    ("stage", name) => NamedContext::Stage(name.to_owned()),
                    (_, folder) => NamedContext::Local(folder.to_owned()),
                };
                unit.options.named_contexts.insert(name, context);
            }
            "requires" => {
                let what = match value.split_once(':').expect("a kind") {
                    ("stage", name) => Required::Stage(name.to_owned()),
                    (_, name) => Required::Image(name.to_owned()),
                };
                unit.requires.push(Requirement { what, file, span });
            }
            "artifact" => {
                let (stage, path) = pair_owned();
                unit.artifacts.push(ArtifactWish {
                    stage: Some(stage),
                    path,
                    dest: "out/".into(),
                    file,
                    span,
                });
            }
            "demand" => {
                let (stage, seconds) = pair_owned();
                let timeout = Some(Duration::from_secs(seconds.parse().expect("seconds")));
                let demand = Demand { timeout, cpu: Some(2), ..Demand::default() };
                unit.stage_demands.push(StageDemand { stage, demand, file, span });
            }
            other => panic!("`{other}` is no key of a case"),
        }
    }
    (unit, is_selected)
}

fn units(text: &str) -> (Vec<Unit>, Vec<usize>) {
    let (mut units, mut selected) = (Vec::new(), Vec::new());
    for (number, part) in text.split("=== ").skip(1).enumerate() {
        let (head, text) = part.split_once('\n').expect("a Dockerfile");
        let (unit, is_selected) = unit(number, head, text);
        units.push(unit);
        if is_selected {
            selected.push(number);
        }
    }
    (units, selected)
}

fn outcome(text: &str) -> String {
    let (units, selected) = units(text);
    match compile_all(&units, &selected, &Images::default()) {
        Ok(Compiled { graph, warnings, notices, .. }) => {
            let mut out = render(&graph, Format::Text);
            for warning in warnings {
                let _ = writeln!(out, "{}: {}", warning.code, warning.message);
            }
            for notice in notices {
                let _ = writeln!(out, "notice: {notice}");
            }
            out
        }
        Err(CompileError::Diagnostics(found)) => found.iter().fold(String::new(), |mut out, found| {
            let _ = writeln!(out, "{}: {} (file {})", found.code, found.message, found.file.0);
            out + &found.help.as_ref().map_or_else(String::new, |help| format!("  help: {help}\n"))
        }),
        Err(error) => format!("{error:?}\n"),
    }
}

#[test]
fn cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/workspace");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../cases/workspace");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        count += 1;
        let text = std::fs::read_to_string(&path).expect("a case");
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        settings.bind(|| insta::assert_snapshot!(name.as_str(), outcome(&text)));
    }
    assert!(count > 8);
}

#[test]
fn an_image_from_another_is_as_from_a_registry() {
    // The config of `middle` is what a registry would give; `top` goes on from it.
    let text = "=== middle\nFROM base:1\nARG LOST=1\nENV A=b\nWORKDIR /w\nCMD [\"x\"]\nONBUILD RUN trigger\n\
                === top\nFROM middle\nRUN echo $LOST $A\n";
    let (units, selected) = units(text);
    let graph = compile_all(&units, &selected, &Images::default()).expect("it compiles").graph;
    let top = &graph.images[1];
    let run = graph.root_of(top.step).map(|step| graph.op(step).clone());
    assert!(matches!(run, Some(Op::Run(trigger)) if trigger.args.concat().contains("trigger")));
    let Op::Run(run) = graph.op(top.step) else { panic!("a RUN comes last") };
    let names: Vec<_> = run.env.pairs().into_iter().map(|(name, _)| name.to_owned()).collect();
    assert!(names.contains(&"A".to_owned()) && !names.contains(&"LOST".to_owned()), "{names:?}");
    assert!(top.config.config.on_build.is_empty());
    assert_eq!(top.history.len(), graph.images[0].history.len() + 2);
    assert_eq!(top.base.as_ref().map(|base| base.step), graph.images[0].base.as_ref().map(|base| base.step));
}

#[test]
fn three_hundred_images_are_compiled_with_each_base_asked_for_once() {
    let mut text = String::from("=== root tag=r/root:1\nFROM base:1\nRUN setup\n");
    for n in 0..299 {
        let from = if n % 3 == 0 { "root".to_owned() } else { format!("app{}", n - 1) };
        let _ = write!(
            text,
            "=== app{n} tag=r/app{n}:1\nFROM {from}\nRUN one {n}\nRUN two {n}\nCOPY a /a{n}\nRUN last\n"
        );
    }
    let (units, selected) = units(&text);
    let images = Images::default();
    let graph = compile_all(&units, &selected, &images).expect("it compiles").graph;
    assert_eq!(graph.images.len(), 300);
    assert_eq!(images.asked.lock().expect("nobody panicked").len(), 1);
    let runs = graph.topological().into_iter().filter(|step| matches!(graph.op(*step), Op::Run(_))).count();
    assert_eq!(runs, 1 + 299 * 3);
}

#[test]
fn a_chain_of_thousands_of_images_does_not_run_out_of_stack() {
    let mut text = String::from("=== app0\nFROM scratch\nCOPY a /\n");
    for n in 1..3000 {
        let _ = write!(text, "=== app{n}\nFROM app{}\nCOPY a /{n}\n", n - 1);
    }
    let (units, _) = units(&text);
    let graph = compile_all(&units, &[2999], &Images::default()).expect("it compiles").graph;
    assert_eq!(graph.images.len(), 1);
    assert_eq!(graph.layers_of(graph.images[0].step).len(), 3001);
}
