//! Why a step works again: its key's parts beside those of the time before.
//!
//! In: the parts of a key, the record of the last build of the same thing, the lists of shared caches. Out: causes in
//! plain words, with their evidence.
//!
//! Reading order: this file (what a cause is), [`lists`] (which file changed), [`compare`] (which part changed),
//! [`previous`] (what to compare with).

pub mod compare;
pub mod lists;
pub mod previous;

use std::fmt;

use kairn_image::Digest;
use serde::{Deserialize, Serialize};

pub use previous::Explainer;

/// Why a step has to work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "kebab-case")]
pub enum Cause {
    /// Nothing like it was ever built here.
    NeverBuilt,
    /// The last build had no such step.
    NewStep,
    /// It did not end well the last time.
    FailedBefore,
    /// The user wants it.
    Forced {
        /// The option that says so.
        option: String,
    },
    /// Its layer was thrown away.
    Evicted {
        /// When, in seconds from the Unix epoch, where that is known.
        when_s: Option<u64>,
        /// Bytes of the layer.
        size_bytes: u64,
    },
    /// Its layer cannot be had.
    Lost {
        /// Why.
        reason: String,
    },
    /// The instruction says something else.
    Instruction {
        /// What it said.
        old: String,
        /// What it says.
        new: String,
    },
    /// An ARG has another value.
    Argument(Change),
    /// An ENV has another value.
    Variable(Change),
    /// The variables are the same, in another order.
    VariableOrder,
    /// Something else of the step changed.
    Field(Change),
    /// The base image moved.
    Base {
        /// Its name.
        reference: String,
        /// What it was.
        old: String,
        /// What it is.
        new: String,
    },
    /// A step before it gave another result.
    Upstream {
        /// Its stage.
        stage: String,
        /// Its instruction.
        text: String,
    },
    /// Files that it reads changed.
    Files {
        /// Where they are: `the build context`, or the name of another.
        place: String,
        /// What changed, in the order of the paths: no more than a few.
        changes: Vec<FileChange>,
        /// How many changed in all.
        count: usize,
    },
    /// What a server gives changed.
    Source {
        /// What was asked for.
        what: String,
    },
    /// A secret has another content (`key=content`).
    Secret {
        /// Its id.
        id: String,
    },
    /// kairn itself makes it in another way than the version before.
    Version,
}

/// A value that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Of what.
    pub name: String,
    /// What it was; nothing where there was none.
    pub old: Option<String>,
    /// What it is; nothing where there is none.
    pub new: Option<String>,
}

/// A file that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// Its path.
    pub path: String,
    /// How.
    pub change: FileChangeKind,
}

/// How a file changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileChangeKind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It has another name.
    Renamed {
        /// The name it has now.
        to: String,
    },
    /// It holds something else.
    Content,
    /// It has other permissions.
    Mode {
        /// What they were.
        old: u32,
        /// What they are.
        new: u32,
    },
    /// It belongs to somebody else.
    Owner,
    /// It is of another type: a file, a directory, a link.
    Type,
    /// It leads elsewhere.
    Link,
    /// It has other extended attributes.
    Attributes,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, old, new } = self;
        match (old, new) {
            (Some(old), Some(new)) => write!(f, "{name} is `{new}`, and was `{old}`"),
            (None, Some(new)) => write!(f, "{name} is new: `{new}`"),
            (Some(old), None) => write!(f, "{name} is gone: it was `{old}`"),
            (None, None) => write!(f, "{name} changed"),
        }
    }
}

impl fmt::Display for FileChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match &self.change {
            FileChangeKind::Added => write!(f, "`{path}` was added"),
            FileChangeKind::Removed => write!(f, "`{path}` was removed"),
            FileChangeKind::Renamed { to } => write!(f, "`{path}` was renamed to `{to}`"),
            FileChangeKind::Content => write!(f, "the content of `{path}` changed"),
            FileChangeKind::Mode { old, new } => {
                write!(f, "the mode of `{path}` is {new:04o}, and was {old:04o}")
            }
            FileChangeKind::Owner => write!(f, "the owner of `{path}` changed"),
            FileChangeKind::Type => write!(f, "the type of `{path}` changed"),
            FileChangeKind::Link => write!(f, "the link `{path}` leads elsewhere"),
            FileChangeKind::Attributes => write!(f, "the extended attributes of `{path}` changed"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverBuilt => f.write_str("never built here"),
            Self::NewStep => f.write_str("the last build had no such step"),
            Self::FailedBefore => f.write_str("it failed in the last build"),
            Self::Forced { option } => write!(f, "`{option}` says so"),
            Self::Evicted { when_s, size_bytes } => {
                let when = when_s.and_then(|s| date(i64::try_from(s).ok()?));
                let when = when.map(|when| format!(" on {when}")).unwrap_or_default();
                write!(f, "evicted{when}, was {}", bytes(*size_bytes))
            }
            Self::Lost { reason } => write!(f, "its layer cannot be had: {reason}"),
            Self::Instruction { old, new } => write!(f, "the instruction is `{new}`, and was `{old}`"),
            Self::Argument(change) => write!(f, "ARG {change}"),
            Self::Variable(change) => write!(f, "ENV {change}"),
            Self::VariableOrder => f.write_str("the order of its variables changed"),
            Self::Field(change) => write!(f, "{change}"),
            Self::Base { reference, old, new } => {
                write!(f, "the base `{reference}` is {new}, and was {old}")
            }
            Self::Upstream { stage, text } => {
                write!(f, "its input `{}` (stage {stage}) gave another result", cut(text))
            }
            Self::Files { place, changes, count } => {
                let texts: Vec<String> = changes.iter().map(ToString::to_string).collect();
                write!(f, "in {place}, {}", texts.join("; "))?;
                match count - changes.len() {
                    0 => Ok(()),
                    more => write!(f, "; and {more} more"),
                }
            }
            Self::Source { what } => write!(f, "what `{what}` gives changed"),
            Self::Secret { id } => write!(f, "the content of the secret `{id}` changed"),
            Self::Version => f.write_str("another version of kairn made it"),
        }
    }
}

/// A size for people: `1.2 GB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// The beginning of an instruction.
fn cut(text: &str) -> String {
    const SHOWN: usize = 60;
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    text.chars().take(SHOWN - 3).chain("...".chars()).collect()
}

/// A time for people, in UTC; none where the seconds from the Unix epoch are no time.
pub fn date(seconds: i64) -> Option<String> {
    let time = jiff::Timestamp::from_second(seconds).ok()?;
    Some(time.strftime("%Y-%m-%d %H:%M").to_string())
}

/// A digest for people.
fn short(digest: &Digest) -> String {
    format!("sha256:{}", digest.short())
}
