//! The graph for other programs, with hostile text in it.

use std::collections::BTreeMap;

use kairn_compiler::Graph;
use kairn_compiler::render::{Format, StepTiming, render, render_with};

use crate::cases::compiled;

const HOSTILE: &str = "#: arg HTTP_PROXY=http://user:secret@proxy\n\
    FROM base:1 AS build\nRUN echo \"a\\\\b\" <tag> & `x` #1; \\\n  end]\nFROM scratch\n\
    COPY --from=build --chmod=644 /x'\"'];-->y /\nWORKDIR /w\n";

fn graph() -> Graph {
    compiled(HOSTILE).unwrap().graph
}

fn timed(graph: &Graph, format: Format) -> String {
    let timings: BTreeMap<_, _> = (graph.topological().into_iter().zip(0_u64..))
        .filter(|(_, n)| *n != 1)
        .map(|(step, n)| (step, StepTiming { started_ms: n * 10, duration_ms: n * 1001, cached: n == 0 }))
        .collect();
    render_with(graph, format, &timings)
}

#[test]
fn text() {
    insta::assert_snapshot!(timed(&graph(), Format::Text));
}

#[test]
fn dot() {
    insta::assert_snapshot!(timed(&graph(), Format::Dot));
}

#[test]
fn mermaid() {
    insta::assert_snapshot!(timed(&graph(), Format::Mermaid));
}

#[test]
fn json() {
    let text = timed(&graph(), Format::Json);
    serde_json::from_str::<serde_json::Value>(&text).unwrap();
    insta::assert_snapshot!(text);
}

#[test]
fn the_same_every_time_and_without_secrets() {
    for format in [Format::Text, Format::Dot, Format::Mermaid, Format::Json] {
        let first = render(&graph(), format);
        assert_eq!(render(&graph(), format), first);
        assert!(!first.contains("secret"), "{format:?}");
    }
}
