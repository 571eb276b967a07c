//! What can go wrong while building, in the three kinds that the user acts on differently.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kairn_compiler::StepId;
use kairn_image::Digest;

/// Why a build ended without its images.
#[derive(Debug)]
pub enum Error {
    /// A command of the user's ran and failed.
    Command {
        /// The step.
        step: StepId,
        /// How it ended.
        failure: CommandFailure,
    },
    /// The user's file asks for what cannot be done.
    User {
        /// The step that asks, where one does.
        step: Option<StepId>,
        /// What is wrong.
        message: String,
        /// What to do.
        help: Option<String>,
    },
    /// The disk, the registry or the kernel refused.
    World {
        /// The step that needed it, where one did.
        step: Option<StepId>,
        /// What was tried, and on what.
        message: String,
        /// The error below it.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
        /// What to do.
        help: Option<String>,
    },
    /// Layers whose step was known to have been done cannot be had: it has to be done again.
    Lost {
        /// Digests of their blobs.
        blobs: Vec<Digest>,
        /// Why.
        reason: String,
    },
    /// Somebody else's failure stopped this step.
    Cancelled,
}

/// How a command of the user's failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandFailure {
    /// What ended it.
    pub end: CommandEnd,
    /// The last lines that it printed.
    pub output_tail: Vec<String>,
}

/// What ended a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandEnd {
    /// It exited with this code.
    Exited(i32),
    /// This signal killed it.
    Signalled(i32),
    /// It took longer than it may, and was stopped.
    TimedOut {
        /// How long it may take.
        after: Duration,
    },
    /// It could not be started.
    NotStarted {
        /// Why.
        reason: String,
    },
}

impl fmt::Display for CommandEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code: {code}"),
            Self::Signalled(9) => write!(f, "killed by signal 9 (out of memory, often)"),
            Self::Signalled(signal) => write!(f, "killed by signal {signal}"),
            Self::TimedOut { after } => write!(f, "timed out after {}", spoken(*after)),
            Self::NotStarted { reason } => f.write_str(reason),
        }
    }
}

/// A time as people write it: `1h30m`, `10m`, `1.5s`.
fn spoken(time: Duration) -> String {
    let (minutes, seconds) = (time.as_secs() / 60, time.as_secs_f64() % 60.0);
    let unit = |number: u64, unit: &str| if number > 0 { format!("{number}{unit}") } else { String::new() };
    let seconds = if seconds > 0.0 || minutes == 0 { format!("{seconds}s") } else { String::new() };
    format!("{}{}{seconds}", unit(minutes / 60, "h"), unit(minutes % 60, "m"))
}

impl Error {
    /// A mistake in the user's file.
    pub fn user(message: impl Into<String>) -> Self {
        Self::User { step: None, message: message.into(), help: None }
    }

    /// A failure of the world around the build.
    pub fn world(
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::World { step: None, message: message.into(), source: Some(source.into()), help: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_help(mut self, text: impl Into<String>) -> Self {
        if let Self::User { help, .. } | Self::World { help, .. } = &mut self {
            *help = Some(text.into());
        }
        self
    }

    /// Says which step it happened in, unless that is known already.
    #[must_use]
    pub fn at(mut self, at: StepId) -> Self {
        if let Self::User { step, .. } | Self::World { step, .. } = &mut self {
            step.get_or_insert(at);
        }
        self
    }

    /// The step it happened in.
    pub fn step(&self) -> Option<StepId> {
        match self {
            Self::Command { step, .. } => Some(*step),
            Self::User { step, .. } | Self::World { step, .. } => *step,
            Self::Lost { .. } | Self::Cancelled => None,
        }
    }

    /// Whether the same step may succeed when it is tried again.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Command { failure, .. } => !matches!(failure.end, CommandEnd::NotStarted { .. }),
            Self::World { source, .. } => !source.as_deref().is_some_and(|error| is_disk_full(error)),
            Self::User { .. } | Self::Lost { .. } | Self::Cancelled => false,
        }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::User { help, .. } => help.clone(),
            Self::World { help: Some(help), .. } => Some(help.clone()),
            Self::World { source, .. } => {
                let full = source.as_deref().is_some_and(|error| is_disk_full(error));
                full.then(|| "free some space, or point `--kairn-root` at a larger disk".to_owned())
            }
            Self::Lost { .. } => Some("build again with `--no-cache`".to_owned()),
            Self::Command { .. } | Self::Cancelled => None,
        }
    }
}

/// Whether "no space left on device" is somewhere among an error's causes.
fn is_disk_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::StorageFull)
        {
            return true;
        }
        next = error.source();
    }
    false
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command { failure, .. } => write!(f, "the command failed: {}", failure.end),
            Self::User { message, .. } | Self::World { message, .. } => f.write_str(message),
            Self::Lost { blobs, reason } => {
                let first = blobs.first().map(Digest::short).unwrap_or_default();
                write!(f, "the layer {first} cannot be had: {reason}")
            }
            Self::Cancelled => f.write_str("stopped, because another step failed"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::World { source: Some(source), .. } => Some(source.as_ref()),
            _ => None,
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(source: std::io::Error) -> Self {
        // `fs_err` names operation and path; a bare error names at least itself.
        Self::World { step: None, message: source.to_string(), source: Some(Box::new(source)), help: None }
    }
}

impl From<kairn_image::layer::ReadLayerError> for Error {
    fn from(source: kairn_image::layer::ReadLayerError) -> Self {
        Self::World {
            step: None,
            message: format!("cannot read an archive: {source}"),
            source: Some(Box::new(source)),
            help: None,
        }
    }
}

impl From<crate::tree::TooManyLinks> for Error {
    fn from(error: crate::tree::TooManyLinks) -> Self {
        Self::user(error.to_string())
    }
}

/// An error with all its causes on one line; a cause that the line before it says already is left out.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    // What a server says may have lines, or worse.
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Names the operation and the object of a failed system call.
pub trait Named<T> {
    /// Turns the error into one that says what was tried on what.
    ///
    /// # Errors
    /// The same failure, named.
    fn named(self, operation: &str, path: &Path) -> Result<T, Error>;
}

impl<T, E: Into<std::io::Error>> Named<T> for Result<T, E> {
    fn named(self, operation: &str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| {
            let source = source.into();
            Error::world(format!("cannot {operation} `{}`: {source}", path.display()), source)
        })
    }
}

/// Turns raw path bytes into a path of the host.
pub fn host_path(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}
