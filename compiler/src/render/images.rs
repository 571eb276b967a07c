//! The images of a build, and which of them need which.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Format, mermaid, text};
use crate::graph::Graph;

/// Writes the images of a graph, those that are made and those that others need.
pub fn render_images(graph: &Graph, format: Format) -> String {
    let made: BTreeSet<&str> = graph.images.iter().map(|image| image.name.as_str()).collect();
    let of_edges = graph.edges.iter().flat_map(|edge| [edge.from.as_str(), &edge.to]);
    let names: BTreeSet<&str> = made.iter().copied().chain(of_edges).collect();
    let mut arrows: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for edge in &graph.edges {
        let reasons = arrows.entry((&edge.to, &edge.from)).or_default();
        if !reasons.contains(&edge.why.as_str()) {
            reasons.push(&edge.why);
        }
    }
    let numbers: BTreeMap<&str, usize> = names.iter().copied().zip(1..).collect();
    let mut out = String::new();
    match format {
        Format::Text => {
            for name in &names {
                let note = if made.contains(name) { "" } else { " (only needed)" };
                let _ = writeln!(out, "image {name:?}{note}");
            }
            text::push_edges(&mut out, graph);
        }
        Format::Dot => {
            out.push_str("digraph images {\n  rankdir=LR;\n  node [shape=box];\n");
            for (name, number) in &numbers {
                let style = if made.contains(name) { "" } else { ", style=dashed" };
                let _ = writeln!(out, "  i{number} [label={name:?}{style}];");
            }
            for ((from, to), why) in &arrows {
                let why = why.join("\n");
                let _ = writeln!(out, "  i{} -> i{} [tooltip={why:?}];", numbers[from], numbers[to]);
            }
            out.push_str("}\n");
        }
        Format::Mermaid => {
            out.push_str("flowchart LR\n");
            for (name, number) in &numbers {
                let label = mermaid::escaped(name);
                let node =
                    if made.contains(name) { format!("[\"{label}\"]") } else { format!("([\"{label}\"])") };
                let _ = writeln!(out, "  i{number}{node}");
            }
            for (from, to) in arrows.keys() {
                let _ = writeln!(out, "  i{} --> i{}", numbers[from], numbers[to]);
            }
        }
        Format::Json => {
            let images = names.iter().map(|name| {
                let needs = arrows.iter().filter(|((_, to), _)| to == name);
                let needs: Vec<Value> =
                    needs.map(|((from, _), why)| json!({ "image": from, "why": why })).collect();
                json!({ "image": name, "made": made.contains(name), "needs": needs })
            });
            let images: Vec<Value> = images.collect();
            let _ = writeln!(out, "{:#}", json!({ "images": images }));
        }
    }
    out
}
