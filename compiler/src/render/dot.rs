//! The graph for Graphviz.

use std::fmt::Write as _;

use super::{View, shortened};
use crate::graph::{Input, StepId};

pub(super) fn render(view: &View<'_>) -> String {
    let mut out = String::from(
        "digraph build {\n  rankdir=TB;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n",
    );
    for (index, (stage, steps)) in view.clusters().into_iter().enumerate() {
        let indent = if let Some(stage) = stage {
            let label = escaped(&shortened(stage));
            let _ = writeln!(out, "  subgraph cluster_{index} {{\n    label=\"{label}\";");
            "    "
        } else {
            "  "
        };
        for step in steps {
            let _ = writeln!(
                out,
                "{indent}{} [label=\"{}\"{}];",
                view.id(step),
                label(view, step),
                fill(view, step)
            );
        }
        if stage.is_some() {
            out.push_str("  }\n");
        }
    }
    for &step in &view.order {
        for (input, source) in view.graph.inputs(step) {
            let style = match input {
                Input::Root => "",
                Input::Source(_) | Input::Mount(_) => " [style=dashed]",
            };
            let _ = writeln!(out, "  {} -> {}{style};", view.id(source), view.id(step));
        }
    }
    for (index, image) in view.graph.images.iter().enumerate() {
        let label = escaped(&shortened(&format!("image {}", image.name)));
        let _ = writeln!(out, "  image{index} [label=\"{label}\", shape=cylinder];");
        let _ = writeln!(out, "  {} -> image{index};", view.id(image.step));
    }
    out.push_str("}\n");
    out
}

fn label(view: &View<'_>, step: StepId) -> String {
    let text = escaped(&view.label(step));
    view.timing_text(step).map_or_else(|| text.clone(), |timing| format!("{text}\\n{timing}"))
}

fn fill(view: &View<'_>, step: StepId) -> &'static str {
    match view.timings.get(&step) {
        Some(timing) if timing.cached => ", style=\"rounded,filled\", fillcolor=\"lightgrey\"",
        Some(_) | None => "",
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
