//! The graph as text, for people and for other programs.
//!
//! The same graph gives the same text. Steps are called `s1`, `s2`... in [`Graph::topological`] order. Values of proxy
//! variables, which may hold passwords, are never written.

mod dot;
mod images;
mod json;
mod mermaid;
mod text;

use std::collections::BTreeMap;

pub use self::images::render_images;
use crate::graph::{Graph, Op, StepId};

/// How to write a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One line for each step, then the images with config and history.
    Text,
    /// Graphviz, stages as clusters.
    Dot,
    /// Mermaid flowchart, stages as subgraphs.
    Mermaid,
    /// Everything, for programs.
    Json,
}

/// When a step ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepTiming {
    /// Milliseconds from the start of the build to that of the step.
    pub started_ms: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Whether its result came from the cache.
    pub cached: bool,
}

/// Writes a graph.
pub fn render(graph: &Graph, format: Format) -> String {
    render_with(graph, format, &BTreeMap::new())
}

/// Writes a graph that was built, with the times of its steps; a step without an entry is written without times.
pub fn render_with(graph: &Graph, format: Format, timings: &BTreeMap<StepId, StepTiming>) -> String {
    let view = View::new(graph, timings);
    match format {
        Format::Text => text::render(&view),
        Format::Dot => dot::render(&view),
        Format::Mermaid => mermaid::render(&view),
        Format::Json => json::render(&view),
    }
}

/// A graph with its steps numbered.
struct View<'a> {
    graph: &'a Graph,
    timings: &'a BTreeMap<StepId, StepTiming>,
    order: Vec<StepId>,
    numbers: BTreeMap<StepId, usize>,
}

impl<'a> View<'a> {
    fn new(graph: &'a Graph, timings: &'a BTreeMap<StepId, StepTiming>) -> Self {
        let order = graph.topological();
        let numbers = order.iter().enumerate().map(|(index, &step)| (step, index + 1)).collect();
        Self { graph, timings, order, numbers }
    }

    fn id(&self, step: StepId) -> String {
        format!("s{}", self.numbers[&step])
    }

    /// Returns the steps in clusters, in the order of each cluster's first step; a step that several stages asked for
    /// is in the first of them, and one that no line asked for in none.
    fn clusters(&self) -> Vec<(Option<&'a str>, Vec<StepId>)> {
        let mut clusters: Vec<(Option<&str>, Vec<StepId>)> = Vec::new();
        let mut places: BTreeMap<Option<&str>, usize> = BTreeMap::new();
        for &step in &self.order {
            let stage =
                self.graph.origins.get(&step).and_then(|origins| origins.first()).map(|o| o.stage.as_str());
            let place = *places.entry(stage).or_insert_with(|| {
                clusters.push((stage, Vec::new()));
                clusters.len() - 1
            });
            clusters[place].1.push(step);
        }
        clusters
    }

    /// Describes a step for a drawing: its first line in the file, or what it does.
    fn label(&self, step: StepId) -> String {
        let text = match self.graph.origins.get(&step).and_then(|origins| origins.first()) {
            Some(origin) => origin.text.clone(),
            None => match self.graph.op(step) {
                Op::Scratch => "scratch".to_owned(),
                Op::Image(image) => format!("FROM {}", image.reference),
                Op::Context(context) => format!("context {}", context.name),
                Op::Http(http) => format!("ADD {}", http.url),
                Op::Git(git) => format!("ADD {}", git.remote),
                Op::Inline(_) => "heredoc".to_owned(),
                Op::Run(run) => format!("RUN {}", run.args.join(" ")),
                Op::Copy(copy) => {
                    let sources: Vec<&str> = copy.sources.iter().map(|source| &*source.path).collect();
                    format!("COPY {} {}", sources.join(" "), copy.dest)
                }
                Op::Link => "COPY --link".to_owned(),
                Op::Workdir(workdir) => format!("WORKDIR {}", workdir.path),
            },
        };
        shortened(&text)
    }

    fn timing_text(&self, step: StepId) -> Option<String> {
        let StepTiming { started_ms: _, duration_ms, cached } = *self.timings.get(&step)?;
        Some(if cached {
            "cached".to_owned()
        } else {
            format!("{}.{:03}s", duration_ms / 1000, duration_ms % 1000)
        })
    }
}

/// Cuts a text that is too long for a drawing, and takes what is no printable letter out of it.
fn shortened(text: &str) -> String {
    const LIMIT: usize = 100;
    let mut letters = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = letters.by_ref().take(LIMIT).collect();
    if letters.next().is_some() {
        short.push('…');
    }
    short
}
