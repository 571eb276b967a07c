//! From syntax to graph: names resolved, bases pinned, variables expanded, stages lowered.
//!
//! Reading order: this file (what comes in and goes out), [`units`] (the images of a build), `workspace` (their order), `siblings` (the
//! names by which they find each other), [`source`], `arguments` (ARG before FROM,
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
mod siblings;
mod signals;
pub mod source;
mod stages;
mod state;
pub mod units;
mod variables;
mod workspace;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kairn_image::Platform;
use kairn_spec::dockerfile::Dockerfile;
use kairn_spec::ignore::IgnoreFile;
use kairn_spec::{Diagnostic, FileId, Severity, Span};

use crate::graph::{Graph, Network};
use arguments::Globals;
use contexts::NamedContexts;
use siblings::Siblings;
pub use source::{ImageSource, ResolvedImage};
use stages::Stages;
pub use units::{ArtifactWish, Required, Requirement, StageDemand, Unit};
pub use workspace::{compile_all, needed};

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
    /// The name that the executor knows the build context by.
    pub context: String,
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
            context: "context".to_owned(),
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
    /// Warnings, in the order of the files and their text.
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
        /// The file that asks for it.
        file: FileId,
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
    let globals = Arc::new(Globals::new(dockerfile, options, &mut unsure));
    let siblings = Siblings::default();
    let _ = Stages::new(dockerfile, &globals, &Arc::new(options.clone()), (&siblings, 0), &mut diagnostics);
    // A variable may be set by a line that could not be read.
    diagnostics.retain(|found| found.severity == Severity::Error && !found.code.ends_with("-from"));
    diagnostics
}

/// Compiles a Dockerfile that was parsed without errors: a build of one image for one platform.
///
/// # Errors
/// As [`compile_all`].
pub fn compile(
    dockerfile: &Dockerfile,
    options: &CompileOptions,
    source: &dyn ImageSource,
) -> Result<Compiled, CompileError> {
    let mut unit = Unit::new(Arc::new(dockerfile.clone()), options.clone());
    if options.platform_choice == PlatformChoice::Explicit {
        unit.platforms.push(options.platform.clone());
    }
    compile_all(&[unit], &[0], source)
}

/// Returns the diagnostics in the order of the text if no error is among them.
fn without_errors(mut diagnostics: Vec<Diagnostic>) -> Result<Vec<Diagnostic>, CompileError> {
    diagnostics.sort_by_key(|diagnostic| (diagnostic.file, diagnostic.span, diagnostic.severity));
    // Several images, or platforms, may share a file.
    let mut seen = BTreeSet::new();
    diagnostics.retain(|found| seen.insert((found.file, found.span, found.code, found.message.clone())));
    if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return Err(CompileError::Diagnostics(diagnostics));
    }
    Ok(diagnostics)
}
