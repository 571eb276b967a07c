//! `kairn graph`: the graph of a build, with nothing built.

use std::collections::BTreeMap;

use kairn_compiler::StepId;
use kairn_compiler::render::{Format, StepTiming, render_images, render_with};
use kairn_executor::pull::Policy;

use crate::args::{Graph, GraphFormat};
use crate::failure::Failure;
use crate::inputs::Project;
use crate::inputs::chosen::choose;
use crate::machine::Workshop;

/// Runs the command.
pub fn run(args: &Graph) -> Result<(), Failure> {
    let chosen = choose(&args.input)?;
    let policy = if args.offline { Policy::Offline } else { Policy::Ask };
    let workshop = Workshop::open(&args.input, &chosen, policy)?;
    let project = Project::load(&args.input, chosen, &workshop.settings)?;
    let compiled = project.compile(workshop.settings.puller.as_ref())?;
    let timings = match &args.timings {
        Some(path) => read_timings(path, &compiled.graph)?,
        None => BTreeMap::new(),
    };
    let format = match args.format {
        GraphFormat::Text => Format::Text,
        GraphFormat::Dot => Format::Dot,
        GraphFormat::Mermaid => Format::Mermaid,
        GraphFormat::Json => Format::Json,
    };
    if args.images {
        println!("{}", render_images(&compiled.graph, format).trim_end());
        return Ok(());
    }
    println!("{}", render_with(&compiled.graph, format, &timings).trim_end());
    Ok(())
}

/// Reads the times of a build's steps from its metadata file.
fn read_timings(
    path: &std::path::Path,
    graph: &kairn_compiler::Graph,
) -> Result<BTreeMap<StepId, StepTiming>, Failure> {
    let failed =
        |reason: String| Failure::user(format!("cannot read the times in `{}`: {reason}", path.display()));
    let text = std::fs::read(path).map_err(|e| failed(e.to_string()))?;
    let metadata: serde_json::Value = serde_json::from_slice(&text).map_err(|e| failed(e.to_string()))?;
    let steps =
        metadata["kairn.steps"].as_object().ok_or_else(|| failed("it has no `kairn.steps`".to_owned()))?;
    let mut timings = BTreeMap::new();
    for (step, label) in crate::progress::labels(graph) {
        let Some(time) = steps.get(&label) else { continue };
        timings.insert(
            step,
            StepTiming {
                started_ms: time["started_ms"].as_u64().unwrap_or_default(),
                duration_ms: time["duration_ms"].as_u64().unwrap_or_default(),
                cached: time["cached"].as_bool().unwrap_or_default(),
            },
        );
    }
    Ok(timings)
}
