//! The graph of steps: what a build does, free of names and of source text.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::path::PathBuf;
use std::time::Duration;

use kairn_image::config::History;
use kairn_image::{Digest, ImageConfig, Manifest, Platform};
use kairn_spec::{FileId, Span};
use petgraph::Direction;
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use petgraph::visit::EdgeRef as _;

use crate::environment::Environment;
use crate::mode::ModeChange;

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
    /// What commands need of the machine, where somebody said it; never part of a digest.
    pub demands: BTreeMap<StepId, Demand>,
    /// Files that are copied out of stages to the machine.
    pub artifacts: Vec<Artifact>,
    /// Which images need which others, and how that was found.
    pub edges: Vec<ImageEdge>,
}

/// An image needs another image of the same build.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageEdge {
    /// The image that needs.
    pub from: String,
    /// The image that is needed.
    pub to: String,
    /// The words that say so, and what they are: `FROM base: its name`.
    pub why: String,
    /// Where they stand.
    pub file: FileId,
    /// The bytes.
    pub span: Span,
}

/// What a command needs of the machine, and how long and how often it may try.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// How many steps' room it takes; one if nobody said it.
    pub cpu: Option<u16>,
    /// Bytes of memory that it may come to.
    pub memory_bytes: Option<u64>,
    /// How long it may take before it is stopped and has failed.
    pub timeout: Option<Duration>,
    /// How often it is tried again after a failure.
    pub retries: Option<u16>,
}

impl Demand {
    /// Joins what two lines ask for one step: the greater of each, but the longest time only where both have one.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.max(other.cpu),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
            timeout: self.timeout.zip(other.timeout).map(|(one, two)| one.max(two)),
            retries: self.retries.max(other.retries),
        }
    }
}

/// Files that are copied out of a stage to the machine, also where one of its commands fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// The stage, for people.
    pub stage: String,
    /// The stage's last state.
    pub step: StepId,
    /// File or directory in the stage: absolute and clean.
    pub path: String,
    /// Where on the machine it goes; a final slash says that it is a folder.
    pub dest: PathBuf,
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
    /// Files that a COPY or ADD reads, by the place of the source in [`CopyOp::sources`].
    Source(u16),
    /// Files that a RUN mounts, by the place of the mount in [`RunOp::mounts`].
    Mount(u16),
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("root"),
            Self::Source(0) => f.write_str("source"),
            Self::Source(index) => write!(f, "source[{index}]"),
            Self::Mount(index) => write!(f, "mount[{index}]"),
        }
    }
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
    /// One file of a web server.
    Http(HttpOp),
    /// The files of a commit of a Git repository.
    Git(GitOp),
    /// Files written out in the Dockerfile.
    Inline(InlineOp),
    /// A command run in the root state.
    Run(RunOp),
    /// Files copied onto the root state.
    Copy(CopyOp),
    /// A working directory made, where it is missing.
    Workdir(WorkdirOp),
    /// The topmost layer of [`Input::Source`] 0, as it is, put onto the root state: COPY --link.
    Link,
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

/// A file of a web server: mode 0600, owner 0:0, the server's `Last-Modified` as its time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpOp {
    /// Where it is: `http` or `https`.
    pub url: String,
    /// Name of the file in the tree that this step gives.
    pub name: String,
    /// What its content must be.
    pub checksum: Option<Digest>,
}

/// Files of a Git repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GitOp {
    /// What is cloned.
    pub remote: String,
    /// Branch, tag or commit; the remote's default branch if none.
    pub reference: Option<String>,
    /// Directory of the repository that becomes the root, clean and relative.
    pub subdir: Option<String>,
    /// Commit that the reference must be, or the beginning of its name.
    pub checksum: Option<String>,
    /// Whether the `.git` directory stays.
    pub keep_git_dir: bool,
    /// Whether submodules are fetched.
    pub submodules: bool,
    /// Whether files get the commit's time instead of that of the checkout.
    pub commit_mtime: bool,
    /// Whether the commit itself is asked for, and the reference is only a name for it.
    pub fetch_by_commit: bool,
}

/// Files whose content the Dockerfile holds: owner 0:0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InlineOp {
    /// Relative path, mode and content of each.
    pub files: Vec<InlineFile>,
}

/// A file whose content the Dockerfile holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InlineFile {
    /// Path, relative.
    pub path: String,
    /// Permissions.
    pub mode: u32,
    /// Content.
    pub content: String,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RunOp {
    /// Program and arguments; a shell form already has its shell before it.
    pub args: Vec<String>,
    /// Environment.
    pub env: Environment,
    /// Predefined proxy arguments: in the environment, outside the key.
    pub proxy_env: Vec<(String, String)>,
    /// Names of the variables that ARGs gave; the others are ENVs. Outside the key.
    pub arg_names: Vec<String>,
    /// Working directory, absolute.
    pub cwd: String,
    /// USER as written; empty for root.
    pub user: String,
    /// Architecture the command runs on.
    pub platform: Platform,
    /// What is mounted, in order.
    pub mounts: Vec<Mount>,
    /// `--network`.
    pub network: Network,
    /// `--security`.
    pub security: Security,
}

/// Network of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    /// What the place that kairn runs in has.
    #[default]
    Default,
    /// A loopback device and nothing else.
    None,
    /// The machine's own.
    Host,
}

/// What a command may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Security {
    /// What any container may.
    #[default]
    Sandbox,
    /// All that kairn itself may.
    Insecure,
}

/// Something that a command finds beside its root file system; never in the layer that it makes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mount {
    /// Where: absolute and clean, never the root. A secret that is only a variable has none.
    pub target: Option<String>,
    /// What.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MountKind {
    /// Files of [`Input::Mount`] at the mount's place.
    Bind {
        /// File or directory of that input: clean, no leading slash, `.` for all of it.
        source: String,
        /// Whether the command may write there; what it writes is lost.
        read_write: bool,
    },
    /// A directory that lasts from build to build.
    Cache {
        /// Which one.
        id: String,
        /// What happens when two commands want it at once.
        sharing: Sharing,
        /// Directory of [`Input::Mount`] that it begins with, where the mount has that input; as in `Bind`.
        source: String,
        /// Whether the command may not write there.
        read_only: bool,
        /// Permissions and owner of a new directory, where they are given.
        mode: Option<u32>,
        /// User.
        uid: Option<u32>,
        /// Group.
        gid: Option<u32>,
    },
    /// An empty directory in memory.
    Tmpfs {
        /// Its size in bytes; the kernel's default if none.
        size_bytes: Option<u64>,
    },
    /// A secret, as a file where there is a target.
    Secret {
        /// Which one.
        id: String,
        /// Variable that holds it.
        env: Option<String>,
        /// Whether the command fails without it.
        required: bool,
        /// Permissions of the file.
        mode: u32,
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// A socket that leads to an SSH agent.
    Ssh {
        /// Which one.
        id: String,
        /// Whether the command fails without it.
        required: bool,
        /// Permissions of the socket.
        mode: u32,
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

impl fmt::Display for Mount {
    /// Writes everything that a command can see of the mount, in the words of `RUN --mount`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(&[]))
    }
}

impl Mount {
    /// Writes what a command's result can depend on.
    ///
    /// As in BuildKit, a cache has no name there and may be shared in any way; nor does it count whether the command would
    /// have failed without a secret.
    pub fn key_text(&self) -> String {
        match self.kind {
            MountKind::Cache { .. } => self.text(&["id", "sharing"]),
            MountKind::Bind { .. }
            | MountKind::Tmpfs { .. }
            | MountKind::Secret { .. }
            | MountKind::Ssh { .. } => self.text(&["required"]),
        }
    }

    fn text(&self, without: &[&str]) -> String {
        let (kind, mut options) = self.kind.options();
        options.push(("target", self.target.clone()));
        let given = options.into_iter().filter(|(name, _)| !without.contains(name));
        given
            .filter_map(|(name, value)| Some(format!(",{name}={}", value?)))
            .fold(format!("type={kind}"), |text, option| text + &option)
    }
}

impl MountKind {
    /// Returns the type and the options that are given.
    fn options(&self) -> (&'static str, Vec<(&'static str, Option<String>)>) {
        let octal = |mode: u32| Some(format!("{mode:04o}"));
        let flag = |is_set: bool| is_set.then(|| "true".to_owned());
        let number = |number: u32| Some(number.to_string());
        match self {
            Self::Bind { source, read_write } => {
                ("bind", vec![("source", Some(source.clone())), ("rw", flag(*read_write))])
            }
            Self::Cache { id, sharing, source, read_only, mode, uid, gid } => (
                "cache",
                vec![
                    ("id", Some(id.clone())),
                    ("sharing", Some(sharing.name().to_owned())),
                    ("source", Some(source.clone())),
                    ("ro", flag(*read_only)),
                    ("mode", mode.and_then(octal)),
                    ("uid", uid.and_then(number)),
                    ("gid", gid.and_then(number)),
                ],
            ),
            Self::Tmpfs { size_bytes } => {
                ("tmpfs", vec![("size", size_bytes.map(|size_bytes| size_bytes.to_string()))])
            }
            Self::Secret { id, env, required, mode, uid, gid } => (
                "secret",
                vec![
                    ("id", Some(id.clone())),
                    ("env", env.clone()),
                    ("required", flag(*required)),
                    ("mode", octal(*mode)),
                    ("uid", number(*uid)),
                    ("gid", number(*gid)),
                ],
            ),
            Self::Ssh { id, required, mode, uid, gid } => (
                "ssh",
                vec![
                    ("id", Some(id.clone())),
                    ("required", flag(*required)),
                    ("mode", octal(*mode)),
                    ("uid", number(*uid)),
                    ("gid", number(*gid)),
                ],
            ),
        }
    }
}

/// What happens when two commands want one cache directory at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sharing {
    /// Both have it.
    #[default]
    Shared,
    /// The second has another one.
    Private,
    /// The second waits.
    Locked,
}

impl Sharing {
    fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Private => "private",
            Self::Locked => "locked",
        }
    }
}

/// Files copied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CopyOp {
    /// What is copied, in order.
    pub sources: Vec<CopySource>,
    /// Destination, absolute; a final slash says that it is a directory.
    pub dest: String,
    /// `--chown` after expansion: `user[:group]`, names or numbers.
    pub chown: Option<String>,
    /// `--chmod`.
    pub mode: Option<ModeChange>,
    /// `--exclude`: patterns of an ignore file, relative to each source.
    pub excludes: Vec<String>,
}

/// One source of a COPY or ADD.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CopySource {
    /// The step that has the files: which [`Input::Source`].
    pub input: u16,
    /// Pattern in the root of the input: clean, `filepath.Match` wildcards, no leading slash; the root itself is `.`.
    pub path: String,
    /// `--parents`: what is copied of the path, which must be a directory then, with the directories between.
    pub parents: Option<Parents>,
    /// Whether the files' owners are kept (a stage or an image) or become 0:0 (a context).
    pub ownership: Ownership,
    /// Whether local archives are unpacked (ADD).
    pub archives: Archives,
}

/// What COPY --parents copies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Parents {
    /// Pattern of an ignore file, with `**`, relative to the source's path: clean, no leading slash.
    pub pattern: String,
    /// Whether something must match: the pattern has no wildcards.
    pub required: bool,
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
    /// The image's name, or else the target stage's, or its number.
    pub name: String,
    /// The file-system state.
    pub step: StepId,
    /// States that must be reached before the image is published, beside its own.
    pub gates: Vec<StepId>,
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
    /// The stage's name, or its number; behind the image's name and a slash where the build has named images.
    pub stage: String,
    /// Position among the stage's steps that do something, from 1; a base image that the stage pulls is one of them.
    pub position: usize,
    /// Number of such steps in the stage.
    pub total: usize,
    /// The instruction on one line, variables as written.
    pub text: String,
    /// The file that it stands in.
    pub file: FileId,
    /// The bytes of the instruction in the file.
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

    /// Says whether a step is a command.
    pub fn is_run(&self, step: StepId) -> bool {
        matches!(self.graph.steps[step].op, Op::Run(_))
    }

    /// Notes what a line's command needs of the machine.
    pub fn demand(&mut self, step: StepId, demand: Demand) {
        let known = self.graph.demands.entry(step).or_insert(demand);
        *known = known.join(demand);
    }

    /// Notes files that are copied out of a stage.
    pub fn artifact(&mut self, artifact: Artifact) {
        self.graph.artifacts.push(artifact);
    }

    /// Notes that an image needs another one.
    pub fn edge(&mut self, edge: ImageEdge) {
        if !self.graph.edges.contains(&edge) {
            self.graph.edges.push(edge);
        }
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
        let both = builder.step(workdir("/a"), &[(Input::Source(0), scratch), (Input::Root, scratch)]);
        let graph = builder.finish();
        assert_eq!(graph.inputs(both), [(Input::Root, scratch), (Input::Source(0), scratch)]);
        assert_eq!(graph.topological(), [scratch, both]);
    }
}
