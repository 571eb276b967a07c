//! One logical line to one instruction.

use super::flags::{self, Flags};
use super::heredoc::{self, Heredoc};
use super::keyword::Keyword;
use super::lines::Lines;
use super::parts::Parts;
use super::{Command, Instruction, InstructionKind, copy, from, healthcheck, json, onbuild, run, variables};
use crate::text::Slice;
use crate::{Diagnostic, Severity, Span, Spanned};

/// What a logical line says.
#[derive(Debug)]
pub(super) enum Statement {
    /// A FROM.
    From(from::From),
    /// Anything else.
    Instruction(Box<Instruction>),
}

/// What was read from a logical line.
#[derive(Debug)]
pub(super) struct Read {
    /// The statement, unless it has an error.
    pub(super) statement: Option<Statement>,
    /// The keyword, if it is one, and its bytes.
    pub(super) keyword: Option<Spanned<Keyword>>,
    /// The keyword as written.
    pub(super) written: String,
}

/// Where an instruction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a file.
    File,
    /// Behind ONBUILD or in an image's config, where it is not checked for style.
    Trigger,
}

/// Reads a logical line and the heredocs behind it; every mistake goes to the diagnostics.
pub(super) fn read(
    line: Slice<'_>,
    escape: char,
    place: Place,
    lines: &mut Lines<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Read {
    let parts = Parts::new(line);
    let written = parts.name.as_str().to_owned();
    let keyword = match parts.keyword() {
        Ok(keyword) => keyword,
        Err(diagnostic) => {
            diagnostics.push(diagnostic);
            return Read { statement: None, keyword: None, written };
        }
    };
    let before = diagnostics.len();
    let heredocs = if heredoc::may_follow(keyword, parts.arguments) {
        heredoc::read(line, lines, diagnostics)
    } else {
        Vec::new()
    };
    let statement = interpret(&parts, keyword, escape, place, &heredocs, diagnostics);
    let statement = statement
        .filter(|_| diagnostics[before..].iter().all(|diagnostic| diagnostic.severity == Severity::Warning));
    Read { statement, keyword: Some(Spanned::new(keyword, parts.at())), written }
}

/// Reads a line whose heredocs have been read.
pub(super) fn interpret(
    parts: &Parts<'_>,
    keyword: Keyword,
    escape: char,
    place: Place,
    heredocs: &[Heredoc],
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Statement> {
    let flags = flags::check(keyword, &parts.flags, diagnostics);
    let mut reader = Reader {
        escape,
        span: parts.at(),
        written: parts.name.as_str(),
        heredocs,
        diagnostics,
        place,
        line: parts.whole,
    };
    // Arguments are read even behind a wrong flag: their mistakes are to be reported as well.
    reader.statement(keyword, flags.unwrap_or_default(), parts.arguments, parts.whole.trim())
}

/// What the readers of arguments share.
pub(super) struct Reader<'a> {
    /// The file's escape character.
    pub(super) escape: char,
    /// The keyword's bytes.
    pub(super) span: Span,
    /// The keyword as written.
    pub(super) written: &'a str,
    /// The heredocs of the line.
    pub(super) heredocs: &'a [Heredoc],
    /// The logical line, blanks at its ends included.
    pub(super) line: Slice<'a>,
    pub(super) diagnostics: &'a mut Vec<Diagnostic>,
    place: Place,
}

impl Reader<'_> {
    pub(super) fn error(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Reports a finding of style.
    pub(super) fn lint(&mut self, diagnostic: Diagnostic) {
        if self.place == Place::File {
            self.diagnostics.push(diagnostic);
        }
    }

    fn statement(
        &mut self,
        keyword: Keyword,
        flags: Flags,
        arguments: Slice<'_>,
        line: Slice<'_>,
    ) -> Option<Statement> {
        if self.place == Place::Trigger && !onbuild::may_be_trigger(keyword) {
            self.error(Diagnostic::error(
                "invalid-trigger",
                self.span,
                format!("`{keyword}` cannot be a trigger of ONBUILD"),
            ));
            return None;
        }
        if keyword == Keyword::From {
            return from::read(self, flags, arguments, line.span()).map(Statement::From);
        }
        let kind = self.kind(keyword, flags, arguments)?;
        Some(Statement::Instruction(Box::new(Instruction {
            span: line.span(),
            keyword: Spanned::new(keyword.name().to_owned(), self.span),
            text: line.as_str().to_owned(),
            check: None,
            kind,
        })))
    }

    fn kind(&mut self, keyword: Keyword, flags: Flags, arguments: Slice<'_>) -> Option<InstructionKind> {
        Some(match keyword {
            Keyword::Add => InstructionKind::Add(copy::read(self, keyword, flags, arguments)?),
            Keyword::Arg => InstructionKind::Arg(variables::arg(self, arguments)?),
            Keyword::Cmd => InstructionKind::Cmd(self.command(arguments)?),
            Keyword::Copy => InstructionKind::Copy(copy::read(self, keyword, flags, arguments)?),
            Keyword::Entrypoint => InstructionKind::Entrypoint(self.command(arguments)?),
            Keyword::Env => InstructionKind::Env(variables::pairs(self, keyword, arguments)?),
            Keyword::Expose => {
                self.required(keyword, arguments)?;
                InstructionKind::Expose(arguments.split_blanks().into_iter().map(Slice::word).collect())
            }
            Keyword::From => unreachable!("FROM is read as a stage"),
            Keyword::Healthcheck => InstructionKind::Healthcheck(healthcheck::read(self, flags, arguments)?),
            Keyword::Label => InstructionKind::Label(variables::pairs(self, keyword, arguments)?),
            Keyword::Maintainer => InstructionKind::Maintainer(self.maintainer(arguments)?),
            Keyword::Onbuild => InstructionKind::Onbuild(onbuild::read(self, arguments)?),
            Keyword::Run => InstructionKind::Run(run::read(self, flags, arguments)?),
            Keyword::Shell => InstructionKind::Shell(self.shell(arguments)?),
            Keyword::Stopsignal => InstructionKind::Stopsignal(self.required(keyword, arguments)?.word()),
            Keyword::User => InstructionKind::User(self.required(keyword, arguments)?.word()),
            Keyword::Volume => InstructionKind::Volume(self.volume(arguments)?),
            Keyword::Workdir => InstructionKind::Workdir(self.required(keyword, arguments)?.word()),
        })
    }

    /// Returns the arguments unless there are none.
    pub(super) fn required<'s>(&mut self, keyword: Keyword, arguments: Slice<'s>) -> Option<Slice<'s>> {
        if arguments.is_empty() {
            self.error(Diagnostic::error(
                "missing-argument",
                self.span,
                format!("`{keyword}` needs an argument"),
            ));
            return None;
        }
        Some(arguments)
    }

    /// Reads a command in exec form or, failing that, shell form.
    pub(super) fn command(&mut self, arguments: Slice<'_>) -> Option<Command> {
        match json::array(arguments) {
            None => Some(Command::Shell(arguments.spanned())),
            Some(Ok(elements)) => Some(Command::Exec(strings(&elements))),
            Some(Err(diagnostic)) => {
                self.error(*diagnostic);
                None
            }
        }
    }

    fn shell(&mut self, arguments: Slice<'_>) -> Option<Vec<Spanned<String>>> {
        self.required(Keyword::Shell, arguments)?;
        match json::array(arguments) {
            None => {
                self.error(
                    Diagnostic::error("shell-not-json", arguments.span(), "`SHELL` needs the JSON form")
                        .with_help("write an array of strings, such as `SHELL [\"/bin/sh\", \"-c\"]`"),
                );
                None
            }
            Some(Err(diagnostic)) => {
                self.error(*diagnostic);
                None
            }
            Some(Ok(elements)) if elements.is_empty() => {
                self.error(Diagnostic::error(
                    "missing-argument",
                    arguments.span(),
                    "`SHELL` needs at least one argument",
                ));
                None
            }
            Some(Ok(elements)) => Some(strings(&elements)),
        }
    }

    fn volume(&mut self, arguments: Slice<'_>) -> Option<Vec<super::Word>> {
        let elements = match json::array(arguments) {
            None => {
                self.required(Keyword::Volume, arguments)?;
                return Some(arguments.split_blanks().into_iter().map(Slice::word).collect());
            }
            Some(Err(diagnostic)) => {
                self.error(*diagnostic);
                return None;
            }
            Some(Ok(elements)) => elements,
        };
        if elements.is_empty() {
            self.error(Diagnostic::error("missing-argument", arguments.span(), "`VOLUME` needs an argument"));
            return None;
        }
        let mut words = Vec::new();
        for element in &elements {
            let path = element.value.all().trim();
            if path.is_empty() {
                self.error(Diagnostic::error("empty-volume", element.source.span(), "volume has no path"));
            } else {
                words.push(path.word());
            }
        }
        Some(words)
    }

    fn maintainer(&mut self, arguments: Slice<'_>) -> Option<Spanned<String>> {
        let author = self.required(Keyword::Maintainer, arguments)?.spanned();
        self.lint(
            Diagnostic::warning("MaintainerDeprecated", self.span, "`MAINTAINER` is deprecated")
                .with_help(format!("write `LABEL org.opencontainers.image.authors=\"{}\"`", author.value)),
        );
        Some(author)
    }
}

fn strings(elements: &[json::Element<'_>]) -> Vec<Spanned<String>> {
    elements
        .iter()
        .map(|element| Spanned::new(element.value.all().as_str().to_owned(), element.source.span()))
        .collect()
}
