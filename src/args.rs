//! The command line, in Docker's and BuildKit's words wherever they have one.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::budget;

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
    Build(Box<Build>),
    /// Show the graph of a build; nothing is built
    Graph(Graph),
    /// Check a Dockerfile for mistakes and bad habits; nothing is built
    Check(Check),
    /// Say why each step of the last build ran, or would run in the next one
    Explain(Explain),
    /// Look at the store, and throw away what is not needed
    Cache(Cache),
    /// List the images that a change touches
    Affected(Affected),
    /// Write down what the names of bases stand for, so that builds use that until it is moved
    Lock(Lock),
    /// Write a kairn.toml that says what bake files or compose files say
    Convert(Convert),
    /// Write the JSON Schema of kairn.toml, for editors, or its reference
    Schema(Schema),
    /// Say what this container allows, how RUNs are isolated in it, and what would be needed for better
    Doctor(Doctor),
}

/// Which results are taken from where.
#[derive(Debug, clap::Args)]
pub struct Caching {
    /// Take what steps gave from a shared cache: `type=registry,ref=REF`, `type=local,src=DIR`, `type=gha`, `type=s3,..`,
    /// `type=gcs,..`, `type=azblob,..`; may be given more than once
    #[arg(long, value_name = "REF|type=..")]
    pub cache_from: Vec<String>,
    /// Do everything again, whatever is known
    #[arg(long)]
    pub no_cache: bool,
    /// Do RUN, COPY and ADD of some stages again
    #[arg(long, value_name = "STAGE,..", value_delimiter = ',')]
    pub no_cache_filter: Vec<String>,
    /// Ask registries for base images also where one of that name was built here
    #[arg(long, conflicts_with = "offline")]
    pub pull: bool,
    /// Ask nobody: images, URLs and repositories are what they were when they were last asked for
    #[arg(long)]
    pub offline: bool,
}

/// `kairn explain`.
#[derive(Debug, clap::Args)]
pub struct Explain {
    /// Which build
    #[command(flatten)]
    pub input: Input,
    /// Look at what the next build would do, instead of what the last one did
    #[arg(long)]
    pub dry_run: bool,
    /// What the next build is to take from where
    #[command(flatten)]
    pub caching: Caching,
    /// A secret whose content counts: `id=ID,..,key=content`
    #[arg(long, value_name = "id=..")]
    pub secret: Vec<String>,
    /// Form of the answer
    #[arg(long, value_enum, default_value_t)]
    pub format: Form,
}

/// Form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// To read
    #[default]
    Text,
    /// JSON
    Json,
}

/// `kairn cache`.
#[derive(Debug, clap::Args)]
pub struct Cache {
    /// What to do
    #[command(subcommand)]
    pub command: CacheCommand,
}

/// The commands of `kairn cache`.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Say how much there is: by kind, image, stage, cache mount and age
    Du(CacheView),
    /// List everything, what was used last at the end
    Ls(CacheView),
    /// Throw away what is too old, and the oldest of what is too much
    Prune(CachePrune),
    /// Read everything, and throw away what is damaged
    Verify(CacheView),
}

/// Which store, and how it is shown.
#[derive(Debug, clap::Args)]
pub struct CacheView {
    /// Form of the answer
    #[arg(long, value_enum, default_value_t)]
    pub format: Form,
    /// Folder of the store [default: the user's cache folder]
    #[arg(long, value_name = "DIR", env = "KAIRN_ROOT")]
    pub kairn_root: Option<PathBuf>,
}

/// `kairn cache prune`.
#[derive(Debug, clap::Args)]
pub struct CachePrune {
    /// Which store
    #[command(flatten)]
    pub view: CacheView,
    /// Throw away what was not used for so long: `12h`, `30d`
    #[arg(long, value_name = "AGE")]
    pub age: Option<String>,
    /// Throw away the oldest of what is more than this: `20GB`, `50%` of the disk
    #[arg(long, value_name = "SIZE")]
    pub size: Option<String>,
    /// Throw away the oldest until so much of the disk is free: `10GB`, `20%`
    #[arg(long, value_name = "SIZE")]
    pub free: Option<String>,
    /// Throw away everything that no build uses at the moment
    #[arg(long, conflicts_with_all = ["age", "size", "free"])]
    pub all: bool,
    /// Only say what would be thrown away
    #[arg(long)]
    pub dry_run: bool,
    /// Prune a shared cache instead, by the age of its entries: `REF`, or `type=..` as for `--cache-to`
    #[arg(long, value_name = "REF|type=..", conflicts_with_all = ["size", "free", "dry_run"])]
    pub registry: Vec<String>,
    /// Where the shared cache is
    #[command(flatten)]
    pub registries: Registries,
}

/// `kairn affected`.
#[derive(Debug, clap::Args)]
pub struct Affected {
    /// Which images [default: all]
    #[command(flatten)]
    pub input: Input,
    /// What Git says has changed since this revision; what is not committed counts
    #[arg(long, value_name = "REV", conflicts_with = "files")]
    pub since: Option<String>,
    /// What a list says has changed: a file with a name on each line, or `-` for standard input
    #[arg(long, value_name = "FILE|-")]
    pub files: Option<String>,
    /// Ask nobody: images are what they were when they were last asked for
    #[arg(long)]
    pub offline: bool,
    /// Form of the answer
    #[arg(long, value_enum, default_value_t)]
    pub format: AffectedFormat,
}

/// Form of [`Affected`]'s answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AffectedFormat {
    /// A line for each image, with reasons
    #[default]
    Text,
    /// Names alone
    Names,
    /// A list of JSON objects, which a CI can make a matrix of
    Json,
}

/// `kairn lock`.
#[derive(Debug, clap::Args)]
pub struct Lock {
    /// Which build
    #[command(flatten)]
    pub input: Input,
    /// Take names as they are now: those that are given, or all
    #[arg(long, value_name = "NAME,..", num_args = 0..=1, value_delimiter = ',')]
    pub update: Option<Vec<String>>,
    /// Only say what is not as the lock says; the exit code is 1 if something is not
    #[arg(long, conflicts_with = "update")]
    pub check: bool,
}

/// `kairn convert`.
#[derive(Debug, clap::Args)]
pub struct Convert {
    /// Bake and compose files, later ones over earlier ones [default: those that bake looks for]
    #[arg(value_name = "FILE")]
    pub files: Vec<String>,
    /// Where to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write also over a file that is there
    #[arg(long)]
    pub force: bool,
}

/// `kairn schema`.
#[derive(Debug, clap::Args)]
pub struct Schema {
    /// Form of the answer
    #[arg(long, value_enum, default_value_t)]
    pub format: SchemaFormat,
}

/// Form of [`Schema`]'s answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SchemaFormat {
    /// JSON Schema, draft 2020-12
    #[default]
    Json,
    /// To read
    Markdown,
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

/// Which Dockerfile or kairn.toml, and what of it.
#[derive(Debug, clap::Args)]
pub struct Input {
    /// Dockerfile: a file, `-` for standard input, or a URL; or a kairn.toml, a bake file (`.hcl`, `.json`) or a compose file
    /// (`.yaml`, `.yml`) [default: kairn.toml, else CONTEXT/Dockerfile]
    #[arg(short, long, value_name = "FILE|-|URL")]
    pub file: Option<String>,
    /// Value of a variable of the kairn.toml or bake file
    #[arg(long, value_name = "NAME=VALUE")]
    pub var: Vec<String>,
    /// Stage to build, by name or number [default: the last]
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// Value of an ARG; without `=VALUE`, the environment's
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,
    /// Label of the image
    #[arg(long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,
    /// Platforms of the image, which make an index where there are several [default: linux on this machine's architecture]
    #[arg(long, value_name = "OS/ARCH[/VARIANT],..", value_delimiter = ',')]
    pub platform: Vec<String>,
    /// What stands for a stage, an image or a name of `from`: a folder, a Git or other URL, `docker-image://REF`,
    /// `oci-layout://PATH[:TAG][@DIGEST]` or `target:STAGE`
    #[arg(long, value_name = "NAME=VALUE")]
    pub build_context: Vec<String>,
    /// Network of RUNs that do not choose one
    #[arg(long, value_enum, default_value_t)]
    pub network: Network,
    /// Build context of a Dockerfile: a folder, an archive, `-` for an archive or a Dockerfile on standard input, a Git or
    /// other URL [default: .]. Of a kairn.toml: its folder, or images and groups [default: the group `default`, or all]
    #[arg(value_name = "CONTEXT|IMAGE..")]
    pub words: Vec<String>,
    /// Where to pull from and how
    #[command(flatten)]
    pub registries: Registries,
    /// Folder of the store [default: the user's cache folder]
    #[arg(long, value_name = "DIR", env = "KAIRN_ROOT")]
    pub kairn_root: Option<PathBuf>,
}

/// How to reach registries.
#[derive(Clone, Debug, clap::Args)]
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
    /// Of the images that are asked for, only those that changed since this revision of Git
    #[arg(long, value_name = "REV")]
    pub affected_since: Option<String>,
    /// Write the image: `type=oci,dest=PATH[,tar=false]`, `type=image[,push=true]`, `type=registry`
    #[arg(short, long, value_name = "type=..")]
    pub output: Vec<String>,
    /// A secret for RUNs that mount it: `id=ID[,src=FILE|,env=NAME][,key=content]`; with `key=content` another content has
    /// them run again
    #[arg(long, value_name = "id=..")]
    pub secret: Vec<String>,
    /// SSH agent or keys for RUNs that mount it [default without value: the environment's agent]
    #[arg(long, value_name = "default|ID[=SOCKET]")]
    pub ssh: Vec<String>,
    /// Let RUNs leave the sandbox where they ask for it
    #[arg(long, value_enum, value_name = "WHAT")]
    pub allow: Vec<Allow>,
    /// Which results are taken from where
    #[command(flatten)]
    pub caching: Caching,
    /// Write what steps gave to a shared cache: `type=registry,ref=REF[,mode=max][,mounts=true]`, `type=local,dest=DIR`,
    /// `type=inline`, `type=gha`, `type=s3,..`, `type=gcs,..`, `type=azblob,..`; may be given more than once
    #[arg(long, value_name = "type=..")]
    pub cache_to: Vec<String>,
    /// What is thrown away at the end of a build: `off`, or some of `age=60d,size=100GB,free=10%`, which is the default
    #[arg(long, value_name = "off|age=..", env = "KAIRN_PRUNE", default_value = budget::DEFAULT)]
    pub prune: String,
    /// Steps that may run at a time [default: twice the processors, at least 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Memory that RUNs may come to together, by what is said of each [default: nine tenths of the container's limit, or
    /// of the machine's memory]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// After a failure build all that does not need what failed; with `publish`, also deliver what is whole
    #[arg(
        long,
        value_enum,
        value_name = "build|publish",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "build"
    )]
    pub keep_going: Option<KeepGoing>,
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

/// What is done after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeepGoing {
    /// All is built that can be
    Build,
    /// The same, and what is whole is delivered
    Publish,
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
    #[arg(long, value_name = "FILE", conflicts_with = "images")]
    pub timings: Option<PathBuf>,
    /// Only the images of a kairn.toml, and which of them need which
    #[arg(long)]
    pub images: bool,
    /// Ask nobody: images are what they were when they were last asked for
    #[arg(long)]
    pub offline: bool,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// What fits: grouped in a CI, else plain
    #[default]
    Auto,
    /// A line for everything that happens
    Plain,
    /// The same, the lines of each step together, folded where the log of GitLab or GitHub can do that
    Grouped,
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
