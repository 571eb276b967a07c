//! The graph for Mermaid.

use std::fmt::Write as _;

use super::{View, shortened};
use crate::graph::{Input, StepId};

pub(super) fn render(view: &View<'_>) -> String {
    let mut out = String::from("flowchart TB\n");
    for (index, (stage, steps)) in view.clusters().into_iter().enumerate() {
        let indent = if let Some(stage) = stage {
            let _ = writeln!(out, "  subgraph g{index}[\"{}\"]", escaped(&shortened(stage)));
            "    "
        } else {
            "  "
        };
        for step in steps {
            let _ = writeln!(out, "{indent}{}[\"{}\"]", view.id(step), label(view, step));
        }
        if stage.is_some() {
            out.push_str("  end\n");
        }
    }
    for &step in &view.order {
        for (input, source) in view.graph.inputs(step) {
            let arrow = match input {
                Input::Root => "-->",
                Input::Source(_) | Input::Mount(_) => "-.->",
            };
            let _ = writeln!(out, "  {} {arrow} {}", view.id(source), view.id(step));
        }
    }
    for (index, image) in view.graph.images.iter().enumerate() {
        let label = escaped(&shortened(&format!("image {}", image.name)));
        let _ = writeln!(out, "  {} --> image{index}[(\"{label}\")]", view.id(image.step));
    }
    let cached: Vec<String> = (view.order.iter())
        .filter(|step| view.timings.get(step).is_some_and(|timing| timing.cached))
        .map(|&step| view.id(step))
        .collect();
    if !cached.is_empty() {
        let _ = writeln!(out, "  classDef cached fill:#ddd\n  class {} cached", cached.join(","));
    }
    out
}

fn label(view: &View<'_>, step: StepId) -> String {
    let text = escaped(&view.label(step));
    view.timing_text(step).map_or_else(|| text.clone(), |timing| format!("{text}<br/>{timing}"))
}

/// Writes what Mermaid or the page around it would take for its own as character references.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '#' | '&' | '<' | '>' | '`' | '\\' | ';' => {
                let _ = write!(out, "#{};", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}
