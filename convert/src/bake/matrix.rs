//! Targets that are one for each combination of values.

use std::collections::BTreeSet;

use super::Definitions;
use super::attributes::{Fatal, Reader};
use crate::ConvertError;
use crate::eval::{Evaluator, Fault};
use crate::expr::{Attribute, Block, ExprKind};
use crate::report::Report;
use crate::say::Say;
use crate::spec::{Group, Image, Spec};
use crate::term::{Kind, Symbol, Term};

/// The most combinations that are written out.
const MAX_COMBINATIONS: usize = 1000;

/// The values of each name, in order.
type Axes = Vec<(String, Term)>;

/// Converts a target with a matrix: as a matrix if all can be said so, else as one image for each combination.
///
/// # Errors
/// A mistake that leaves no sense in it.
pub(super) fn convert(
    block: &Block,
    attribute: &Attribute,
    definitions: &Definitions,
    evaluator: &mut Evaluator<'_>,
    spec: &mut Spec,
    report: &mut Report,
) -> Result<(), ConvertError> {
    let axes = axes(block, attribute, evaluator, report)?;
    if let Some(names) = bound(&axes) {
        let image = evaluator.with_names(names, |evaluator| {
            let mut reader = Reader::new(evaluator, Image::new(&block.label, block.place));
            let name = named(&mut reader, block)?;
            reader.block(block)?;
            Ok(if reader.is_open() { None } else { Some((reader, name)) }
                .map(|(reader, name)| (reader.finish(report), name)))
        });
        if let Some((mut image, name)) = image.map_err(|(place, what)| report.error(place, what))?
            && let names = combined_names(&axes, block, evaluator)
            && !is_inherited(definitions, &names)
            && names.iter().collect::<BTreeSet<_>>().len() == names.len()
        {
            image.combinations = names;
            image.options.insert("matrix", Term::Map(axes));
            if let Some(name) = name {
                image.options.insert("name", name);
            }
            spec.add_image(image);
            return Ok(());
        }
    }
    let place = attribute.place;
    let combinations = combinations(&axes).ok_or_else(|| {
        let what = format!("the matrix of target `{}` has too many combinations", block.label);
        report.error(place, what)
    })?;
    report.note(
        place,
        format!("the matrix of target `{}` is written as {} images", block.label, combinations.len()),
    );
    let mut members = Vec::new();
    for names in combinations {
        let image = expanded(block, names, evaluator, report)?;
        if !members.contains(&image.name) {
            members.push(image.name.clone());
        }
        spec.add_image(image);
    }
    if !members.is_empty() && members != [block.label.as_str()] {
        spec.add_group(Group { name: block.label.clone(), place: block.place, description: None, members });
    }
    Ok(())
}

/// Computes the values of each name.
fn axes(
    block: &Block,
    attribute: &Attribute,
    evaluator: &mut Evaluator<'_>,
    report: &mut Report,
) -> Result<Axes, ConvertError> {
    let wrong =
        |what: &str| report.error(attribute.place, format!("the matrix of target `{}` {what}", block.label));
    let value = match evaluator.expr(&attribute.value) {
        Ok(value) => value,
        Err(Fault::Fatal(place, what) | Fault::Unknown(place, what) | Fault::Open(place, what)) => {
            return Err(report.error(place, what));
        }
    };
    let Term::Map(pairs) = value else { return Err(wrong("is not a map")) };
    let is_list = |term: &Term| match term {
        Term::List(_) => true,
        Term::Symbol(symbol) => symbol.kind == Kind::List,
        _ => false,
    };
    if !pairs.iter().all(|(_, values)| is_list(values)) {
        return Err(wrong("holds something that is no list"));
    }
    for (place, why) in evaluator.take_fixed() {
        report.note(place, format!("`matrix` of target `{}`: {why}", block.label));
    }
    Ok(pairs)
}

/// Makes the names of a matrix variables of `kairn.toml`; `None` if they cannot be.
fn bound(axes: &Axes) -> Option<Axes> {
    let mut names = Vec::new();
    for (name, values) in axes {
        let is_name = name.chars().all(|ch| ch.is_ascii_alphanumeric() || ch == '_')
            && !matches!(name.as_str(), "image" | "include" | "exclude")
            && *values != Term::List(Vec::new());
        let (kind, fields) = kind_of(values).filter(|_| is_name)?;
        let Term::Symbol(symbol) = Term::symbol(Say::Var(name.clone()), kind, None) else { return None };
        names.push((name.clone(), Term::Symbol(Box::new(Symbol { fields, ..*symbol }))));
    }
    Some(names)
}

/// Returns what kind the values of a name are, and the fields of tables; `None` if they are of different kinds.
fn kind_of(values: &Term) -> Option<(Kind, Vec<(String, Kind)>)> {
    let Term::List(items) = values else { return Some((Kind::Text, Vec::new())) };
    let mut kind = None;
    let mut fields: Option<Vec<(String, Kind)>> = None;
    for item in items {
        let new = match item {
            Term::Map(pairs) => {
                let found = pairs.iter().map(|(name, value)| Some((name.clone(), scalar_kind(value)?)));
                let found: Vec<(String, Kind)> = found.collect::<Option<_>>()?;
                let known = fields.get_or_insert_with(|| found.clone());
                if known.len() != found.len() {
                    return None;
                }
                for (name, kind) in known.iter_mut() {
                    let (_, new) = found.iter().find(|(other, _)| other == name)?;
                    *kind = together(*kind, *new);
                }
                Kind::Table
            }
            other => scalar_kind(other)?,
        };
        kind = Some(match kind {
            None => new,
            Some(old) if (old == Kind::Table) != (new == Kind::Table) => return None,
            Some(old) => together(old, new),
        });
    }
    Some((kind.unwrap_or(Kind::Text), fields.unwrap_or_default()))
}

fn together(left: Kind, right: Kind) -> Kind {
    if left == right { left } else { Kind::Scalar }
}

fn scalar_kind(term: &Term) -> Option<Kind> {
    match term {
        Term::Null | Term::List(_) | Term::Map(_) => None,
        other => other.kind().filter(|kind| !matches!(kind, Kind::List | Kind::Table)),
    }
}

/// Computes the name of an image.
fn named(reader: &mut Reader<'_, '_>, block: &Block) -> Result<Option<Term>, Fatal> {
    let Some(attribute) = block.attribute("name") else {
        reader.note(block.place, "matrix", "has no `name` for each combination");
        return Ok(None);
    };
    reader.text(attribute)
}

/// Returns all combinations of values; `None` if they are too many.
fn combinations(axes: &Axes) -> Option<Vec<Axes>> {
    let mut rows: Vec<Axes> = vec![Vec::new()];
    for (name, values) in axes {
        let Some(Term::List(now)) = values.now() else { return None };
        let items = if let Term::List(items) = values { items } else { &now };
        if rows.len().saturating_mul(items.len()) > MAX_COMBINATIONS {
            return None;
        }
        rows = rows
            .iter()
            .flat_map(|row| {
                items.iter().map(|item| row.iter().cloned().chain([(name.clone(), item.clone())]).collect())
            })
            .collect();
    }
    Some(rows)
}

/// Converts one combination.
fn expanded(
    block: &Block,
    names: Axes,
    evaluator: &mut Evaluator<'_>,
    report: &mut Report,
) -> Result<Image, ConvertError> {
    let result = evaluator.with_names(names, |evaluator| {
        let mut reader = Reader::new(evaluator, Image::new(&block.label, block.place));
        let name = match named(&mut reader, block)? {
            Some(name) => reader.now("name", block.place, &name),
            None => None,
        };
        if let Some(name) = name {
            reader.image.name = name;
        }
        reader.block(block)?;
        Ok(reader.finish(report))
    });
    result.map_err(|(place, what): Fatal| report.error(place, what))
}

/// Returns the names of all combinations, as they are now.
fn combined_names(axes: &Axes, block: &Block, evaluator: &mut Evaluator<'_>) -> Vec<String> {
    let Some(attribute) = block.attribute("name") else { return Vec::new() };
    let mut all = Vec::new();
    for names in combinations(axes).unwrap_or_default() {
        let name = evaluator.with_names(names, |evaluator| evaluator.expr(&attribute.value));
        all.extend(name.ok().and_then(|name| name.now()).and_then(|name| name.as_text()));
    }
    let _ = evaluator.take_fixed();
    all
}

/// Says whether another target inherits one combination, which has no table of its own in a matrix.
fn is_inherited(definitions: &Definitions, names: &[String]) -> bool {
    let lists =
        definitions.targets.iter().filter_map(|target| match &target.attribute("inherits")?.value.kind {
            ExprKind::List(items) => Some((target, items)),
            _ => None,
        });
    lists.into_iter().any(|(target, items)| {
        items.iter().any(|item| match &item.kind {
            ExprKind::Text(name) => names.contains(name),
            _ => target.attribute("matrix").is_some(),
        })
    })
}
