//! From syntax to graph: names resolved, bases pinned, variables expanded, stages lowered.
//!
//! Reading order: this file (what comes in and goes out, the phases), [`source`], `arguments` (ARG before FROM,
//! platform and proxy arguments), [`contexts`] (what stands for a name instead), `mentions` (the names that instructions
//! read from), `stages` (what names stand for, cycles), `reach` (what the target needs, triggers), `lower` (a stage's
//! instructions to steps and config), `lint` (warnings by rule).
//!
//! Spec: Dockerfile reference; where it and BuildKit's program differ, the program.

mod arguments;
pub mod contexts;
mod golang;
mod lint;
mod lower;
mod mentions;
mod paths;
mod ports;
mod reach;
mod signals;
pub mod source;
mod stages;
mod state;
mod variables;

use std::collections::BTreeMap;
use std::sync::Arc;

use kairn_image::Platform;
use kairn_spec::dockerfile::Dockerfile;
use kairn_spec::ignore::IgnoreFile;
use kairn_spec::{Diagnostic, Severity, Span};

use crate::graph::{Graph, Network};
use arguments::Globals;
use contexts::NamedContexts;
use reach::Reach;
pub use source::{ImageSource, ResolvedImage};
use stages::Stages;

/// The argument that bounds every time of the image.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// What to build of a Dockerfile, and with which values.
#[derive(Clone, Debug)]
pub struct CompileOptions {
    /// Name of the stage to build, in any case, or its number; the last stage if none.
    pub target: Option<String>,
    /// Values of ARGs, of platform arguments and of the predefined proxy arguments.
    pub build_args: BTreeMap<String, String>,
    /// Labels set on the image after all others.
    pub labels: BTreeMap<String, String>,
    /// The platform of the image, and of bases without a `--platform` of their own.
    pub platform: Platform,
    /// Whether somebody asked for that platform.
    pub platform_choice: PlatformChoice,
    /// The platform that builds (`$BUILDPLATFORM`).
    pub build_platform: Platform,
    /// What stands for stages, images and names of `from` instead.
    pub named_contexts: NamedContexts,
    /// The ignore file of the build context: a COPY of what it leaves out is worth a warning.
    pub ignore: Option<Arc<IgnoreFile>>,
    /// Network of RUNs that do not choose one.
    pub network: Network,
    /// What is compiled for.
    pub purpose: Purpose,
}

/// What a Dockerfile is compiled for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// To be built: only what the target needs.
    #[default]
    Build,
    /// To be checked: all stages, where no target is named, and kairn's own checks.
    Check,
}

impl CompileOptions {
    /// Makes the options of a plain build of the last stage, for the platform that builds.
    pub fn new(build_platform: Platform) -> Self {
        Self {
            target: None,
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            platform: build_platform.clone(),
            platform_choice: PlatformChoice::Implied,
            build_platform,
            named_contexts: NamedContexts::new(),
            ignore: None,
            network: Network::Default,
            purpose: Purpose::Build,
        }
    }
}

/// Whether somebody asked for the target platform.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlatformChoice {
    /// Nobody did: the image says what its base says.
    #[default]
    Implied,
    /// Somebody did: the image says so whatever its base is.
    Explicit,
}

/// A compiled Dockerfile.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What is to be done.
    pub graph: Graph,
    /// Warnings, in the order of the text.
    pub warnings: Vec<Diagnostic>,
    /// The argument `SOURCE_DATE_EPOCH`, where one is given or has a default before the first FROM.
    pub source_date_epoch: Option<String>,
    /// Warnings about the options, which have no place in the text: lowercase fragments.
    pub notices: Vec<String>,
}

/// A Dockerfile cannot be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The file is wrong. At least one of the diagnostics is an error; warnings found until then are among them.
    #[error("{}", summary(.0))]
    Diagnostics(Vec<Diagnostic>),
    /// The target is no stage of the file.
    #[error("unknown target stage `{name}`")]
    UnknownTarget {
        /// What was asked for.
        name: String,
        /// Names of the stages (a number for a stage without one), in the order of the text.
        known: Vec<String>,
        /// A name that may have been meant.
        suggestion: Option<String>,
    },
    /// An image cannot be resolved.
    #[error("cannot resolve the image `{reference}`")]
    Source {
        /// The image, in canonical form.
        reference: String,
        /// The FROM or COPY instruction that asks for it.
        span: Span,
        /// Name of a stage that may have been meant.
        suggestion: Option<String>,
        /// What went wrong.
        #[source]
        error: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn summary(diagnostics: &[Diagnostic]) -> String {
    let mut errors = diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
    let first = errors.next().map_or("invalid Dockerfile", |diagnostic| diagnostic.message.as_str());
    match errors.count() {
        0 => first.to_owned(),
        more => format!("{first} (and {more} more errors)"),
    }
}

/// Finds the mistakes in the names of stages and images, of a Dockerfile whose other mistakes keep it from being compiled.
pub fn check_names(dockerfile: &Dockerfile, options: &CompileOptions) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    let mut unsure = Vec::new();
    let globals = Globals::new(dockerfile, options, &mut unsure);
    let _ = Stages::new(dockerfile, &globals, options, &mut diagnostics);
    // A variable may be set by a line that could not be read.
    diagnostics.retain(|found| found.severity == Severity::Error && !found.code.ends_with("-from"));
    diagnostics
}

/// Compiles a Dockerfile that was parsed without errors.
///
/// All stages have their names resolved and their FROM expanded; only those that the target needs go further, and
/// only their images are asked of `source`: in parallel, each image of each platform once.
///
/// # Errors
/// All mistakes of the file that one phase can see; an unknown target; the first image in the order of the text that
/// cannot be resolved.
pub fn compile(
    dockerfile: &Dockerfile,
    options: &CompileOptions,
    source: &dyn ImageSource,
) -> Result<Compiled, CompileError> {
    let mut diagnostics = Vec::new();
    let names: Vec<_> = dockerfile.stages.iter().map(|stage| stage.name.as_ref()).collect();
    let target = stages::find_target(options.target.as_deref(), &names);
    let globals = Globals::new(dockerfile, options, &mut diagnostics);
    lint::default_bases(dockerfile, options, &mut diagnostics);
    let stages = Stages::new(dockerfile, &globals, options, &mut diagnostics);
    let mut diagnostics = without_errors(diagnostics)?;
    let target = target?;

    let targets = match (options.purpose, &options.target) {
        (Purpose::Check, None) => (0..stages.list.len()).collect(),
        _ => vec![target],
    };
    let reach = Reach::new(&stages, targets, source, &mut diagnostics)?;
    let mut diagnostics = without_errors(diagnostics)?;
    if options.purpose == Purpose::Check {
        lint::whole_file(&stages, &reach, target, &mut diagnostics);
    }

    let graph = lower::graph(&stages, &globals, options, &reach, target, &mut diagnostics);
    let warnings = without_errors(diagnostics)?;
    let notices = arguments::unconsumed(dockerfile, &reach, options).into_iter().collect();
    let epoch = options.build_args.get(EPOCH).map(String::as_str).or_else(|| globals.get(EPOCH));
    let source_date_epoch = epoch.map(str::to_owned);
    Ok(Compiled { graph, warnings, source_date_epoch, notices })
}

/// Returns the diagnostics in the order of the text if no error is among them.
fn without_errors(mut diagnostics: Vec<Diagnostic>) -> Result<Vec<Diagnostic>, CompileError> {
    diagnostics.sort_by_key(|diagnostic| (diagnostic.span, diagnostic.severity));
    if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return Err(CompileError::Diagnostics(diagnostics));
    }
    Ok(diagnostics)
}
