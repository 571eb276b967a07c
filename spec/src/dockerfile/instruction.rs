//! One logical line to one instruction.

use super::flags::{self, Flags};
use super::heredoc::{self, Heredoc};
use super::keyword::{Keyword, nearest};
use super::{Command, Instruction, InstructionKind, copy, from, healthcheck, json, variables};
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
    /// Heredocs whose bodies follow the line.
    pub(super) heredocs: Vec<Heredoc>,
}

/// Where an instruction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a file.
    File,
    /// Behind ONBUILD or in an image's config.
    Trigger,
}

/// Reads a logical line; every mistake goes to the diagnostics.
pub(super) fn read(line: Slice<'_>, escape: char, place: Place, diagnostics: &mut Vec<Diagnostic>) -> Read {
    let line_untrimmed = line;
    let line = line.trim();
    let (name, rest) = line.split_first_blank();
    let keyword = Keyword::find(name.as_str());
    let Some(keyword) = keyword else {
        diagnostics.push(unknown(name));
        return Read { statement: None, keyword: None, heredocs: Vec::new() };
    };
    let before = diagnostics.len();
    let (raw_flags, arguments) = flags::take(rest.unwrap_or_else(|| line.from(line.as_str().len())));
    let checked = flags::check(keyword, &raw_flags, diagnostics);
    let mut reader =
        Reader { escape, span: name.span(), heredocs: Vec::new(), diagnostics, line: line_untrimmed };
    reader.refuse_heredocs(keyword, arguments);
    // Arguments are read even behind a wrong flag: their mistakes are to be reported as well.
    let statement = reader.statement(keyword, checked.unwrap_or_default(), arguments, place, line);
    let heredocs = reader.heredocs;
    let keyword = Spanned::new(keyword, name.span());
    let statement = statement
        .filter(|_| diagnostics[before..].iter().all(|diagnostic| diagnostic.severity == Severity::Warning));
    Read { statement, keyword: Some(keyword), heredocs }
}

fn unknown(name: Slice<'_>) -> Diagnostic {
    if name.is_empty() {
        return Diagnostic::error("unknown-instruction", name.span(), "continuation of no instruction");
    }
    let diagnostic = Diagnostic::error(
        "unknown-instruction",
        name.span(),
        format!("unknown instruction `{}`", name.as_str()),
    );
    match nearest(name.as_str(), Keyword::NAMES.iter().copied()) {
        Some(near) => diagnostic.with_help(format!("did you mean `{near}`?")),
        None => diagnostic,
    }
}

/// What the readers of arguments share.
pub(super) struct Reader<'a> {
    /// The file's escape character.
    pub(super) escape: char,
    /// The keyword's bytes.
    pub(super) span: Span,
    pub(super) diagnostics: &'a mut Vec<Diagnostic>,
    heredocs: Vec<Heredoc>,
    line: Slice<'a>,
}

impl Reader<'_> {
    pub(super) fn error(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    fn statement(
        &mut self,
        keyword: Keyword,
        flags: Flags,
        arguments: Slice<'_>,
        place: Place,
        line: Slice<'_>,
    ) -> Option<Statement> {
        if place == Place::Trigger
            && matches!(keyword, Keyword::From | Keyword::Maintainer | Keyword::Onbuild)
        {
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
            Keyword::Maintainer => InstructionKind::Maintainer(self.required(keyword, arguments)?.spanned()),
            Keyword::Onbuild => InstructionKind::Onbuild(self.onbuild(arguments)?),
            Keyword::Run => InstructionKind::Run(self.command(arguments)?),
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

    fn onbuild(&mut self, arguments: Slice<'_>) -> Option<Spanned<String>> {
        self.required(Keyword::Onbuild, arguments)?;
        let inner = read(arguments, self.escape, Place::Trigger, self.diagnostics);
        inner.statement?;
        // BuildKit stores the line as it stands behind the keyword, blanks at its end included.
        let line = self.line.trim_start();
        let start =
            line.as_str().len() - line.from(Keyword::Onbuild.name().len()).trim_start().as_str().len();
        Some(Spanned::new(line.from(start).as_str().to_owned(), arguments.span()))
    }

    /// Reports the heredocs of instructions that can have them; ONBUILD's are found by the inner instruction.
    fn refuse_heredocs(&mut self, keyword: Keyword, arguments: Slice<'_>) {
        let inner = match keyword {
            Keyword::Onbuild => {
                let (name, rest) = arguments.split_first_blank();
                Keyword::find(name.as_str()).zip(rest.map(|rest| flags::take(rest).1))
            }
            _ => Some((keyword, arguments)),
        };
        let Some((inner, arguments)) = inner else { return };
        if !matches!(inner, Keyword::Add | Keyword::Copy | Keyword::Run) {
            return;
        }
        if matches!(json::array(arguments), Some(Ok(_))) {
            return;
        }
        self.heredocs = heredoc::find(self.line);
        if keyword != Keyword::Onbuild {
            for heredoc in &self.heredocs {
                self.diagnostics.push(heredoc::unsupported(keyword, heredoc));
            }
        }
    }
}

fn strings(elements: &[json::Element<'_>]) -> Vec<Spanned<String>> {
    elements
        .iter()
        .map(|element| Spanned::new(element.value.all().as_str().to_owned(), element.source.span()))
        .collect()
}
