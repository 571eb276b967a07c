//! What is run on arbitrary bytes, by libFuzzer and by `examples/fuzz.rs`. A panic is a finding.

use std::str::from_utf8;

use kairn_spec::{Diagnostic, Span};

fn check_span(text: &str, span: Span) {
    assert!(text.get(span.start..span.end).is_some(), "{span:?} is no part of the text");
}

fn check(text: &str, diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        check_span(text, diagnostic.span);
        diagnostic.related.iter().for_each(|(span, _)| check_span(text, *span));
    }
}

/// A whole file: spans are in the text, instructions are in order, everything can be shown.
pub(crate) mod dockerfile {
    use kairn_spec::checks::Checks;
    use kairn_spec::diagnostic::{Color, render};
    use kairn_spec::dockerfile::{parse, parse_trigger};

    pub(crate) fn run(bytes: &[u8]) {
        let Ok(text) = super::from_utf8(bytes) else { return };
        let parsed = parse(text);
        super::check(text, &parsed.diagnostics);
        let mut end = 0;
        for instruction in parsed.dockerfile.stages.iter().flat_map(|stage| &stage.instructions) {
            super::check_span(text, instruction.span);
            assert!(end <= instruction.span.start, "instructions overlap");
            end = instruction.span.end;
        }
        let checks = Checks::of(&parsed.dockerfile, None).expect("a file has a choice");
        let kept = checks.filter(parsed.diagnostics.clone());
        assert!(kept.len() <= parsed.diagnostics.len(), "a filter adds nothing");
        render(&kept, "Dockerfile", text, Color::Plain);
        if let Err(diagnostics) = parse_trigger(text) {
            super::check(text, &diagnostics);
        }
    }
}

/// A word: its parts are in the text.
pub(crate) mod expander {
    use kairn_spec::dockerfile::Word;
    use kairn_spec::remote::RemoteSource;

    pub(crate) fn run(bytes: &[u8]) {
        let Ok(text) = super::from_utf8(bytes) else { return };
        let word = Word::new(text, super::Span::new(0, text.len()));
        let lookup = |name: &str| (name.len() == 1).then(|| format!("{name}*/ b"));
        for escape in ['\\', '`'] {
            match word.expand(escape, &lookup) {
                Ok(expansion) => {
                    expansion.undefined.iter().for_each(|name| super::check_span(text, name.span));
                    let _ = RemoteSource::parse(&expansion.value);
                }
                Err(diagnostic) => super::check(text, &[diagnostic]),
            }
            let words = word.expand_words(escape, &lookup).unwrap_or_default();
            assert!(words.iter().all(|word| !word.is_empty()), "empty words vanish");
        }
    }
}

/// An ignore file and a path, which is the last line; the same pattern for COPY.
pub(crate) mod ignore {
    use kairn_spec::glob::Glob;
    use kairn_spec::ignore::IgnoreFile;

    pub(crate) fn run(bytes: &[u8]) {
        let Ok(text) = super::from_utf8(bytes) else { return };
        let path = text.rsplit('\n').next().unwrap_or(text);
        let file = IgnoreFile::parse(text);
        super::check(text, file.diagnostics());
        if file.matches("a") && !file.could_reinclude_below("a") {
            assert!(file.matches("a/b"), "what is below an ignored directory is ignored");
        }
        file.matches(path);
        if let Ok(glob) = Glob::parse(text) {
            glob.matches(path);
            if let Some(literal) = glob.literal() {
                assert!(glob.matches(&literal), "a literal matches itself");
            }
        }
    }
}

/// A word behind `<<` and a body: what is read is in the text.
pub(crate) mod heredoc {
    use kairn_spec::dockerfile::{InstructionKind, parse};

    pub(crate) fn run(bytes: &[u8]) {
        let Ok(text) = super::from_utf8(bytes) else { return };
        for keyword in ["RUN", "COPY", "ONBUILD ADD"] {
            let text = format!("FROM a\n{keyword} <<{text}");
            let parsed = parse(&text);
            super::check(&text, &parsed.diagnostics);
            for instruction in parsed.dockerfile.stages.iter().flat_map(|stage| &stage.instructions) {
                let heredocs = match &instruction.kind {
                    InstructionKind::Run(run) => &run.heredocs,
                    InstructionKind::Copy(copy) | InstructionKind::Add(copy) => &copy.heredocs,
                    _ => continue,
                };
                for heredoc in heredocs {
                    let place = heredoc.content.span;
                    assert_eq!(&text[place.start..place.end], heredoc.content.raw);
                    super::check_span(&text, heredoc.span);
                    super::check_span(&text, heredoc.chomped().span);
                    if let Err(diagnostic) = heredoc.expand(&|_| None) {
                        super::check(&text, &[diagnostic]);
                    }
                }
            }
        }
    }
}
