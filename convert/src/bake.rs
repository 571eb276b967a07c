//! Bake files.
//!
//! Spec: bake file reference; the rules of merging are those of inheritance.

mod attributes;
mod definitions;
mod matrix;
mod options;
mod target;

pub(crate) use definitions::{Definitions, Variable};
pub(crate) use options::context;

use crate::eval::{Evaluator, Fault};
use crate::expr::Block;
use crate::report::Report;
use crate::spec::{Group, Spec};
use crate::term::Term;
use crate::{ConvertError, Input, Kind, Options, hcl, json};

/// Converts all bake files.
///
/// # Errors
/// The first mistake that leaves no sense in the files.
pub(crate) fn convert(
    inputs: &[Input],
    options: &Options<'_>,
    spec: &mut Spec,
    report: &mut Report,
) -> Result<(), ConvertError> {
    let mut files = Vec::new();
    for (at, input) in inputs.iter().enumerate() {
        let file = match input.kind {
            Kind::BakeHcl => hcl::parse(at, &input.text),
            Kind::BakeJson => json::parse(at, &input.text),
            Kind::Compose => continue,
        };
        files.push(file.map_err(|error| report.error(error.place, error.what))?);
    }
    let definitions = Definitions::new(files, report)?;
    let mut evaluator = Evaluator::new(&definitions, options.environment);
    for (name, place) in &definitions.order {
        let value = evaluator.name(name, *place);
        note_variables(&mut evaluator, report);
        match value {
            Ok(_) => {}
            Err(Fault::Fatal(place, what)) => return Err(report.error(place, what)),
            Err(Fault::Unknown(place, what) | Fault::Open(place, what)) => {
                report.note(place, format!("`{name}` is left out: {what}"));
            }
        }
    }
    for block in &definitions.targets {
        target::convert(block, &definitions, &mut evaluator, spec, report)?;
    }
    for block in &definitions.groups {
        group(block, &mut evaluator, spec, report)?;
    }
    note_variables(&mut evaluator, report);
    for var in evaluator.into_vars() {
        spec.add_var(var, report);
    }
    Ok(())
}

/// Says what became of the variables that were met.
fn note_variables(evaluator: &mut Evaluator<'_>, report: &mut Report) {
    for (place, what) in evaluator.take_notes() {
        report.note(place, what);
    }
    for (place, what) in evaluator.take_fixed() {
        report.note(place, what);
    }
}

/// Converts a group.
fn group(
    block: &Block,
    evaluator: &mut Evaluator<'_>,
    spec: &mut Spec,
    report: &mut Report,
) -> Result<(), ConvertError> {
    let mut group =
        Group { name: block.label.clone(), place: block.place, description: None, members: Vec::new() };
    for attribute in &block.attributes {
        let what = format!("`{}` of group `{}`", attribute.name, block.label);
        let value = match evaluator.expr(&attribute.value) {
            Ok(value) => value,
            Err(Fault::Fatal(place, why)) => return Err(report.error(place, why)),
            Err(Fault::Unknown(place, why) | Fault::Open(place, why)) => {
                report.note(place, format!("{what} is left out: {why}"));
                continue;
            }
        };
        if value.is_symbolic() {
            report.note(attribute.place, format!("{what} is as it is with the variables' values of now"));
        }
        for (place, why) in evaluator.take_fixed() {
            report.note(place, format!("{what}: {why}"));
        }
        match (attribute.name.as_str(), value.now()) {
            ("targets", Some(Term::List(items))) => {
                for name in items.iter().filter_map(Term::as_text).filter(|name| !name.is_empty()) {
                    if !group.members.contains(&name) {
                        group.members.push(name);
                    }
                }
            }
            ("targets", _) => return Err(report.error(attribute.place, format!("{what} is not a list"))),
            ("description", Some(value)) => group.description = value.as_text(),
            ("matrix" | "name", _) => {
                return Err(report.error(attribute.place, format!("{what} is for targets only")));
            }
            _ => report.note(attribute.place, format!("{what} is unknown, and left out")),
        }
    }
    spec.add_group(group);
    Ok(())
}
