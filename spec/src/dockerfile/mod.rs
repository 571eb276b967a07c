//! The Dockerfile's syntax tree.
//!
//! Spec: Dockerfile reference; where it and BuildKit's program differ, the program.

mod check;
mod comments;
pub(crate) mod copy;
mod csv;
mod directive;
mod duration;
mod flags;
pub(crate) mod from;
pub(crate) mod healthcheck;
mod heredoc;
mod instruction;
mod json;
pub(crate) mod keyword;
mod lines;
mod lints;
mod mount;
mod mount_draft;
mod mount_kind;
mod mount_value;
pub(crate) mod onbuild;
mod parse;
mod parts;
mod rules;
mod run;
mod size;
mod variables;

pub(crate) use check::parse_bool;
pub use check::{CheckDirective, Skip};
pub(crate) use duration::parse as parse_duration;
pub use heredoc::Heredoc;
pub use mount::{Mount, MountField, MountSpec, Sharing};
pub use parse::{parse, parse_trigger};
pub use size::parse as parse_size;

use crate::{Diagnostic, Span, Spanned};

/// What [`parse`] returns: as much of the tree as could be read, and every mistake in the text.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The tree; instructions with an error are left out of it.
    pub dockerfile: Dockerfile,
    /// Every mistake, in the order of the text. The tree may be compiled only if none is an error.
    pub diagnostics: Vec<Diagnostic>,
    /// Whether every FROM could be read, so that names and numbers of stages mean what they should.
    pub has_all_stages: bool,
}

/// A whole Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// The escape character: `\` or a backtick.
    pub escape: char,
    /// The front end that `# syntax=` names, without what follows a blank; one that is built in.
    pub syntax: Option<Spanned<String>>,
    /// What the directive `# check=` says.
    pub check: Option<CheckDirective>,
    /// The ARG instructions before the first FROM.
    pub global_args: Vec<Instruction>,
    /// The stages in the order of the text.
    pub stages: Vec<Stage>,
}

/// One stage: a FROM and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Position among the file's stages, from 0.
    pub index: usize,
    /// The bytes of the FROM instruction.
    pub span: Span,
    /// Value of `--platform`.
    pub platform: Option<Word>,
    /// The image, stage or `scratch`.
    pub base: Word,
    /// The name after AS, in lower case.
    pub name: Option<Spanned<String>>,
    /// What a comment `# check=` right above the FROM says.
    pub check: Option<CheckDirective>,
    /// The instructions after FROM.
    pub instructions: Vec<Instruction>,
}

/// One instruction (never FROM).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// All bytes of the instruction, from keyword to the end of its last line; heredocs' bodies follow it.
    pub span: Span,
    /// The keyword, in upper case.
    pub keyword: Spanned<String>,
    /// The instruction's text on one line: continuations joined, comments inside it dropped.
    pub text: String,
    /// What a comment `# check=` right above it says.
    pub check: Option<CheckDirective>,
    /// What it says.
    pub kind: InstructionKind,
}

impl Instruction {
    /// Returns the instruction's bytes with the bodies of its heredocs.
    pub(crate) fn reach(&self) -> Span {
        let heredocs = match &self.kind {
            InstructionKind::Add(copy) | InstructionKind::Copy(copy) => &copy.heredocs[..],
            InstructionKind::Run(run) => &run.heredocs,
            _ => &[],
        };
        heredocs.iter().fold(self.span, |all, heredoc| all.to(heredoc.content.span))
    }
}

/// What an instruction says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstructionKind {
    /// ADD: files, archives, URLs and git repositories.
    Add(Copy),
    /// ARG: names with optional defaults, evaluated left to right.
    Arg(Vec<ArgDeclaration>),
    /// CMD.
    Cmd(Command),
    /// COPY.
    Copy(Copy),
    /// ENTRYPOINT.
    Entrypoint(Command),
    /// ENV: pairs, all expanded with the environment before the line.
    Env(Vec<KeyValue>),
    /// EXPOSE: ports, each word split again after expansion.
    Expose(Vec<Word>),
    /// HEALTHCHECK.
    Healthcheck(Healthcheck),
    /// LABEL.
    Label(Vec<KeyValue>),
    /// MAINTAINER: the author, taken as it stands.
    Maintainer(Spanned<String>),
    /// ONBUILD: the trigger's text as it goes into the config, bodies of heredocs included. It may be broken: that
    /// has been warned of, and shows when it is run.
    Onbuild(Spanned<String>),
    /// RUN.
    Run(Run),
    /// SHELL.
    Shell(Vec<Spanned<String>>),
    /// STOPSIGNAL.
    Stopsignal(Word),
    /// USER.
    User(Word),
    /// VOLUME.
    Volume(Vec<Word>),
    /// WORKDIR.
    Workdir(Word),
}

/// A piece of text in which variables are expanded later, by [`Word`]'s own rules of quoting.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Word {
    /// The text as written (quotes, escapes and variables untouched), continuations joined.
    pub raw: String,
    /// Where it stands.
    pub span: Span,
    /// Where `raw` and the source cease to run in step: offset in `raw`, offset in the source.
    origin: Vec<(usize, usize)>,
}

impl Word {
    /// Makes a word whose text runs in step with the source from the span's start on.
    pub fn new(raw: impl Into<String>, span: Span) -> Self {
        Self::with_origin(raw.into(), span, Vec::new())
    }

    pub(crate) fn with_origin(raw: String, span: Span, origin: Vec<(usize, usize)>) -> Self {
        Self { raw, span, origin }
    }

    /// Returns the source bytes that a range of `raw` was read from.
    pub fn span_of(&self, range: std::ops::Range<usize>) -> Span {
        let source_of = |offset: usize| {
            let run = self.origin.partition_point(|&(at, _)| at <= offset);
            match run.checked_sub(1) {
                Some(run) => self.origin[run].1 + (offset - self.origin[run].0),
                None => self.span.start + offset,
            }
        };
        let start = source_of(range.start).min(self.span.end);
        let end = if range.is_empty() { start } else { source_of(range.end - 1) + 1 };
        Span::new(start, end.clamp(start, self.span.end.max(start)))
    }
}

/// `NAME` or `NAME=default` of an ARG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgDeclaration {
    /// The variable; BuildKit expands it.
    pub name: Word,
    /// The default, expanded only if it is used.
    pub default: Option<Word>,
}

/// A pair of ENV or LABEL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key; BuildKit expands it in ENV as well as in LABEL.
    pub key: Word,
    /// The value.
    pub value: Word,
}

/// A command line: shell form or exec form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Text for the stage's shell, exactly as written, continuations joined.
    Shell(Spanned<String>),
    /// A JSON array of strings.
    Exec(Vec<Spanned<String>>),
}

/// COPY or ADD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Value of `--from` (COPY only). Differs: it may have variables.
    pub from: Option<Word>,
    /// Value of `--chown`.
    pub chown: Option<Word>,
    /// Value of `--chmod`.
    pub chmod: Option<Word>,
    /// Whether the layer does not depend on what is below it (`--link`).
    pub link: bool,
    /// Whether the sources' parents are copied, too (`--parents`, COPY only).
    pub parents: bool,
    /// Values of `--exclude`, not expanded, each with the flag's bytes.
    pub excludes: Vec<Spanned<String>>,
    /// Value of `--checksum` (ADD only).
    pub checksum: Option<Word>,
    /// Value of `--keep-git-dir` (ADD only).
    pub keep_git_dir: Option<bool>,
    /// Value of `--unpack` (ADD only): by default, local archives are unpacked.
    pub unpack: Option<bool>,
    /// What is copied, without the heredocs. There is at least one of either.
    pub sources: Vec<Word>,
    /// Files written in place; they are copied after the other sources.
    pub heredocs: Vec<Heredoc>,
    /// Where to.
    pub dest: Word,
}

/// RUN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Values of `--mount`, in their order.
    pub mounts: Vec<Mount>,
    /// Value of `--network`, with the flag's bytes.
    pub network: Option<Spanned<Network>>,
    /// Value of `--security`, with the flag's bytes.
    pub security: Option<Spanned<Security>>,
    /// The command, for the shell form with the heredocs' `<<NAME` words.
    pub command: Command,
    /// The heredocs, in the order of the text; never any in exec form.
    pub heredocs: Vec<Heredoc>,
}

/// What network a RUN has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// The builder's usual one.
    Default,
    /// The loopback interface only.
    None,
    /// The host's.
    Host,
}

/// What a RUN may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// What the sandbox allows.
    Sandbox,
    /// Everything.
    Insecure,
}

/// HEALTHCHECK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Healthcheck {
    /// `HEALTHCHECK NONE`: switches an inherited check off.
    Disable,
    /// `HEALTHCHECK CMD ...`; a time of zero and no retries mean the engine's default.
    Check {
        /// The command; shell form becomes `CMD-SHELL`.
        command: Command,
        /// `--interval`, nanoseconds.
        interval_ns: i64,
        /// `--timeout`, nanoseconds.
        timeout_ns: i64,
        /// `--start-period`, nanoseconds.
        start_period_ns: i64,
        /// `--start-interval`, nanoseconds.
        start_interval_ns: i64,
        /// `--retries`.
        retries: u32,
    },
}
