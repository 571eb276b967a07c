//! `kairn affected`: the images that a change touches, for a CI that builds no others.

use std::io::Read as _;

use kairn_executor::pull::Policy;
use serde_json::{Value, json};

use crate::affected::{Affected, affected, everything};
use crate::args::{self, AffectedFormat, Input};
use crate::failure::Failure;
use crate::inputs::Project;
use crate::inputs::chosen::{Chosen, Said, choose, choose_in};
use crate::inputs::tree::{Changes, Tree};
use crate::machine::Workshop;

/// Runs the command.
pub fn run(args: &args::Affected) -> Result<(), Failure> {
    let changes = match (&args.since, &args.files) {
        (Some(revision), None) => Changes::since(revision, &folder(&args.input))?,
        (None, Some(list)) => Changes::listed(&list_of(list)?),
        _ => {
            return Err(Failure::user("it is not said since when").with_help(
                "give `--since REV`, or a list of changed files with `--files FILE` or `--files -`",
            ));
        }
    };
    let mut chosen = choose(&args.input)?;
    if args.input.words.is_empty() {
        everything(&mut chosen);
    }
    let policy = if args.offline { Policy::Offline } else { Policy::Ask };
    let workshop = Workshop::open(&args.input, &chosen, policy)?;
    let project = Project::load(&args.input, chosen, &workshop.settings)?;
    let compiled = project.compile(workshop.settings.puller.as_ref())?;
    let found = affected(&args.input, &changes, &project, &compiled.graph, &workshop.settings);
    match args.format {
        AffectedFormat::Text => {
            for Affected { image, reasons } in &found {
                println!("{}: {}", name(&project, *image), reasons.join("; "));
            }
            eprintln!("{} of {} images are affected", found.len(), project.selected.len());
        }
        AffectedFormat::Names => {
            for Affected { image, .. } in &found {
                println!("{}", name(&project, *image));
            }
        }
        AffectedFormat::Json => {
            let list: Vec<Value> = found.iter().map(|found| to_json(&project, found)).collect();
            println!("{}", Value::from(list));
        }
    }
    Ok(())
}

/// The folder whose repository is asked.
pub fn folder(input: &Input) -> std::path::PathBuf {
    let path = input.file.as_deref().or(input.words.first().map(String::as_str)).map(std::path::Path::new);
    match path {
        Some(path) if path.is_dir() => path.to_owned(),
        Some(path) => match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() && parent.is_dir() => parent.to_owned(),
            _ => ".".into(),
        },
        None => ".".into(),
    }
}

fn list_of(list: &str) -> Result<String, Failure> {
    let failed = |e: std::io::Error| Failure::user(format!("cannot read the list `{list}`: {e}"));
    if list != "-" {
        return std::fs::read_to_string(list).map_err(failed);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

fn name(project: &Project, image: usize) -> String {
    match project.units[image].name.as_str() {
        "" => "the image".to_owned(),
        name => name.to_owned(),
    }
}

fn to_json(project: &Project, Affected { image, reasons }: &Affected) -> Value {
    let (unit, plan) = (&project.units[*image], &project.images[*image]);
    let platforms: Vec<String> = unit.build_platforms().iter().map(ToString::to_string).collect();
    json!({ "image": unit.name, "tags": plan.tags, "platforms": platforms, "reasons": reasons })
}

/// Leaves of what is to be built only what changed since a revision; says what is left out.
pub fn narrow(
    chosen: &mut Chosen,
    input: &Input,
    revision: &str,
    policy: Policy,
) -> Result<Option<Vec<String>>, Failure> {
    let changes = Changes::since(revision, &folder(input))?;
    let workshop = Workshop::open(input, chosen, policy)?;
    let project =
        Project::load(input, choose_in(input, &Tree::default(), Said::Already)?, &workshop.settings)?;
    let compiled = project.compile_silently(workshop.settings.puller.as_ref())?;
    let found = affected(input, &changes, &project, &compiled.graph, &workshop.settings);
    if found.is_empty() {
        return Ok(None);
    }
    let lines =
        found.iter().map(|found| format!("{}: {}", name(&project, found.image), found.reasons.join("; ")));
    let lines = lines.collect();
    if let Chosen::Spec(spec) = chosen {
        spec.selected = found.iter().map(|found| found.image).collect();
    }
    Ok(Some(lines))
}
