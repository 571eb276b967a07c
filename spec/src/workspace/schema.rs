//! The JSON Schema of kairn.toml, and the checks that a tree is as the schema has it.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value as Json};

use super::node::{Node, Table, Value};
use super::types::Document;
use crate::Diagnostic;
use crate::suggest::nearest;

/// Most names that a message lists.
const FEW: usize = 12;

/// The JSON Schema of kairn.toml, draft 2020-12.
pub fn schema() -> &'static Json {
    static SCHEMA: LazyLock<Json> = LazyLock::new(|| {
        let generator = SchemaSettings::draft2020_12().into_generator();
        let mut schema = generator.into_root_schema_for::<Document>().to_value();
        without_null(&mut schema);
        schema
    });
    &SCHEMA
}

/// Takes `null` out, which TOML does not have.
fn without_null(schema: &mut Json) {
    match schema {
        Json::Object(fields) => {
            fields.remove("default");
            if let Some(Json::Array(types)) = fields.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [one] = &types[..] {
                    let one = one.clone();
                    fields.insert("type".to_owned(), one);
                }
            }
            if let Some(Json::Array(choices)) = fields.get_mut("anyOf") {
                choices.retain(|choice| choice["type"] != "null");
                if let [Json::Object(only)] = &choices[..] {
                    let only = only.clone();
                    fields.remove("anyOf");
                    for (name, value) in only {
                        fields.entry(name).or_insert(value);
                    }
                }
            }
            for (name, value) in fields {
                match value {
                    // Names of keys, which may be the same as words of the schema.
                    Json::Object(properties) if name == "properties" || name == "$defs" => {
                        properties.values_mut().for_each(without_null);
                    }
                    value => without_null(value),
                }
            }
        }
        Json::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}

/// Whether text may stand for any value, because it is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expressions {
    /// Text with `${` may.
    Open,
    /// All is known.
    Done,
}

/// Finds everything in a tree that is not as a type of the schema has it; the whole document where none is named.
pub(super) fn check(node: &Node, definition: Option<&str>, expressions: Expressions) -> Vec<Diagnostic> {
    let root = schema();
    let of = definition.map_or(root, |name| &root["$defs"][name]);
    let mut checker = Checker { root, expressions, diagnostics: Vec::new() };
    checker.node(node, of);
    checker.diagnostics
}

struct Checker<'s> {
    root: &'s Json,
    expressions: Expressions,
    diagnostics: Vec<Diagnostic>,
}

impl<'s> Checker<'s> {
    fn resolve(&self, schema: &'s Json) -> &'s Json {
        match schema.get("$ref").and_then(Json::as_str).and_then(|name| name.strip_prefix("#/$defs/")) {
            Some(name) => self.resolve(&self.root["$defs"][name]),
            None => schema,
        }
    }

    fn choices(&self, schema: &'s Json) -> Vec<&'s Json> {
        let choices =
            ["anyOf", "oneOf"].into_iter().filter_map(|name| schema.get(name)?.as_array()).flatten();
        choices
            .flat_map(|choice| {
                let choice = self.resolve(choice);
                let inner = self.choices(choice);
                if inner.is_empty() { vec![choice] } else { inner }
            })
            .collect()
    }

    fn node(&mut self, node: &Node, schema: &'s Json) {
        let schema = self.resolve(schema);
        if self.expressions == Expressions::Open && node.text().is_some_and(|text| text.contains("${")) {
            return;
        }
        let choices = self.choices(schema);
        if choices.is_empty() {
            return self.plain(node, schema);
        }
        let constants: Vec<&str> = choices.iter().flat_map(|choice| constants(choice)).collect();
        if let Some(text) = node.text()
            && constants.contains(&text)
        {
            return;
        }
        let of_kind: Vec<&Json> = choices
            .iter()
            .copied()
            .filter(|choice| constants_of(choice).is_none() && is_of_kind(node, choice))
            .collect();
        match (&of_kind[..], &node.value) {
            ([], _) => self.wrong_kind(node, &choices, &constants),
            ([only], _) => self.plain(node, only),
            (several, Value::Table(table)) => self.one_of(node, table, several),
            ([first, ..], _) => self.plain(node, first),
        }
    }

    /// Of several kinds of tables, a table is the one whose required keys it has.
    fn one_of(&mut self, node: &Node, table: &Table, choices: &[&'s Json]) {
        let verb = |choice: &'s Json| choice["required"].as_array()?.first()?.as_str();
        let has = |choice: &&&'s Json| verb(choice).is_some_and(|name| table.get(name).is_some());
        if let Some(choice) = choices.iter().find(has) {
            return self.plain(node, choice);
        }
        let verbs: Vec<&str> = choices.iter().filter_map(|choice| verb(choice)).collect();
        let error = node.place.error("missing-key", "says none of the keys that it could be");
        let near = table.0.iter().find_map(|(key, _)| nearest(&key.name, verbs.iter().copied()));
        let help = near.map_or_else(
            || format!("one of these is needed: {}", listed(&verbs)),
            |near| format!("did you mean `{near}`?"),
        );
        self.diagnostics.push(error.with_help(help));
    }

    fn plain(&mut self, node: &Node, schema: &'s Json) {
        let allowed = constants(schema);
        if !allowed.is_empty() {
            if !node.text().is_some_and(|text| allowed.contains(&text)) {
                self.wrong_kind(node, &[schema], &allowed);
            }
            return;
        }
        if !is_of_kind(node, schema) {
            return self.wrong_kind(node, &[schema], &[]);
        }
        match &node.value {
            Value::Array(items) => {
                if let Some(of) = schema.get("items") {
                    for item in items {
                        self.node(item, of);
                    }
                }
            }
            Value::Table(table) => self.table(node, table, schema),
            Value::Integer(number) => {
                let limit = |name: &str| schema.get(name).and_then(Json::as_i64);
                if limit("minimum").is_some_and(|least| *number < least)
                    || limit("maximum").is_some_and(|most| *number > most)
                {
                    let text = format!("{number} is not in its range");
                    self.diagnostics.push(node.place.error("out-of-range", text));
                }
            }
            Value::String(_) | Value::Float(_) | Value::Boolean(_) => {}
        }
    }

    fn table(&mut self, node: &Node, table: &Table, schema: &'s Json) {
        let none = Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&none);
        for (key, value) in &table.0 {
            if let Some(of) = schema["properties"].get(&key.name) {
                self.node(value, of);
                continue;
            }
            match schema.get("additionalProperties") {
                Some(Json::Bool(false)) => {
                    let text = format!("there is no key `{}` here", key.name);
                    let error = key.place.error("unknown-key", text);
                    let names = properties.keys().map(String::as_str);
                    let near =
                        nearest(&key.name, names.clone()).map(|near| format!("did you mean `{near}`?"));
                    let few = (names.len() <= FEW)
                        .then(|| format!("known are {}", listed(&names.collect::<Vec<_>>())));
                    let help = near
                        .or(few)
                        .unwrap_or_else(|| "`kairn schema --format markdown` lists them".to_owned());
                    self.diagnostics.push(error.with_help(help));
                }
                Some(of) if of.is_object() => self.node(value, of),
                _ => {}
            }
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str) {
            if table.get(name).is_none() {
                self.diagnostics
                    .push(node.place.error("missing-key", format!("the key `{name}` is missing")));
            }
        }
    }

    fn wrong_kind(&mut self, node: &Node, choices: &[&Json], constants: &[&str]) {
        let kinds: Vec<&str> = choices.iter().flat_map(|choice| kinds(choice)).map(named).collect();
        let is_text = node.text().is_some();
        let what = match node.text() {
            Some(text) => format!("`{text}`"),
            None => node.kind().to_owned(),
        };
        let wanted =
            if constants.is_empty() || (!is_text && !kinds.is_empty() && !kinds.contains(&"a string")) {
                kinds.join(" or ")
            } else {
                format!("one of {}", listed(constants))
            };
        let error = node.place.error("wrong-type", format!("{what} where {wanted} is wanted"));
        let near = node.text().and_then(|text| nearest(text, constants.iter().copied()));
        self.diagnostics.push(match near {
            Some(near) => error.with_help(format!("did you mean `{near}`?")),
            None => error,
        });
    }
}

fn constants_of(schema: &Json) -> Option<()> {
    (!constants(schema).is_empty()).then_some(())
}

/// The texts that a schema names one by one.
fn constants(schema: &Json) -> Vec<&str> {
    let list = schema.get("enum").and_then(Json::as_array).into_iter().flatten();
    list.chain(schema.get("const")).filter_map(Json::as_str).collect()
}

/// The types that a schema allows.
pub(super) fn kinds(schema: &Json) -> Vec<&str> {
    match schema.get("type") {
        Some(Json::String(kind)) => vec![kind],
        Some(Json::Array(kinds)) => kinds.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

fn is_of_kind(node: &Node, schema: &Json) -> bool {
    let kinds = kinds(schema);
    let is = |name: &str| kinds.is_empty() || kinds.contains(&name);
    match &node.value {
        Value::String(_) => is("string"),
        Value::Integer(_) => is("integer") || is("number"),
        Value::Float(_) => is("number"),
        Value::Boolean(_) => is("boolean"),
        Value::Array(_) => is("array"),
        Value::Table(_) => is("object"),
    }
}

fn named(kind: &str) -> &str {
    match kind {
        "string" => "a string",
        "integer" | "number" => "a number",
        "boolean" => "`true` or `false`",
        "array" => "a list",
        "object" => "a table",
        other => other,
    }
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
