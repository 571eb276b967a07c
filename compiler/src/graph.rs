//! The graph of steps: what a build does, free of names and of source text.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use kairn_image::config::History;
use kairn_image::{Digest, ImageConfig, Manifest, Platform};
use kairn_spec::Span;
use petgraph::Direction;
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use petgraph::visit::EdgeRef as _;

/// Names a step of one graph.
pub type StepId = NodeIndex<u32>;

/// A build: steps, the images made of them, and where each step came from.
///
/// Edges run from an input to the step that needs it. Equal steps (same op, same inputs) are one node. The graph has
/// no cycle and holds only what some image reaches.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// The steps and their inputs.
    pub steps: StableDiGraph<Step, Input, u32>,
    /// What the build makes.
    pub images: Vec<ImageTarget>,
    /// The lines of the user's files that asked for each step; never part of a digest.
    pub origins: BTreeMap<StepId, Vec<Origin>>,
}

/// One effect on one file-system state, or one source.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// What it does.
    pub op: Op,
}

/// What a step needs another step for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input {
    /// The file-system state that the step changes.
    Root,
    /// The files that a COPY or ADD reads.
    Source,
}

/// What a step does, fully resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// The empty file system.
    Scratch,
    /// The file system of an image of a registry.
    Image(ImageOp),
    /// The files of a local build context, filtered by its ignore file. Not a root file system.
    Context(ContextOp),
    /// A command run in the root state.
    Run(RunOp),
    /// Files copied onto the root state.
    Copy(CopyOp),
    /// A working directory made, where it is missing.
    Workdir(WorkdirOp),
}

/// The file system of an image.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageOp {
    /// Canonical name to fetch it by (`docker.io/library/debian:12`).
    pub reference: String,
    /// Digest of its manifest for one platform.
    pub manifest_digest: Digest,
    /// Digests of its uncompressed layers, base first.
    pub diff_ids: Vec<Digest>,
}

/// A local build context.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContextOp {
    /// `context` for the main one.
    pub name: String,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RunOp {
    /// Program and arguments; a shell form already has its shell before it.
    pub args: Vec<String>,
    /// Environment, in order.
    pub env: Vec<(String, String)>,
    /// Predefined proxy arguments: in the environment, outside the key.
    pub proxy_env: Vec<(String, String)>,
    /// Working directory, absolute.
    pub cwd: String,
    /// USER as written; empty for root.
    pub user: String,
    /// Architecture the command runs on.
    pub platform: Platform,
}

/// Files copied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CopyOp {
    /// Source patterns in the root of the input, clean, `filepath.Match` wildcards, no leading slash; the root itself
    /// is `.`.
    pub sources: Vec<String>,
    /// Destination, absolute; a final slash says that it is a directory.
    pub dest: String,
    /// `--chown` after expansion: `user[:group]`, names or numbers.
    pub chown: Option<String>,
    /// `--chmod`.
    pub mode: Option<u32>,
    /// Whether the sources' owners are kept (a stage or an image) or become 0:0 (a context).
    pub ownership: Ownership,
    /// Whether local archives are unpacked (ADD).
    pub archives: Archives,
}

/// What becomes of the owners of copied files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ownership {
    /// Kept as they are.
    Keep,
    /// Set to 0:0.
    Root,
}

/// What becomes of archives among the copied files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Archives {
    /// Copied like any file.
    Copy,
    /// Unpacked at the destination.
    Unpack,
}

/// A working directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkdirOp {
    /// The directory, absolute and clean.
    pub path: String,
    /// Owner of what has to be made: USER as written; empty for root.
    pub user: String,
}

/// An image to make.
#[derive(Clone, Debug)]
pub struct ImageTarget {
    /// The target's stage name, or its number.
    pub name: String,
    /// The file-system state.
    pub step: StepId,
    /// The platform.
    pub platform: Platform,
    /// The config without `rootfs`, `history` and `created`: the assembler adds them. A label given on the command
    /// line is already in it.
    pub config: ImageConfig,
    /// The base image's manifest and its history, where there is one: its layers come first.
    pub base: Option<BaseImage>,
    /// History after the base's, oldest first.
    pub history: Vec<TargetHistory>,
}

/// The image that a target starts from.
#[derive(Clone, Debug)]
pub struct BaseImage {
    /// The step that stands for it.
    pub step: StepId,
    /// Canonical name to fetch it by.
    pub reference: String,
    /// Its manifest.
    pub manifest: Manifest,
    /// When it was made.
    pub created: Option<String>,
    /// Its history.
    pub history: Vec<History>,
}

/// One history entry to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetHistory {
    /// BuildKit's text for the instruction.
    pub created_by: String,
    /// The step whose layer it describes; none for an instruction that only changes the config.
    pub step: Option<StepId>,
}

/// A line that asked for a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The stage's name, or its number.
    pub stage: String,
    /// Position among the stage's steps that do something, from 1; a base image that the stage pulls is one of them.
    pub position: usize,
    /// Number of such steps in the stage.
    pub total: usize,
    /// The instruction on one line, variables as written.
    pub text: String,
    /// The bytes of the instruction in the Dockerfile.
    pub span: Span,
}

impl Graph {
    /// Returns a step.
    ///
    /// # Panics
    /// If the step is not of this graph.
    pub fn op(&self, step: StepId) -> &Op {
        &self.steps[step].op
    }

    /// Returns the inputs of a step, the root first.
    pub fn inputs(&self, step: StepId) -> Vec<(Input, StepId)> {
        let mut inputs: Vec<_> = self
            .steps
            .edges_directed(step, Direction::Incoming)
            .map(|edge| (*edge.weight(), edge.source()))
            .collect();
        inputs.sort_unstable();
        inputs
    }

    /// Returns the state that a step changes, where it changes one.
    pub fn root_of(&self, step: StepId) -> Option<StepId> {
        self.inputs(step).into_iter().find_map(|(input, id)| (input == Input::Root).then_some(id))
    }

    /// Returns the steps whose layers, stacked in this order, are the file system of a state: its source first.
    pub fn layers_of(&self, step: StepId) -> Vec<StepId> {
        let mut layers: Vec<_> = std::iter::successors(Some(step), |&step| self.root_of(step)).collect();
        layers.reverse();
        layers
    }

    /// Returns all steps, each after its inputs; the same graph gives the same order.
    ///
    /// # Panics
    /// If the graph has a cycle.
    pub fn topological(&self) -> Vec<StepId> {
        let mut missing: HashMap<StepId, usize> = HashMap::new();
        let mut ready = BTreeSet::new();
        for step in self.steps.node_indices() {
            match self.steps.edges_directed(step, Direction::Incoming).count() {
                0 => {
                    ready.insert(step);
                }
                inputs => {
                    missing.insert(step, inputs);
                }
            }
        }
        let mut order = Vec::with_capacity(self.steps.node_count());
        while let Some(step) = ready.pop_first() {
            order.push(step);
            for edge in self.steps.edges_directed(step, Direction::Outgoing) {
                let left =
                    missing.get_mut(&edge.target()).expect("a step that waits for an input is counted");
                *left -= 1;
                if *left == 0 {
                    ready.insert(edge.target());
                }
            }
        }
        assert_eq!(order.len(), self.steps.node_count(), "the graph of steps has no cycle");
        order
    }

    /// Returns the stages that asked for steps, with their steps in [`Graph::topological`] order.
    ///
    /// A step that several stages asked for is in each of them; a step that no line asked for is in none.
    pub fn stages(&self) -> BTreeMap<&str, Vec<StepId>> {
        let mut stages: BTreeMap<&str, Vec<StepId>> = BTreeMap::new();
        for step in self.topological() {
            let origins = self.origins.get(&step).map_or(&[][..], Vec::as_slice);
            for stage in origins.iter().map(|origin| origin.stage.as_str()).collect::<BTreeSet<_>>() {
                stages.entry(stage).or_default().push(step);
            }
        }
        stages
    }
}

/// Adds steps to a graph, each of them once.
#[derive(Debug, Default)]
pub struct GraphBuilder {
    graph: Graph,
    /// Steps by the hash of their op and inputs.
    known: HashMap<u64, Vec<StepId>>,
}

impl GraphBuilder {
    /// Returns the step that does `op` with `inputs`, which is added if no equal step is there yet.
    ///
    /// # Panics
    /// If an input is not of this graph.
    pub fn step(&mut self, op: Op, inputs: &[(Input, StepId)]) -> StepId {
        let mut inputs = inputs.to_vec();
        inputs.sort_unstable();
        let hash = BuildHasherDefault::<DefaultHasher>::new().hash_one((&op, &inputs));
        let equals = self.known.entry(hash).or_default();
        let graph = &self.graph;
        if let Some(&step) =
            equals.iter().find(|&&step| graph.steps[step].op == op && graph.inputs(step) == inputs)
        {
            return step;
        }
        let step = self.graph.steps.add_node(Step { op });
        for (input, source) in inputs {
            self.graph.steps.add_edge(source, step, input);
        }
        equals.push(step);
        step
    }

    /// Notes that a line asked for a step.
    pub fn origin(&mut self, step: StepId, origin: Origin) {
        self.graph.origins.entry(step).or_default().push(origin);
    }

    /// Adds an image to make.
    pub fn image(&mut self, image: ImageTarget) {
        self.graph.images.push(image);
    }

    /// Returns the graph.
    pub fn finish(self) -> Graph {
        self.graph
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workdir(path: &str) -> Op {
        Op::Workdir(WorkdirOp { path: path.into(), user: String::new() })
    }

    #[test]
    fn equal_steps_are_one() {
        let mut builder = GraphBuilder::default();
        let scratch = builder.step(Op::Scratch, &[]);
        assert_eq!(builder.step(Op::Scratch, &[]), scratch);
        let a = builder.step(workdir("/a"), &[(Input::Root, scratch)]);
        assert_eq!(builder.step(workdir("/a"), &[(Input::Root, scratch)]), a);
        assert_ne!(builder.step(workdir("/b"), &[(Input::Root, scratch)]), a);
        let again = builder.step(workdir("/a"), &[(Input::Root, a)]);
        assert_ne!(again, a);
        let graph = builder.finish();
        assert_eq!(graph.layers_of(again), [scratch, a, again]);
        assert_eq!(graph.steps.node_count(), 4);
    }

    #[test]
    fn both_inputs_may_be_one_step() {
        let mut builder = GraphBuilder::default();
        let scratch = builder.step(Op::Scratch, &[]);
        let both = builder.step(workdir("/a"), &[(Input::Source, scratch), (Input::Root, scratch)]);
        let graph = builder.finish();
        assert_eq!(graph.inputs(both), [(Input::Root, scratch), (Input::Source, scratch)]);
        assert_eq!(graph.topological(), [scratch, both]);
    }
}
