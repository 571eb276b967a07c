//! `tests/cases`: what is read from each file, and what is said of it.

use kairn_spec::checks::Checks;
use kairn_spec::diagnostic::{Color, render};
use kairn_spec::dockerfile::parse;
use kairn_spec::{Diagnostic, Severity, Span};

fn snapshot(folder: &str, name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(format!("../cases/{folder}"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn valid_files_have_these_trees() {
    for (name, text) in crate::cases("valid") {
        let parsed = parse(&text);
        let checks = Checks::of(&parsed.dockerfile, Some("skip=all")).expect("a choice");
        assert_eq!(checks.filter(parsed.diagnostics), [], "{name}");
        snapshot("valid", &name, &crate::outline::outline(&parsed.dockerfile, &text));
    }
}

#[test]
fn broken_files_have_these_diagnostics() {
    for (name, text) in crate::cases("broken") {
        let parsed = parse(&text);
        assert!(parsed.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error), "{name}");
        snapshot(
            "broken",
            &name,
            &render(&parsed.diagnostics, &format!("{name}.Dockerfile"), &text, Color::Plain),
        );
    }
}

#[test]
fn colour_is_only_for_terminals() {
    let text = "FORM x\n";
    let diagnostics = parse(text).diagnostics;
    assert!(!render(&diagnostics, "Dockerfile", text, Color::Plain).contains('\u{1b}'));
    assert!(render(&diagnostics, "Dockerfile", text, Color::Ansi).contains('\u{1b}'));
}

#[test]
fn spans_off_the_text_are_moved_into_it() {
    let diagnostic = |start, end| Diagnostic::error("x", Span::new(start, end), "y");
    for (text, start, end) in
        [("", 0, 9), ("ab\n", 3, 3), ("ab", 7, 9), ("\u{e9}", 1, 1), ("\u{feff}a", 0, 1)]
    {
        let rendered = render(&[diagnostic(start, end)], "Dockerfile", text, Color::Plain);
        assert!(rendered.starts_with("error[x]: y\n"), "{rendered}");
    }
    let rendered = render(&[diagnostic(3, 7)], "Dockerfile", "\u{feff}FORM a\n", Color::Plain);
    assert!(rendered.contains("Dockerfile:1:1"), "{rendered}");
}
