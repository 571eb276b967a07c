//! `[vars]`: names, defaults, and who gives other values.

use std::collections::BTreeMap;

use super::de;
use super::expression::{Scope, text_of};
use super::load::Loader;
use super::node::{Key, Node, Table, Value};
use super::types::{VariableOptions, VariableType};
use crate::Diagnostic;
use crate::suggest::nearest;

/// Values of all variables; a default may name any other, in any order.
pub(super) fn resolve(
    variables: &[(&Key, &Node)],
    loader: &Loader<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Scope<'static> {
    let mut scope = Scope::default();
    let mut left: BTreeMap<&str, (&Key, &Node)> = BTreeMap::new();
    for &(key, node) in variables {
        if key.name == "image" {
            diagnostics
                .push(key.place.error("reserved-name", "`image` is the name of the image in every image"));
        } else {
            left.insert(&key.name, (key, node));
        }
    }
    scope.await_names(left.keys().copied());
    for (key, _) in variables {
        // The next is the last; `open` are those of them that wait for one another.
        let mut next: Vec<&str> = vec![&key.name];
        let mut open: Vec<&str> = Vec::new();
        while let Some(name) = next.last().copied() {
            let Some((key, node)) = left.get(name).copied() else {
                next.pop();
                continue;
            };
            if open.last() != Some(&name) {
                open.push(name);
            }
            let mut found = Vec::new();
            let mut outcome = value(key, node, &scope, loader, &mut found);
            let missed = scope.take_missed();
            if let Some(from) = open.iter().position(|name| missed.contains(*name)) {
                let path: Vec<_> =
                    open[from..].iter().chain([&open[from]]).map(|name| format!("`{name}`")).collect();
                let text = format!("the variable `{}` needs itself: {}", open[from], path.join(" -> "));
                (outcome, found) = (Err(key.place.error("variable-cycle", text)), Vec::new());
            } else if !missed.is_empty() {
                next.extend(
                    missed.iter().filter_map(|name| left.get_key_value(name.as_str())).map(|(name, _)| *name),
                );
                continue;
            }
            diagnostics.append(&mut found);
            let value = outcome.unwrap_or_else(|error| {
                diagnostics.push(error);
                Value::String(String::new())
            });
            scope.set(name, value);
            left.remove(name);
            next.pop();
            open.pop();
        }
    }
    for name in loader.vars.keys().filter(|name| !variables.iter().any(|(key, _)| key.name == **name)) {
        let error = Diagnostic::error(
            "unknown-variable",
            crate::Span::default(),
            format!("`--var {name}`: there is no variable `{name}`"),
        );
        let near = nearest(name, variables.iter().map(|(key, _)| key.name.as_str()));
        diagnostics.push(match near {
            Some(near) => error.with_help(format!("did you mean `{near}`?")),
            None => error,
        });
    }
    scope
}

fn value(
    key: &Key,
    node: &Node,
    scope: &Scope<'_>,
    loader: &Loader<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Result<Value, Diagnostic> {
    let (options, default) = match &node.value {
        Value::Table(table) => {
            let mut table = table.clone();
            let default = table.remove("default").map(|(_, default)| default);
            let options: VariableOptions = de::read(&Node { place: node.place, value: Value::Table(table) })?;
            (options, default)
        }
        _ => (VariableOptions::default(), Some(node.clone())),
    };
    let default = default.map(|default| scope.expand(&default, diagnostics));
    let kind = options.kind.unwrap_or_else(|| default.as_ref().map_or(VariableType::String, kind_of));
    let from_environment = options.env.as_ref().and_then(|name| (loader.environment)(name));
    let given = loader.vars.get(&key.name).cloned().or(from_environment);
    let value = match (given, default) {
        (Some(text), _) => parsed(&text, kind, key, node)?,
        (None, Some(default)) => typed(default, kind)?,
        (None, None) => {
            let error = key.place.error("missing-value", format!("the variable `{}` has no value", key.name));
            let env = options.env.as_ref().map_or_else(String::new, |env| format!(", set `{env}`"));
            return Err(error.with_help(format!("give `--var {}=VALUE`{env}, or a `default`", key.name)));
        }
    };
    if let Some(allowed) = &options.values {
        let items = match &value {
            Value::Array(items) => items.iter().map(|item| text_of(&item.value)).collect(),
            other => vec![text_of(other)],
        };
        if let Some(wrong) = items.iter().find(|item| !allowed.iter().any(|allowed| allowed.0 == **item)) {
            let names: Vec<_> = allowed.iter().map(|allowed| format!("`{}`", allowed.0)).collect();
            let text = format!("the variable `{}` cannot be `{wrong}`", key.name);
            return Err(key
                .place
                .error("invalid-value", text)
                .with_help(format!("it is one of {}", names.join(", "))));
        }
    }
    Ok(value)
}

fn kind_of(default: &Node) -> VariableType {
    match default.value {
        Value::Integer(_) | Value::Float(_) => VariableType::Number,
        Value::Boolean(_) => VariableType::Bool,
        Value::Array(_) => VariableType::List,
        Value::String(_) | Value::Table(_) => VariableType::String,
    }
}

/// Reads what somebody gave as text.
fn parsed(text: &str, kind: VariableType, key: &Key, node: &Node) -> Result<Value, Diagnostic> {
    let wrong = |what: &str| {
        key.place
            .error("invalid-value", format!("the variable `{}` is `{text}`, which is no {what}", key.name))
    };
    Ok(match kind {
        VariableType::String => Value::String(text.to_owned()),
        VariableType::Number => match (text.parse(), text.parse::<f64>()) {
            (Ok(integer), _) => Value::Integer(integer),
            (Err(_), Ok(float)) if float.is_finite() => Value::Float(float),
            _ => return Err(wrong("number")),
        },
        VariableType::Bool => match text {
            "true" | "1" => Value::Boolean(true),
            "false" | "0" => Value::Boolean(false),
            _ => return Err(wrong("`true` and no `false`")),
        },
        VariableType::List => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            let node = |item: &str| Node { place: node.place, value: Value::String(item.to_owned()) };
            Value::Array(items.map(node).collect())
        }
    })
}

/// Holds a default against the type that is said.
fn typed(default: Node, kind: VariableType) -> Result<Value, Diagnostic> {
    let is_right = match (&default.value, kind) {
        (Value::Array(_), kind) => kind == VariableType::List,
        (Value::Table(_), _) | (_, VariableType::List) => false,
        (Value::Integer(_) | Value::Float(_), kind) => kind != VariableType::Bool,
        (Value::Boolean(_), kind) => kind != VariableType::Number,
        (Value::String(_), kind) => kind == VariableType::String,
    };
    if !is_right {
        return Err(default
            .place
            .error("wrong-type", format!("the default is {}, unlike the type", default.kind())));
    }
    Ok(match (default.value, kind) {
        (value @ Value::Array(_), _) | (value, VariableType::Number | VariableType::Bool) => value,
        (value, _) => Value::String(text_of(&value)),
    })
}

/// Warns of variables that nothing uses.
pub(super) fn unused(variables: &[(&Key, &Node)], scope: &Scope<'_>) -> Vec<Diagnostic> {
    let unused = variables.iter().filter(|(key, _)| !scope.is_used(&key.name));
    unused
        .map(|(key, _)| {
            key.place.warning("unused-variable", format!("nothing uses the variable `{}`", key.name))
        })
        .collect()
}

/// Writes all values of a scope as text, for stages, and notes as used those whose names stand in the strings of a tree.
pub(super) fn for_stages(scope: &Scope<'_>, stages: Option<&Table>) -> BTreeMap<String, String> {
    let all: BTreeMap<String, String> =
        scope.all().into_iter().map(|(name, value)| (name.to_owned(), text_of(value))).collect();
    for (_, node) in stages.into_iter().flat_map(|table| &table.0) {
        mark(node, scope, &all);
    }
    all
}

fn mark(node: &Node, scope: &Scope<'_>, all: &BTreeMap<String, String>) {
    match &node.value {
        Value::String(text) => {
            for name in all.keys().filter(|name| text.contains(name.as_str())) {
                scope.get(name);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| mark(item, scope, all)),
        Value::Table(table) => {
            for (key, node) in &table.0 {
                if all.contains_key(&key.name) {
                    scope.get(&key.name);
                }
                mark(node, scope, all);
            }
        }
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => {}
    }
}
