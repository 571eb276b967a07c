//! A whole file: its lines, its stages, and what may stand where.

use super::directive::Directives;
use super::instruction::{self, Place, Read, Statement};
use super::keyword::Keyword;
use super::lines::Lines;
use super::{Dockerfile, Instruction, InstructionKind, Parsed, Stage};
use crate::{Diagnostic, Severity, Span, Spanned};

/// Reads a Dockerfile.
///
/// Spec: Dockerfile reference, "Format", "Parser directives" and each instruction's section.
///
/// Differs: what BuildKit knows and kairn does not is an error of code `unsupported`; reserved stage names and
/// broken ONBUILD triggers are errors; every mistake is reported, not only the first.
pub fn parse(text: &str) -> Parsed {
    let mut lines = Lines::new(text);
    let mut directives = Directives::new();
    let mut file = File::new();
    let mut diagnostics = Vec::new();
    while let Some(line) = lines.physical(&mut diagnostics) {
        directives.line(line, &mut diagnostics);
        let escape = directives.escape;
        let Some(text) = lines.logical(line, escape, &mut diagnostics) else { continue };
        let read = instruction::read(text.all(), escape, Place::File, &mut diagnostics);
        skip_heredocs(&mut lines, &read, &mut diagnostics);
        file.add(read, text.all().trim().span());
    }
    file.finish(directives.escape, &mut diagnostics)
}

/// Reads the text of an ONBUILD trigger, as an image's config holds it.
///
/// # Errors
/// Every mistake in it; spans are offsets into this text.
pub fn parse_trigger(text: &str) -> Result<Instruction, Vec<Diagnostic>> {
    let mut lines = Lines::new(text);
    let mut directives = Directives::new();
    let mut diagnostics = Vec::new();
    let mut found = Vec::new();
    while let Some(line) = lines.physical(&mut diagnostics) {
        directives.line(line, &mut diagnostics);
        let escape = directives.escape;
        let Some(text) = lines.logical(line, escape, &mut diagnostics) else { continue };
        let read = instruction::read(text.all(), escape, Place::Trigger, &mut diagnostics);
        skip_heredocs(&mut lines, &read, &mut diagnostics);
        if found.len() == 1 {
            diagnostics.push(Diagnostic::error(
                "invalid-trigger",
                text.all().trim().span(),
                "a trigger of ONBUILD is one instruction",
            ));
        }
        found.push(read.statement);
    }
    if found.is_empty() {
        diagnostics.push(Diagnostic::error(
            "invalid-trigger",
            Span::default(),
            "a trigger of ONBUILD is empty",
        ));
    }
    diagnostics.sort_by_key(|diagnostic| diagnostic.span);
    match found.pop().flatten() {
        Some(Statement::Instruction(instruction)) if !has_error(&diagnostics) => Ok(*instruction),
        _ => Err(diagnostics),
    }
}

fn has_error(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
}

fn skip_heredocs(lines: &mut Lines<'_>, read: &Read, diagnostics: &mut Vec<Diagnostic>) {
    for heredoc in &read.heredocs {
        if !lines.skip_heredoc(&heredoc.terminator, heredoc.strips_tabs, diagnostics) {
            diagnostics.push(
                Diagnostic::error("unterminated-heredoc", heredoc.span, "heredoc is never ended")
                    .with_help(format!("end it with a line that is `{}`", heredoc.terminator)),
            );
            return;
        }
    }
}

/// The tree as it grows.
struct File {
    global_args: Vec<Instruction>,
    stages: Vec<Stage>,
    /// Whether a FROM has been seen, and if it was valid.
    place: FilePlace,
    /// Instructions other than ARG before the first FROM.
    misplaced: Vec<Spanned<Keyword>>,
    /// The first thing in the file that is no comment.
    first: Option<Span>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FilePlace {
    BeforeFrom,
    Stage,
    /// The FROM has an error: what follows is read for its mistakes only.
    BrokenStage,
}

impl File {
    fn new() -> Self {
        Self {
            global_args: Vec::new(),
            stages: Vec::new(),
            place: FilePlace::BeforeFrom,
            misplaced: Vec::new(),
            first: None,
        }
    }

    fn add(&mut self, read: Read, span: Span) {
        self.first.get_or_insert(span);
        let Some(keyword) = read.keyword else { return };
        match read.statement {
            Some(Statement::From(from)) => {
                self.place = FilePlace::Stage;
                self.stages.push(Stage {
                    index: self.stages.len(),
                    span: from.span,
                    platform: from.platform,
                    base: from.base,
                    name: from.name,
                    instructions: Vec::new(),
                });
            }
            None if keyword.value == Keyword::From => self.place = FilePlace::BrokenStage,
            statement => {
                if self.place == FilePlace::BeforeFrom && keyword.value != Keyword::Arg {
                    self.misplaced.push(keyword);
                } else if let Some(Statement::Instruction(instruction)) = statement {
                    self.place(*instruction);
                }
            }
        }
    }

    fn place(&mut self, instruction: Instruction) {
        match (self.place, self.stages.last_mut()) {
            (FilePlace::BeforeFrom, _) => {
                debug_assert!(
                    matches!(instruction.kind, InstructionKind::Arg(_)),
                    "only ARG comes before FROM"
                );
                self.global_args.push(instruction);
            }
            (FilePlace::Stage, Some(stage)) => stage.instructions.push(instruction),
            (FilePlace::Stage | FilePlace::BrokenStage, _) => {}
        }
    }

    fn finish(self, escape: char, diagnostics: &mut Vec<Diagnostic>) -> Parsed {
        let without_from = self.place == FilePlace::BeforeFrom;
        // Without any FROM one report is enough.
        for keyword in self.misplaced.iter().take(if without_from { 1 } else { usize::MAX }) {
            diagnostics.push(
                Diagnostic::error(
                    "instruction-before-from",
                    keyword.span,
                    format!("`{}` stands before the first FROM", keyword.value),
                )
                .with_help("begin with `FROM <image>`; only ARG may stand before it"),
            );
        }
        match self.first {
            None => diagnostics.push(
                Diagnostic::error("empty-file", Span::default(), "file has no instructions")
                    .with_help("begin with `FROM <image>`"),
            ),
            Some(span) if without_from && self.misplaced.is_empty() && !has_error(diagnostics) => {
                diagnostics.push(
                    Diagnostic::error("no-stages", span, "file has no FROM and so nothing to build")
                        .with_help("add `FROM <image>`"),
                );
            }
            Some(_) => {}
        }
        let mut diagnostics = std::mem::take(diagnostics);
        diagnostics.sort_by_key(|diagnostic| diagnostic.span);
        Parsed {
            dockerfile: Dockerfile { escape, global_args: self.global_args, stages: self.stages },
            diagnostics,
        }
    }
}
