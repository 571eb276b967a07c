//! Compose files.
//!
//! Spec: compose specification, "Build", "Merge", "Extend", "Interpolation" and "Fragments"; bake's `x-bake`.

mod build;
mod interpolation;
mod lists;
mod merge;
mod secrets;
mod variables;

use std::collections::BTreeMap;

use crate::place::Place;
use crate::report::Report;
use crate::spec::{Group, Image, Spec};
use crate::term::Term;
use crate::yaml::{self, Node, NodeKind};
use crate::{ConvertError, Input, Kind, Options};
use variables::Variables;

/// What all services of a project share.
struct Project<'a> {
    /// Its files, merged.
    whole: &'a Node,
    /// The services as they are after they were extended.
    services: BTreeMap<String, Node>,
    variables: Variables<'a>,
}

/// Converts all compose files.
///
/// # Errors
/// The first mistake that leaves no sense in the files.
pub(crate) fn convert(
    inputs: &[Input],
    options: &Options<'_>,
    spec: &mut Spec,
    report: &mut Report,
) -> Result<(), ConvertError> {
    let mut whole: Option<Node> = None;
    for (at, input) in inputs.iter().enumerate().filter(|(_, input)| input.kind == Kind::Compose) {
        let documents =
            yaml::parse(at, &input.text).map_err(|error| report.error(error.place, error.what))?;
        for document in documents {
            if !matches!(document.kind, NodeKind::Map(_)) {
                return Err(report.error(document.place, "a compose file is a map"));
            }
            let document = merge::normal(document);
            whole = Some(match whole {
                None => document,
                Some(before) => merge::merge(before, document),
            });
        }
    }
    let Some(whole) = whole else { return Ok(()) };
    project(&whole, options, spec, report)
}

fn project(
    whole: &Node,
    options: &Options<'_>,
    spec: &mut Spec,
    report: &mut Report,
) -> Result<(), ConvertError> {
    if let Some(include) = whole.get("include") {
        report.note(include.place, "`include` is left out: the files it names have to be given too");
    }
    let services = services(whole, report)?;
    let mut variables = Variables::new(options.environment);
    for node in relevant(whole, &services) {
        variables.collect(node).map_err(|(place, what)| report.error(place, what))?;
    }
    for service in services.values() {
        let args =
            service.get("build").and_then(|build| build.get("args")).map(Node::pairs).unwrap_or_default();
        for (key, _) in args.iter().filter(|(_, value)| value.kind == NodeKind::Null) {
            if variables.is_given(&key.name) {
                variables.collect_inherited(&key.name, key.place);
            }
        }
    }
    let mut project = Project { whole, services, variables };
    let name = match whole.get("name") {
        Some(name) => project.variables.term(name).map_err(|(place, what)| report.error(place, what))?,
        None => Term::Text(project_name(options.project)),
    };
    let mut members = Vec::new();
    for (key, _) in whole.get("services").map(Node::pairs).unwrap_or_default() {
        let Some(service) = project.services.get(&key.name).cloned() else { continue };
        let Some(build) = service.get("build").filter(|build| build.kind != NodeKind::Null) else { continue };
        let mut image = Image::new(&key.name, key.place);
        build::convert(&mut project, &mut image, &service, build, &name, report)?;
        members.push(key.name.clone());
        spec.images.push(image);
    }
    project.variables.finish(spec, report);
    if members.is_empty() {
        report.note(whole.place, "no service has a `build`");
    } else {
        spec.groups.push(Group {
            name: "default".to_owned(),
            place: whole.place,
            description: None,
            members,
        });
    }
    Ok(())
}

/// Returns all services, with what they extend.
fn services(whole: &Node, report: &mut Report) -> Result<BTreeMap<String, Node>, ConvertError> {
    let Some(node) = whole.get("services") else { return Ok(BTreeMap::new()) };
    if !matches!(node.kind, NodeKind::Map(_) | NodeKind::Null) {
        return Err(report.error(node.place, "`services` is a map"));
    }
    let mut services = BTreeMap::new();
    for (key, service) in node.pairs() {
        if !matches!(service.kind, NodeKind::Map(_) | NodeKind::Null) {
            return Err(report.error(service.place, format!("service `{}` is a map", key.name)));
        }
        let extended = merge::extended(node, &key.name, service, report)?;
        services.insert(key.name.clone(), extended);
    }
    Ok(services)
}

/// Returns what of the files is read at all.
fn relevant<'n>(whole: &'n Node, services: &'n BTreeMap<String, Node>) -> Vec<&'n Node> {
    let mut nodes: Vec<&Node> = whole.get("name").into_iter().collect();
    for (key, _) in whole.get("services").map(Node::pairs).unwrap_or_default() {
        let Some(service) = services.get(&key.name) else { continue };
        if service.get("build").is_some_and(|build| build.kind != NodeKind::Null) {
            nodes.extend(["image", "platform", "build"].into_iter().filter_map(|name| service.get(name)));
        }
    }
    for (_, secret) in whole.get("secrets").map(Node::pairs).unwrap_or_default() {
        nodes.extend(["file", "environment"].into_iter().filter_map(|name| secret.get(name)));
    }
    nodes
}

/// Makes a project's name of that of a folder.
fn project_name(folder: &str) -> String {
    let lower = folder.to_lowercase();
    let kept = |ch: &char| ch.is_ascii_lowercase() || ch.is_ascii_digit() || *ch == '_' || *ch == '-';
    let name: String = lower.chars().filter(kept).collect();
    name.trim_start_matches(['_', '-']).to_owned()
}

/// A mistake that leaves no sense in the files.
type Fatal = (Place, String);
