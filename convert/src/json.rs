//! Reads bake files in JSON.
//!
//! Spec: RFC 8259; HCL JSON syntax specification for what blocks and expressions are in it.

mod value;

use crate::expr::{Attribute, Block, Expr, ExprKind, File};
use crate::hcl::{SyntaxError, parse_template};
use value::{Json, JsonKind};

/// What is a block in a bake file, and not an attribute.
const BLOCKS: [&str; 4] = ["variable", "group", "target", "function"];

/// Reads a file.
///
/// # Errors
/// The first mistake in its syntax.
pub(crate) fn parse(file: usize, text: &str) -> Result<File, SyntaxError> {
    let json = value::parse(file, text.strip_prefix('\u{feff}').unwrap_or(text))?;
    let JsonKind::Object(members) = json.kind else {
        return Err(SyntaxError { place: json.place, what: "a bake file is an object".to_owned() });
    };
    let mut file = File::default();
    for (name, place, value) in members {
        if BLOCKS.contains(&name.as_str()) {
            for (label, body) in labelled(&name, value)? {
                file.blocks.push(block(&name, label, body)?);
            }
        } else if !is_comment(&name) {
            file.attributes.push(Attribute { name, place, value: expr(value)? });
        }
    }
    Ok(file)
}

fn is_comment(name: &str) -> bool {
    name == "//"
}

/// Returns the blocks below a word, each with its label.
fn labelled(kind: &str, value: Json) -> Result<Vec<(String, Json)>, SyntaxError> {
    match value.kind {
        JsonKind::Object(members) => {
            let mut found = Vec::new();
            for (label, _, value) in members {
                match value.kind {
                    JsonKind::List(items) => {
                        found.extend(items.into_iter().map(|item| (label.clone(), item)));
                    }
                    _ if is_comment(&label) => {}
                    _ => found.push((label, value)),
                }
            }
            Ok(found)
        }
        JsonKind::List(items) => {
            let mut found = Vec::new();
            for item in items {
                if matches!(item.kind, JsonKind::List(_)) {
                    let what = format!("`{kind}` holds objects");
                    return Err(SyntaxError { place: item.place, what });
                }
                found.extend(labelled(kind, item)?);
            }
            Ok(found)
        }
        _ => Err(SyntaxError { place: value.place, what: format!("`{kind}` is an object") }),
    }
}

fn block(kind: &str, label: String, body: Json) -> Result<Block, SyntaxError> {
    let place = body.place;
    let JsonKind::Object(members) = body.kind else {
        let what = format!("`{label}` is an object");
        return Err(SyntaxError { place, what });
    };
    let mut block = Block { kind: kind.to_owned(), label, place, attributes: Vec::new(), blocks: Vec::new() };
    for (name, place, value) in members {
        if kind == "variable" && name == "validation" {
            block.blocks.extend(validations(value)?);
        } else if !is_comment(&name) {
            block.attributes.push(Attribute { name, place, value: expr(value)? });
        }
    }
    Ok(block)
}

fn validations(value: Json) -> Result<Vec<Block>, SyntaxError> {
    let items = match value.kind {
        JsonKind::List(items) => items,
        _ => vec![value],
    };
    items.into_iter().map(|item| block("validation", String::new(), item)).collect()
}

/// Makes an expression of a value, in which every text may be a template.
fn expr(json: Json) -> Result<Expr, SyntaxError> {
    let place = json.place;
    let kind = match json.kind {
        JsonKind::Null => ExprKind::Null,
        JsonKind::Bool(value) => ExprKind::Bool(value),
        JsonKind::Number(value) => ExprKind::Number(value),
        JsonKind::Text(text) => return parse_template(place, &text),
        JsonKind::List(items) => ExprKind::List(items.into_iter().map(expr).collect::<Result<_, _>>()?),
        JsonKind::Object(members) => {
            let mut pairs = Vec::new();
            for (name, place, value) in members.into_iter().filter(|(name, ..)| !is_comment(name)) {
                pairs.push((parse_template(place, &name)?, expr(value)?));
            }
            ExprKind::Object(pairs)
        }
    };
    Ok(Expr { place, kind })
}
