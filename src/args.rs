//! The command line, in Docker's and BuildKit's words wherever they have one.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// Builds container images with no daemon and no privileges.
#[derive(Debug, Parser)]
#[command(name = "kairn", version, about, after_help = EXIT_CODES)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 ok; 1 a step of the build failed; 2 the file or the arguments are wrong; \
3 the environment (disk, registry, kernel); 101 kairn's own fault.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build an image of a Dockerfile; keep it in the store, write it to a file, or push it
    Build(Build),
    /// Show the graph of a build; nothing is built
    Graph(Graph),
    /// Check a Dockerfile for mistakes and bad habits; nothing is built
    Check(Check),
    /// Say what this container allows, how RUNs are isolated in it, and what would be needed for better
    Doctor(Doctor),
}

/// `kairn doctor`.
#[derive(Debug, clap::Args)]
pub struct Doctor {
    /// Form of the answer
    #[arg(long, value_enum, default_value_t)]
    pub format: DoctorFormat,
    /// Where results are kept [default: a folder of the user's cache]
    #[arg(long, env = "KAIRN_ROOT", value_name = "DIR")]
    pub kairn_root: Option<PathBuf>,
}

/// Form of [`Doctor`]'s answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DoctorFormat {
    /// To read
    #[default]
    Text,
    /// A JSON object
    Json,
}

/// Which Dockerfile, and what of it.
#[derive(Debug, clap::Args)]
pub struct Input {
    /// Dockerfile: a file, `-` for standard input, or a URL [default: CONTEXT/Dockerfile]
    #[arg(short, long, value_name = "FILE|-|URL")]
    pub file: Option<String>,
    /// Stage to build, by name or number [default: the last]
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// Value of an ARG; without `=VALUE`, the environment's
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,
    /// Label of the image
    #[arg(long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,
    /// Platform of the image [default: linux on this machine's architecture]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub platform: Option<String>,
    /// What stands for a stage, an image or a name of `from`: a folder, a Git or other URL, `docker-image://REF`,
    /// `oci-layout://PATH[:TAG][@DIGEST]` or `target:STAGE`
    #[arg(long, value_name = "NAME=VALUE")]
    pub build_context: Vec<String>,
    /// Network of RUNs that do not choose one
    #[arg(long, value_enum, default_value_t)]
    pub network: Network,
    /// Build context: a folder, an archive, `-` for an archive or a Dockerfile on standard input, a Git or other URL
    #[arg(default_value = ".", value_name = "CONTEXT")]
    pub context: String,
    /// Where to pull from and how
    #[command(flatten)]
    pub registries: Registries,
    /// Folder of the store [default: the user's cache folder]
    #[arg(long, value_name = "DIR", env = "KAIRN_ROOT")]
    pub kairn_root: Option<PathBuf>,
}

/// How to reach registries.
#[derive(Debug, clap::Args)]
pub struct Registries {
    /// Ask MIRROR before HOST
    #[arg(long, value_name = "HOST=MIRROR")]
    pub registry_mirror: Vec<String>,
    /// Accept any certificate of HOST, and plain HTTP
    #[arg(long, value_name = "HOST")]
    pub insecure_registry: Vec<String>,
}

/// `kairn build`.
#[derive(Debug, clap::Args)]
pub struct Build {
    /// What to build
    #[command(flatten)]
    pub input: Input,
    /// Name of the image; may be given more than once
    #[arg(short, long, value_name = "REF")]
    pub tag: Vec<String>,
    /// Push the image under its tags
    #[arg(long)]
    pub push: bool,
    /// Write the image: `type=oci,dest=PATH[,tar=false]`, `type=image[,push=true]`, `type=registry`
    #[arg(short, long, value_name = "type=..")]
    pub output: Vec<String>,
    /// A secret for RUNs that mount it: `id=ID[,src=FILE|,env=NAME]`
    #[arg(long, value_name = "id=..")]
    pub secret: Vec<String>,
    /// SSH agent or keys for RUNs that mount it [default without value: the environment's agent]
    #[arg(long, value_name = "default|ID[=SOCKET]")]
    pub ssh: Vec<String>,
    /// Let RUNs leave the sandbox where they ask for it
    #[arg(long, value_enum, value_name = "WHAT")]
    pub allow: Vec<Allow>,
    /// Do everything again, whatever the store has
    #[arg(long)]
    pub no_cache: bool,
    /// Steps that may run at a time [default: twice the processors, at least 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// How progress is shown on standard error
    #[arg(long, value_enum, default_value_t)]
    pub progress: Progress,
    /// How RUNs are isolated
    #[arg(long, value_enum, default_value_t)]
    pub isolation: Isolation,
    /// Let RUNs wait for the disk: without it, fsync and the like return at once
    #[arg(long)]
    pub sync: bool,
    /// Write the image's digests, tags and the steps' times to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub metadata_file: Option<PathBuf>,
    /// Write the digest of the image's config to a file
    #[arg(long, value_name = "FILE")]
    pub iidfile: Option<PathBuf>,
}

/// `kairn graph`.
#[derive(Debug, clap::Args)]
pub struct Graph {
    /// What to show
    #[command(flatten)]
    pub input: Input,
    /// Form of the graph
    #[arg(long, value_enum, default_value_t)]
    pub format: GraphFormat,
    /// Times of a build, from its `--metadata-file`
    #[arg(long, value_name = "FILE")]
    pub timings: Option<PathBuf>,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// What fits: plain lines, today
    #[default]
    Auto,
    /// A line for everything that happens
    Plain,
    /// A JSON object on a line for everything that happens
    Json,
}

/// How RUNs are isolated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Isolation {
    /// The best that this place allows; where it allows none, only graphs without RUN are built
    #[default]
    Auto,
    /// User, mount, process, IPC and host name namespaces, or nothing
    Userns,
    /// The same with one id, other owners being recorded, or nothing
    UsernsSingle,
    /// A directory for each RUN, entered by chroot, or nothing
    Chroot,
    /// Graphs without RUN only
    None,
}

/// Form of a graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// A line for each step
    #[default]
    Text,
    /// Graphviz
    Dot,
    /// Mermaid
    Mermaid,
    /// JSON
    Json,
}

/// `kairn check`.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// What to check
    #[command(flatten)]
    pub input: Input,
    /// Form of the report
    #[arg(long, value_enum, default_value_t)]
    pub format: CheckFormat,
    /// Fail also where there are only warnings
    #[arg(long)]
    pub error: bool,
}

/// Form of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// For people
    #[default]
    Text,
    /// JSON, as `docker build --call=check,format=json` writes it
    Json,
    /// SARIF 2.1.0, for code hosts
    Sarif,
}

/// Network of RUNs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Network {
    /// That of the place that kairn runs in
    #[default]
    Default,
    /// None
    None,
    /// The machine's; needs `--allow network.host`
    Host,
}

/// What RUNs may be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Allow {
    /// `RUN --network=host`
    #[value(name = "network.host")]
    NetworkHost,
    /// `RUN --security=insecure`
    #[value(name = "security.insecure")]
    SecurityInsecure,
}
