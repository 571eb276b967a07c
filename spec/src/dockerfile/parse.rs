//! A whole file: its lines, its stages, and what may stand where.

use super::comments::Comments;
use super::directive::Directives;
use super::instruction::{self, Place, Read, Statement};
use super::keyword::Keyword;
use super::lines::Lines;
use super::{Dockerfile, Instruction, InstructionKind, Parsed, Stage, lints};
use crate::{Diagnostic, Severity, Span, Spanned};

/// Reads a Dockerfile.
///
/// Warnings whose code is a rule's name are for [`Checks::filter`](crate::checks::Checks::filter).
///
/// Spec: Dockerfile reference, "Format", "Parser directives" and each instruction's section.
///
/// Differs: `RUN --device` and foreign front ends are errors of code `unsupported`; mounts without variables and
/// remote sources are checked in every stage; every mistake is reported, not only the first.
pub fn parse(text: &str) -> Parsed {
    let mut lines = Lines::new(text);
    let mut directives = Directives::new();
    let mut comments = Comments::default();
    let mut file = File::new();
    let mut diagnostics = Vec::new();
    while let Some(line) = lines.physical(&mut diagnostics) {
        let is_directive = directives.line(line, &mut diagnostics);
        let escape = directives.escape;
        let Some(text) = lines.logical(line, escape, &mut diagnostics) else {
            if !is_directive {
                comments.line(line, &mut diagnostics);
            }
            continue;
        };
        let read = instruction::read(text.all(), escape, Place::File, &mut lines, &mut diagnostics);
        file.add(read, text.all().trim().span(), std::mem::take(&mut comments), &mut diagnostics);
    }
    file.finish(directives, diagnostics)
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
        let read = instruction::read(text.all(), escape, Place::Trigger, &mut lines, &mut diagnostics);
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

/// The tree as it grows.
struct File {
    global_args: Vec<Instruction>,
    stages: Vec<Stage>,
    /// Whether a FROM has been seen, and if it was valid.
    place: FilePlace,
    /// Instructions other than ARG before the first FROM.
    misplaced: Vec<Spanned<Keyword>>,
    /// The keywords of the stages as written.
    keywords: Vec<Spanned<String>>,
    /// Whether every FROM could be read.
    has_all_stages: bool,
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
            keywords: Vec::new(),
            has_all_stages: true,
            first: None,
        }
    }

    fn add(&mut self, read: Read, span: Span, comments: Comments, diagnostics: &mut Vec<Diagnostic>) {
        self.first.get_or_insert(span);
        let Some(keyword) = read.keyword else { return };
        if self.place != FilePlace::BeforeFrom || keyword.value == Keyword::From {
            self.keywords.push(Spanned::new(read.written, keyword.span));
        }
        match read.statement {
            Some(Statement::From(from)) => {
                if let (Some(comment), Some(name)) = (&comments.last, &from.name) {
                    lints::describes_stage(comment, keyword.span, name, diagnostics);
                }
                self.place = FilePlace::Stage;
                self.stages.push(Stage {
                    index: self.stages.len(),
                    span: from.span,
                    platform: from.platform,
                    base: from.base,
                    name: from.name,
                    check: comments.check,
                    instructions: Vec::new(),
                });
            }
            None if keyword.value == Keyword::From => {
                self.place = FilePlace::BrokenStage;
                self.has_all_stages = false;
            }
            statement => {
                if self.place == FilePlace::BeforeFrom && keyword.value != Keyword::Arg {
                    self.misplaced.push(keyword);
                } else if let Some(Statement::Instruction(instruction)) = statement {
                    if let (Some(comment), InstructionKind::Arg(names)) = (&comments.last, &instruction.kind)
                    {
                        lints::describes_args(comment, keyword.span, names, diagnostics);
                    }
                    self.place(Instruction { check: comments.check, ..*instruction });
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

    fn finish(self, directives: Directives, mut diagnostics: Vec<Diagnostic>) -> Parsed {
        lints::casing(&self.keywords, &mut diagnostics);
        lints::stage_names(&self.stages, &mut diagnostics);
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
            Some(span) if without_from && self.misplaced.is_empty() && !has_error(&diagnostics) => {
                diagnostics.push(
                    Diagnostic::error("no-stages", span, "file has no FROM and so nothing to build")
                        .with_help("add `FROM <image>`"),
                );
            }
            Some(_) => {}
        }
        diagnostics.sort_by_key(|diagnostic| diagnostic.span);
        let Directives { escape, syntax, check, .. } = directives;
        let (global_args, stages) = (self.global_args, self.stages);
        Parsed {
            dockerfile: Dockerfile { escape, syntax, check, global_args, stages },
            diagnostics,
            has_all_stages: self.has_all_stages,
        }
    }
}
