//! Findings about a whole file that its syntax alone decides.

use std::collections::BTreeMap;

use super::comments::Comment;
use super::{ArgDeclaration, Stage};
use crate::{Diagnostic, Span, Spanned};

/// Names that mean something else where a stage can be named.
const RESERVED: [&str; 2] = ["context", "scratch"];

/// Warns of keywords that are not in the letter case of the most; mixed ones have no vote.
pub(super) fn casing(keywords: &[Spanned<String>], diagnostics: &mut Vec<Diagnostic>) {
    let is_lower = |text: &str| text == text.to_lowercase();
    let is_upper = |text: &str| text == text.to_uppercase();
    let count = |is: fn(&str) -> bool| keywords.iter().filter(|keyword| is(&keyword.value)).count();
    let lower = count(|text| text == text.to_lowercase());
    let upper = count(|text| text == text.to_uppercase());
    let (right, name): (&dyn Fn(&str) -> bool, _) =
        if lower > upper { (&is_lower, "lower") } else { (&is_upper, "upper") };
    for keyword in keywords.iter().filter(|keyword| !right(&keyword.value)) {
        let written = &keyword.value;
        let fixed = if lower > upper { written.to_lowercase() } else { written.to_uppercase() };
        diagnostics.push(
            Diagnostic::warning(
                "ConsistentInstructionCasing",
                keyword.span,
                format!("`{written}` is not in {name} case like the other instructions"),
            )
            .with_help(format!("write `{fixed}`")),
        );
    }
}

/// Warns of stage names that are reserved or given before; the last of them counts.
pub(super) fn stage_names(stages: &[Stage], diagnostics: &mut Vec<Diagnostic>) {
    let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
    for name in stages.iter().filter_map(|stage| stage.name.as_ref()) {
        if RESERVED.contains(&&*name.value) {
            diagnostics.push(
                Diagnostic::warning(
                    "ReservedStageName",
                    name.span,
                    format!("stage name `{}` is reserved", name.value),
                )
                .with_help("choose another name"),
            );
        }
        if let Some(first) = seen.insert(&name.value, name.span) {
            diagnostics.push(
                Diagnostic::warning(
                    "DuplicateStageName",
                    name.span,
                    format!("two stages are named `{}`: the later one is meant", name.value),
                )
                .with_related(first, "the other stage")
                .with_help("choose another name"),
            );
        }
    }
}

/// Warns of a comment right above a stage that does not begin with its name.
pub(super) fn describes_stage(
    comment: &Comment,
    keyword: Span,
    name: &Spanned<String>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    describes(comment, keyword, "the stage", &[&name.value], diagnostics);
}

/// Warns of a comment right above an ARG that does not begin with the name of one of its variables.
pub(super) fn describes_args(
    comment: &Comment,
    keyword: Span,
    declarations: &[ArgDeclaration],
    diagnostics: &mut Vec<Diagnostic>,
) {
    let names: Vec<_> = declarations.iter().map(|declaration| &*declaration.name.raw).collect();
    describes(comment, keyword, "the ARG", &names, diagnostics);
}

fn describes(
    comment: &Comment,
    keyword: Span,
    what: &str,
    names: &[&str],
    diagnostics: &mut Vec<Diagnostic>,
) {
    let first = comment.text.split(' ').next().unwrap_or_default();
    if names.is_empty() || names.contains(&first) {
        return;
    }
    let name = if let [name] = names { name } else { "<name>" };
    diagnostics.push(
        Diagnostic::warning(
            "InvalidDefinitionDescription",
            keyword,
            format!("the comment above does not describe {what}: it does not begin with a name of it"),
        )
        .with_related(comment.span, "this comment")
        .with_help(format!("write `# {name} <description>`, or put a blank line between")),
    );
}
