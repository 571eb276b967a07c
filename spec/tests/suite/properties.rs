//! What holds for any text.

use kairn_spec::diagnostic::{Color, render};
use kairn_spec::dockerfile::{InstructionKind, Word, parse, parse_trigger};
use kairn_spec::glob::Glob;
use kairn_spec::ignore::IgnoreFile;
use kairn_spec::{Diagnostic, Span};
use proptest::prelude::*;

use crate::lines;

/// Text made of the pieces that Dockerfiles are made of, and of others.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => prop::sample::select(vec![
            "FROM", "RUN", "COPY", "ADD", "ENV", "ARG", "LABEL", "CMD", "ENTRYPOINT", "EXPOSE", "HEALTHCHECK",
            "MAINTAINER", "ONBUILD", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR", "from", "CPOY", "AS",
            "--from=", "--chown=", "--mount=type=", "--mount='\"", "cache,", "target=/x", "--link", "--exclude=", "--interval=5s", "--", "--x", "a=b", "=", "scratch", "a",
            "/b/c", "<<EOF", "<<-'E'", "EOF", "[\"a\", \"b\"]", "[", "]", "[1]", "\"", "'", "$x", "${x:-", "${x/a/b}",
            "}", "#", "# escape=`", "# syntax=docker/dockerfile:1", "\u{feff}", "\u{e9}", "\u{1f600}", "\\u00e9",
            "https://x", "NONE",
        ]).prop_map(str::to_owned),
        8 => prop::sample::select(vec![" ", "  ", "\t", "\n", "\n\n", "\\\n", "\\", "`\n", "`", "\r\n", "\u{a0}", ","])
            .prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn check_span(text: &str, span: Span) {
    assert!(span.start <= span.end && span.end <= text.len(), "{span:?} is outside");
    assert!(
        text.is_char_boundary(span.start) && text.is_char_boundary(span.end),
        "{span:?} cuts a character"
    );
}

fn check_diagnostics(text: &str, diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        check_span(text, diagnostic.span);
        diagnostic.related.iter().for_each(|(span, _)| check_span(text, *span));
    }
    render(diagnostics, "Dockerfile", text, Color::Ansi);
}

fn words(kind: &InstructionKind) -> Vec<&Word> {
    match kind {
        InstructionKind::Add(copy) | InstructionKind::Copy(copy) => {
            let flags = [&copy.from, &copy.chown, &copy.chmod, &copy.checksum];
            let heredocs = copy.heredocs.iter().map(|heredoc| &heredoc.content);
            copy.sources
                .iter()
                .chain([&copy.dest])
                .chain(flags.into_iter().flatten())
                .chain(heredocs)
                .collect()
        }
        InstructionKind::Env(pairs) | InstructionKind::Label(pairs) => {
            pairs.iter().flat_map(|pair| [&pair.key, &pair.value]).collect()
        }
        InstructionKind::Arg(declarations) => declarations
            .iter()
            .flat_map(|declaration| declaration.default.iter().chain([&declaration.name]))
            .collect(),
        InstructionKind::Expose(words) | InstructionKind::Volume(words) => words.iter().collect(),
        InstructionKind::Stopsignal(word) | InstructionKind::User(word) | InstructionKind::Workdir(word) => {
            vec![word]
        }
        InstructionKind::Run(run) => {
            let fields = run.mounts.iter().flat_map(|mount| &mount.fields);
            let values = fields.filter_map(|field| field.value.as_ref());
            values.chain(run.heredocs.iter().map(|heredoc| &heredoc.content)).collect()
        }
        InstructionKind::Cmd(_)
        | InstructionKind::Entrypoint(_)
        | InstructionKind::Healthcheck(_)
        | InstructionKind::Maintainer(_)
        | InstructionKind::Onbuild(_)
        | InstructionKind::Shell(_) => Vec::new(),
    }
}

fn check_word(text: &str, word: &Word) {
    check_span(text, word.span);
    let lookup = |name: &str| (name == "x").then(|| "a/b c".to_owned());
    match word.expand('\\', &lookup) {
        Ok(expansion) => expansion.undefined.iter().for_each(|name| {
            check_span(text, name.span);
            assert!(word.span.start <= name.span.start && name.span.end <= word.span.end);
        }),
        Err(diagnostic) => check_span(text, diagnostic.span),
    }
    let _ = word.expand_words('`', &lookup);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn spans_are_in_bounds_and_in_order(text in text()) {
        let parsed = parse(&text);
        check_diagnostics(&text, &parsed.diagnostics);
        prop_assert!(parsed.diagnostics.is_sorted_by_key(|diagnostic| diagnostic.span));
        let mut spans = Vec::new();
        for instruction in &parsed.dockerfile.global_args {
            spans.push(instruction.span);
        }
        for stage in &parsed.dockerfile.stages {
            check_span(&text, stage.base.span);
            spans.push(stage.span);
            for instruction in &stage.instructions {
                spans.push(instruction.span);
                prop_assert!(!instruction.text.contains('\n'));
                prop_assert_eq!(instruction.text.trim(), &*instruction.text);
                let keyword = &text[instruction.keyword.span.start..instruction.keyword.span.end];
                if keyword.len() == instruction.keyword.value.len() {
                    prop_assert!(keyword.eq_ignore_ascii_case(&instruction.keyword.value));
                }
                for heredoc in lines::heredocs(instruction) {
                    check_span(&text, heredoc.span);
                    let chomped = heredoc.chomped();
                    check_span(&text, chomped.span);
                    prop_assert!(!heredoc.strips_tabs || !chomped.raw.contains("\n\t"));
                    if let Err(diagnostic) = heredoc.expand(&|_| None) {
                        check_span(&text, diagnostic.span);
                    }
                }
                for word in words(&instruction.kind) {
                    check_word(&text, word);
                }
            }
        }
        for span in &spans {
            check_span(&text, *span);
        }
        prop_assert!(spans.is_sorted_by(|first, second| first.end <= second.start), "{:?}", spans);
    }

    #[test]
    fn triggers_are_read_without_panic(text in text()) {
        if let Err(diagnostics) = parse_trigger(&text) {
            check_diagnostics(&text, &diagnostics);
            prop_assert!(!diagnostics.is_empty());
        }
    }

    #[test]
    fn words_are_expanded_without_panic(text in "([$'\"\\\\{}:/#%?*x a-]|\\PC){0,40}") {
        check_word(&text, &Word::new(&*text, Span::new(0, text.len())));
    }

    #[test]
    fn patterns_are_matched_without_panic(text in "([\\[\\]*?!\\\\/ab^#. -]|\n|\\PC){0,40}", path in "[ab/.]{1,12}") {
        let file = IgnoreFile::parse(&text);
        check_diagnostics(&text, file.diagnostics());
        // Where nothing below can be re-included, what is below an ignored directory is ignored.
        if file.matches("a") && !file.could_reinclude_below("a") {
            let below = format!("a/{path}");
            prop_assert!(file.matches(&below), "{}", below);
        }
        if let Ok(glob) = Glob::parse(&text) {
            glob.matches(&path);
            if let Some(literal) = glob.literal() {
                prop_assert!(glob.matches(&literal));
            }
        }
    }
}
