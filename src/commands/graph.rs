//! `kairn graph`: the graph of a build, with nothing built.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};

use kairn_compiler::StepId;
use kairn_compiler::render::{Format, StepTiming, render_with};
use kairn_executor::events::Events;
use kairn_executor::pull::Puller;
use kairn_executor::store::Store;

use crate::args::{Graph, GraphFormat};
use crate::failure::{Failure, chain};
use crate::{inputs, machine};

/// Runs the command.
pub fn run(args: &Graph) -> Result<(), Failure> {
    let root = inputs::context_root(&args.input)?;
    let file = inputs::read_dockerfile(&args.input, &root)?;
    let store_root = match &args.input.kairn_root {
        Some(root) => root.clone(),
        None => machine::default_root()?,
    };
    let store = Arc::new(Store::open(&store_root).map_err(|e| {
        let help = e.help();
        Failure { help, ..Failure::environment(chain(&e)) }
    })?);
    let client = machine::client(&args.input.registries)?;
    let (sender, _events) = mpsc::channel();
    let puller = Puller::new(client, store, Events::new(sender));
    let compiled = inputs::compile_file(&args.input, &file, &puller)?;
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
