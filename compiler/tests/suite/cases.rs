//! `tests/cases/*.Dockerfile`, each with the text it compiles to beside it.
//!
//! Lines that begin with `#: ` give options: `target NAME`, `arg NAME=VALUE`, `label NAME=VALUE`, `platform P`,
//! `build-platform P`.

use std::fmt::Write as _;
use std::path::Path;

use kairn_compiler::render::{Format, render};
use kairn_compiler::{CompileError, CompileOptions, Compiled, PlatformChoice, compile};
use kairn_spec::{Diagnostic, Severity, Span, dockerfile};

use crate::images::Images;

pub(crate) fn options(text: &str) -> CompileOptions {
    let mut options = CompileOptions::new("linux/amd64".parse().unwrap());
    for line in text.lines().filter_map(|line| line.strip_prefix("#: ")) {
        let (what, value) = line.split_once(' ').unwrap();
        let pair = || value.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap();
        match what {
            "target" => options.target = Some(value.to_owned()),
            "arg" => options.build_args.extend([pair()]),
            "label" => options.labels.extend([pair()]),
            "build-platform" => options.build_platform = value.parse().unwrap(),
            "platform" => {
                options.platform = value.parse().unwrap();
                options.platform_choice = PlatformChoice::Explicit;
            }
            what => panic!("no option `{what}`"),
        }
    }
    options
}

/// Compiles a text that is valid so far.
pub(crate) fn compiled(text: &str) -> Result<Compiled, CompileError> {
    let parsed = dockerfile::parse(text);
    let errors: Vec<_> = parsed.diagnostics.iter().filter(|d| d.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "not for the compiler: {errors:#?}");
    compile(&parsed.dockerfile, &options(text), &Images::default())
}

fn outcome(text: &str) -> String {
    match compiled(text) {
        Ok(Compiled { graph, warnings, notices, source_date_epoch: _ }) => {
            let mut out = render(&graph, Format::Text);
            for warning in &warnings {
                push_diagnostic(&mut out, text, warning);
            }
            for notice in &notices {
                let _ = writeln!(out, "\nnotice: {notice}");
            }
            out
        }
        Err(CompileError::Diagnostics(diagnostics)) => {
            diagnostics.iter().fold(String::new(), |mut out, diagnostic| {
                push_diagnostic(&mut out, text, diagnostic);
                out
            })
        }
        Err(CompileError::UnknownTarget { name, known, suggestion }) => {
            format!("\nunknown target {name:?}, known {known:?}, near {suggestion:?}\n")
        }
        Err(CompileError::Source { reference, file: _, span, suggestion, error }) => {
            let place = place(text, span);
            format!("\ncannot resolve {reference:?}: {error}\n  {place}\n  near {suggestion:?}\n")
        }
    }
}

fn push_diagnostic(out: &mut String, text: &str, diagnostic: &Diagnostic) {
    let Diagnostic { code, severity, message, file: _, span, related, help } = diagnostic;
    let severity = match severity {
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    let _ = writeln!(out, "\n{severity}[{code}]: {message}\n  {}", place(text, *span));
    for (span, what) in related {
        let _ = writeln!(out, "  {}: {what}", place(text, *span));
    }
    if let Some(help) = help {
        let _ = writeln!(out, "  help: {help}");
    }
}

fn place(text: &str, span: Span) -> String {
    let before = &text[..span.start];
    let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1;
    format!("{}:{column} {:?}", before.matches('\n').count() + 1, &text[span.start..span.end])
}

#[test]
fn cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../cases");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let mut names: Vec<String> = (std::fs::read_dir(&folder).unwrap())
        .filter_map(|entry| {
            Some(entry.unwrap().file_name().to_str()?.strip_suffix(".Dockerfile")?.to_owned())
        })
        .collect();
    names.sort();
    assert!(names.len() > 20, "the cases are not where they should be");
    let mut failed = Vec::new();
    for name in names {
        let text = std::fs::read_to_string(folder.join(format!("{name}.Dockerfile"))).unwrap();
        let check = || settings.bind(|| insta::assert_snapshot!(name.as_str(), outcome(&text)));
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "these cases do not give what they should: {failed:?}");
}
