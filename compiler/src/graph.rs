//! The graph of steps: what a build does, free of names and of source text.

use std::collections::BTreeMap;

use kairn_image::config::History;
use kairn_image::{Digest, ImageConfig, Manifest, Platform};
use kairn_spec::Span;
use petgraph::stable_graph::{NodeIndex, StableDiGraph};

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
    /// Source patterns in the root of the input, `filepath.Match` wildcards, no leading slash.
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
    /// The config without `rootfs`, `history` and `created`: the assembler adds them.
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
    /// Position among the stage's steps that do something, from 1.
    pub position: usize,
    /// Number of such steps in the stage.
    pub total: usize,
    /// The instruction on one line, variables as written.
    pub text: String,
    /// The bytes of the instruction in the Dockerfile.
    pub span: Span,
}
