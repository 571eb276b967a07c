//! `RUN --mount`: its fields as written, and what they mean once variables are replaced.

use super::csv;
use super::mount_draft::Draft;
use super::{Word, flags};
use crate::text::Text;
use crate::{Diagnostic, Span, Spanned};

/// A `--mount` flag as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The bytes of the flag.
    pub span: Span,
    /// Its fields, in their order, which counts: `type` stands before `required` and `size`.
    pub fields: Vec<MountField>,
}

/// `key=value`, or a key alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountField {
    /// The key, in lower case.
    pub key: Spanned<String>,
    /// What is behind the `=`.
    pub value: Option<Word>,
}

/// What a mount is.
///
/// `target` is as written: relative to the working directory, which an empty one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSpec {
    /// Files of a stage, an image or the context.
    Bind {
        /// Where it is mounted.
        target: String,
        /// The stage, image or named context; the build context if `None`.
        from: Option<String>,
        /// The path in it; empty for all of it.
        source: String,
        /// Whether the command may write; what it writes is lost.
        read_write: bool,
    },
    /// A directory that stays from build to build.
    Cache {
        /// The cache's name; the target if `None`.
        id: Option<String>,
        /// Where it is mounted.
        target: String,
        /// What happens when two steps want it at once.
        sharing: Sharing,
        /// The stage, image or named context it begins with; an empty one if `None`.
        from: Option<String>,
        /// The path in it.
        source: String,
        /// Whether the command may only read.
        read_only: bool,
        /// The mode of a new cache; 0755 if `None`.
        mode: Option<u32>,
        /// The owner of a new cache; 0 if `None`.
        uid: Option<u32>,
        /// The group of a new cache; 0 if `None`.
        gid: Option<u32>,
    },
    /// A file system in memory.
    Tmpfs {
        /// Where it is mounted.
        target: String,
        /// Its limit; `None` is none.
        size_bytes: Option<u64>,
    },
    /// A secret of the user's; at least one of `target` and `env` is there.
    Secret {
        /// The secret's name.
        id: String,
        /// The file that holds it.
        target: Option<String>,
        /// The variable that holds it.
        env: Option<String>,
        /// Whether the build fails without it.
        required: bool,
        /// The file's mode; 0400 if `None`.
        mode: Option<u32>,
        /// The file's owner; 0 if `None`.
        uid: Option<u32>,
        /// The file's group; 0 if `None`.
        gid: Option<u32>,
    },
    /// The socket of an SSH agent.
    Ssh {
        /// The agent's name; `default` if none is given.
        id: String,
        /// The socket's path; `/run/buildkit/ssh_agent.<n>` if `None`.
        target: Option<String>,
        /// Whether the build fails without it.
        required: bool,
        /// The socket's mode; 0600 if `None`.
        mode: Option<u32>,
        /// The socket's owner; 0 if `None`.
        uid: Option<u32>,
        /// The socket's group; 0 if `None`.
        gid: Option<u32>,
    },
}

/// How steps share a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// All use it at once.
    #[default]
    Shared,
    /// Each at one time has its own.
    Private,
    /// One after the other.
    Locked,
}

impl Mount {
    /// Replaces the variables of the values and checks keys, types and values.
    ///
    /// Differs: the value of `from` is expanded, too; `readonly` of a tmpfs is refused.
    ///
    /// # Errors
    /// Every mistake, and those that `expand` returns.
    pub fn resolve(
        &self,
        expand: &mut dyn FnMut(&Word) -> Result<String, Diagnostic>,
    ) -> Result<MountSpec, Vec<Diagnostic>> {
        Draft::read(self, expand)?.finish(self.span)
    }

    /// Reads a flag's value.
    pub(super) fn parse(value: &Text, span: Span) -> Result<Self, Diagnostic> {
        let invalid = |message: &str| Diagnostic::error("invalid-mount", span, message.to_owned());
        if value.all().is_empty() {
            return Err(invalid("mount has no fields").with_help("write `--mount=type=<type>,target=<path>`"));
        }
        let Some(fields) = csv::fields(value.all()) else {
            return Err(invalid("quotes in the fields of a mount are malformed")
                .with_help("a quoted field is quoted as a whole; a quote inside it is doubled"));
        };
        let fields = fields.iter().map(|field| {
            let field = field.all();
            let (key, value) = match field.as_str().find('=') {
                Some(at) => (field.part(0..at), Some(field.from(at + 1).word())),
                None => (field, None),
            };
            MountField { key: Spanned::new(key.as_str().to_lowercase(), key.span()), value }
        });
        Ok(Self { span, fields: fields.collect() })
    }

    /// Finds what can be found before variables have values: nothing, if there are any.
    pub(crate) fn check(&self, escape: char) -> Vec<Diagnostic> {
        let has_variables =
            self.fields.iter().any(|field| field.value.as_ref().is_some_and(|value| value.raw.contains('$')));
        if has_variables {
            return Vec::new();
        }
        let mut expand = |word: &Word| word.expand(escape, &|_| None).map(|expansion| expansion.value);
        match Draft::read(self, &mut expand) {
            Err(diagnostics) => diagnostics,
            Ok(draft) => {
                let mut found = draft.unused();
                found.extend(draft.finish(self.span).err().into_iter().flatten());
                found
            }
        }
    }
}

/// Reads the `--mount` flags of a RUN.
pub(super) fn read(
    flags: &mut flags::Flags,
    escape: char,
) -> Result<(Vec<Mount>, Vec<Diagnostic>), Vec<Diagnostic>> {
    let (mut mounts, mut diagnostics) = (Vec::new(), Vec::new());
    for (value, span) in flags.list("mount") {
        match Mount::parse(&value, span) {
            Ok(mount) => {
                diagnostics.extend(mount.check(escape));
                mounts.push(mount);
            }
            Err(diagnostic) => diagnostics.push(diagnostic),
        }
    }
    let failed = diagnostics.iter().any(|diagnostic| diagnostic.severity == crate::Severity::Error);
    if failed { Err(diagnostics) } else { Ok((mounts, diagnostics)) }
}
