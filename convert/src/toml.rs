//! Writes a `kairn.toml`.

mod text;

use std::fmt::Write as _;

use crate::say::escape;
use crate::spec::{Image, Spec, Var};
use crate::term::{Term, number};
use text::{key, string};

/// The options of an image in the order in which they are written.
const ORDER: [&str; 26] = [
    "description",
    "inherits",
    "matrix",
    "name",
    "context",
    "dockerfile",
    "dockerfile-inline",
    "target",
    "contexts",
    "args",
    "labels",
    "annotations",
    "tags",
    "platforms",
    "network",
    "allow",
    "pull",
    "no-cache",
    "no-cache-filter",
    "cache-from",
    "cache-to",
    "secrets",
    "ssh",
    "outputs",
    "cpu",
    "memory",
];

/// The longest line that holds a list or a table.
const WIDTH: usize = 100;

/// Whether the texts of a value may hold expressions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Texts {
    /// They may.
    Expressions,
    /// They stand for themselves.
    Plain,
}

/// Writes everything.
pub(crate) fn write(spec: &Spec) -> String {
    let mut parts = Vec::new();
    if !spec.vars.is_empty() {
        let lines: Vec<String> = spec.vars.iter().map(var).collect();
        parts.push(format!("[vars]\n{}", lines.concat()));
    }
    if !spec.groups.is_empty() {
        parts.push(groups(spec));
    }
    parts.extend(spec.images.iter().map(image));
    parts.join("\n")
}

fn var(var: &Var) -> String {
    let mut pairs = Vec::new();
    if let Some(default) = &var.default {
        pairs.push(format!("default = {}", value(default, Texts::Expressions)));
    }
    if let Some(kind) = var.kind {
        pairs.push(format!("type = {}", string(kind)));
    }
    if let Some(env) = &var.env {
        pairs.push(format!("env = {}", string(env)));
    }
    if !var.values.is_empty() {
        pairs.push(format!("values = {}", value(&Term::List(var.values.clone()), Texts::Plain)));
    }
    if let Some(description) = &var.description {
        pairs.push(format!("description = {}", string(description)));
    }
    format!("{} = {{ {} }}\n", key(&var.name), pairs.join(", "))
}

fn groups(spec: &Spec) -> String {
    let mut lines = String::from("[group]\n");
    for group in &spec.groups {
        for line in group.description.iter().flat_map(|description| description.lines()) {
            let line: String = line.chars().filter(|ch| !ch.is_control()).collect();
            let _ = writeln!(lines, "# {}", line.trim());
        }
        let members = group.members.iter().map(Term::text).collect();
        lines.push_str(&pair(&group.name, &Term::List(members), Texts::Plain));
    }
    lines
}

fn image(image: &Image) -> String {
    let table = if image.is_template { "template" } else { "image" };
    let path = format!("{table}.{}", key(&image.name));
    let mut lines = format!("[{path}]\n");
    let mut tables = String::new();
    for name in ORDER {
        let Some(option) = image.options.get(name) else { continue };
        let line = pair(name, option, Texts::Expressions);
        match option {
            Term::Map(pairs) if line.len() > WIDTH || pairs.len() > 3 || has_lines(option) => {
                let _ = write!(tables, "\n[{path}.{name}]\n");
                for (name, option) in pairs {
                    tables.push_str(&pair(name, option, Texts::Expressions));
                }
            }
            _ => lines.push_str(&line),
        }
    }
    lines + &tables
}

/// Says whether a text of several lines stands in a value.
fn has_lines(term: &Term) -> bool {
    match term {
        Term::Text(text) => text.contains('\n'),
        Term::List(items) => items.iter().any(has_lines),
        Term::Map(pairs) => pairs.iter().any(|(_, value)| has_lines(value)),
        Term::Symbol(symbol) => symbol.write().contains('\n'),
        Term::Null | Term::Bool(_) | Term::Number(_) => false,
    }
}

/// Writes a key and its value, a long list on several lines.
fn pair(name: &str, term: &Term, texts: Texts) -> String {
    let line = format!("{} = {}\n", key(name), value(term, texts));
    match elements(term, texts) {
        Some(items) if line.chars().count() > WIDTH => {
            format!("{} = [\n    {},\n]\n", key(name), items.join(",\n    "))
        }
        _ => line,
    }
}

/// Writes the elements of a list.
fn elements(term: &Term, texts: Texts) -> Option<Vec<String>> {
    match term {
        Term::List(items) => Some(items.iter().map(|item| value(item, texts)).collect()),
        Term::Symbol(symbol) => Some(symbol.elements()?.iter().map(|item| string(item)).collect()),
        Term::Null | Term::Bool(_) | Term::Number(_) | Term::Text(_) | Term::Map(_) => None,
    }
}

fn value(term: &Term, texts: Texts) -> String {
    if let Some(items) = elements(term, texts) {
        return format!("[{}]", items.join(", "));
    }
    match term {
        Term::Null => string(""),
        Term::Bool(value) => value.to_string(),
        Term::Number(value) => number(*value),
        Term::Text(text) if texts == Texts::Plain => string(text),
        Term::Text(text) => string(&escape(text)),
        Term::Symbol(symbol) => string(&symbol.write()),
        Term::List(_) => "[]".to_owned(),
        Term::Map(pairs) if pairs.is_empty() => "{}".to_owned(),
        Term::Map(pairs) => {
            let pairs: Vec<String> =
                pairs.iter().map(|(name, term)| format!("{} = {}", key(name), value(term, texts))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
    }
}
