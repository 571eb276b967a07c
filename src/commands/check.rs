//! `kairn check`: what is wrong with a Dockerfile, with nothing built.

use std::error::Error;
use std::sync::Mutex;

use kairn_compiler::{ImageSource, ResolvedImage};
use kairn_executor::pull::{Policy, Puller};
use kairn_image::{Digest, ImageConfig, Manifest, Platform};
use kairn_spec::checks;
use kairn_spec::{Diagnostic, FileId, Severity};
use serde_json::{Value, json};

use crate::args::{Check, CheckFormat};
use crate::failure::{Failure, USER};
use crate::inputs::chosen::choose;
use crate::inputs::{Files, Project, SourceFile};
use crate::machine::Workshop;

/// The rule that says nothing sure about a stage whose base, and with it its environment, is not known.
const NEEDS_BASES: &str = "UndefinedVar";

/// Runs the command.
pub fn run(args: &Check) -> Result<(), Failure> {
    let chosen = choose(&args.input)?;
    let workshop = Workshop::open(&args.input, &chosen, Policy::Ask)?;
    let project = Project::load(&args.input, chosen, &workshop.settings)?;
    let source = Lenient { source: workshop.settings.puller.as_ref(), missing: Mutex::default() };
    let mut diagnostics = project.diagnose(&source)?;
    let missing = source.missing.into_inner().expect("no holder of this lock panics");
    if !missing.is_empty() {
        diagnostics.retain(|found| found.code != NEEDS_BASES);
    }
    match args.format {
        CheckFormat::Text => print_text(&project, &diagnostics),
        CheckFormat::Json => println!("{:#}", json_report(&project, &diagnostics)),
        CheckFormat::Sarif => println!("{:#}", sarif_report(&project.files, &diagnostics)),
    }
    for (reference, error) in missing {
        eprintln!("note: `{reference}` is not known, so {NEEDS_BASES} was not checked: {error}");
    }
    let is_fatal = diagnostics.iter().any(|found| project.is_fatal(found.file));
    verdict(&diagnostics, args.error || is_fatal)
}

fn verdict(diagnostics: &[Diagnostic], warnings_are_fatal: bool) -> Result<(), Failure> {
    let errors = diagnostics.iter().filter(|found| found.severity == Severity::Error).count();
    if errors == 0 && (diagnostics.is_empty() || !warnings_are_fatal) {
        return Ok(());
    }
    Err(Failure { code: USER, rendered: String::new(), message: None, help: None })
}

fn print_text(project: &Project, diagnostics: &[Diagnostic]) {
    if diagnostics.is_empty() {
        println!("{}: nothing found", project.files.0[0].path.display());
        return;
    }
    println!("{}", project.files.render(diagnostics).trim_end());
    let errors = diagnostics.iter().filter(|found| found.severity == Severity::Error).count();
    println!("{errors} errors, {} warnings", diagnostics.len() - errors);
}

/// A finding's place: first and last line and column, all from 1.
struct Place {
    start: (usize, usize),
    end: (usize, usize),
}

fn place(text: &str, found: &Diagnostic) -> Place {
    let at = |offset: usize| {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    };
    Place { start: at(found.span.start), end: at(found.span.end.max(found.span.start)) }
}

/// The report in the form of `docker build --call=check,format=json`, with errors and help beside it; where there is a
/// kairn.toml, a list of such reports, for each file.
fn json_report(project: &Project, diagnostics: &[Diagnostic]) -> Value {
    let reports = (0..).zip(&project.files.0).map(|(number, file)| {
        let own = diagnostics.iter().filter(|found| found.file == FileId(number));
        file_report(file, &own.collect::<Vec<_>>())
    });
    let mut reports: Vec<Value> = reports.collect();
    if project.is_one() { reports.swap_remove(0) } else { Value::Array(reports) }
}

fn file_report(file: &SourceFile, diagnostics: &[&Diagnostic]) -> Value {
    let of = |wanted: Severity| -> Vec<Value> {
        let matching = diagnostics.iter().filter(|found| found.severity == wanted);
        matching
            .map(|found| {
                let place = place(&file.text, found);
                let rule = checks::rule(found.code);
                json!({
                    "ruleName": found.code,
                    "description": rule.map_or("", |rule| rule.description),
                    "url": rule.map_or("", |rule| rule.url),
                    "detail": found.message,
                    "help": found.help,
                    "location": { "ranges": [{
                        "start": { "line": place.start.0, "character": place.start.1 },
                        "end": { "line": place.end.0, "character": place.end.1 },
                    }] },
                })
            })
            .collect()
    };
    json!({
        "file": file.path.display().to_string(),
        "warnings": of(Severity::Warning),
        "errors": of(Severity::Error),
    })
}

/// The report as SARIF 2.1.0.
fn sarif_report(files: &Files, diagnostics: &[Diagnostic]) -> Value {
    let rules: Vec<Value> = checks::RULES
        .iter()
        .map(|rule| {
            let mut value = json!({ "id": rule.name, "shortDescription": { "text": rule.description } });
            if !rule.url.is_empty() {
                value["helpUri"] = json!(rule.url);
            }
            value
        })
        .collect();
    let results: Vec<Value> = diagnostics
        .iter()
        .map(|found| {
            let file = files.get(found.file);
            let place = place(&file.text, found);
            let help = found.help.as_ref().map_or_else(String::new, |help| format!("\n{help}"));
            json!({
                "ruleId": found.code,
                "level": match found.severity { Severity::Error => "error", Severity::Warning => "warning" },
                "message": { "text": format!("{}{help}", found.message) },
                "locations": [{ "physicalLocation": {
                    "artifactLocation": { "uri": file.path.display().to_string() },
                    "region": {
                        "startLine": place.start.0, "startColumn": place.start.1,
                        "endLine": place.end.0, "endColumn": place.end.1,
                    },
                } }],
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "kairn", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "results": results,
        }],
    })
}

/// A source of images for which an image that cannot be found is one that nothing is known of.
struct Lenient<'a> {
    source: &'a Puller,
    missing: Mutex<Vec<(String, String)>>,
}

impl ImageSource for Lenient<'_> {
    fn resolve(
        &self,
        reference: &str,
        platform: &Platform,
    ) -> Result<ResolvedImage, Box<dyn Error + Send + Sync>> {
        self.source.resolve(reference, platform).or_else(|error| {
            let text = crate::failure::chain(error.as_ref());
            self.missing.lock().expect("no holder of this lock panics").push((reference.to_owned(), text));
            let config: ImageConfig = serde_json::from_value(json!({ "config": {} }))?;
            let empty = json!({ "mediaType": "application/vnd.oci.image.config.v1+json", "size": 2,
                "digest": Digest::of(b"{}") });
            let manifest: Manifest =
                serde_json::from_value(json!({ "schemaVersion": 2, "config": empty, "layers": [] }))?;
            let manifest_digest = Digest::of(reference.as_bytes());
            Ok(ResolvedImage { reference: reference.to_owned(), manifest_digest, manifest, config })
        })
    }
}
