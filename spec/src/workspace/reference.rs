//! The reference page of kairn.toml, made of the schema.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value as Json;

use super::expression::FUNCTIONS;
use super::schema::{kinds, schema};

/// Writes the reference page, in Markdown.
pub fn reference() -> String {
    let root = schema();
    let mut page = Page { root, text: String::new(), told: BTreeSet::new(), waiting: Vec::new() };
    page.text.push_str("# kairn.toml\n\n<!-- Made by `kairn schema --format markdown`; change spec/src/workspace/types.rs instead. -->\n\n\
             `kairn schema` writes the JSON Schema of this; an editor that knows `#:schema PATH` in the first line of a TOML file\n\
             completes and checks it.\n\n");
    page.table("The file", root);
    while !page.waiting.is_empty() {
        let name = page.waiting.remove(0);
        let of = &root["$defs"][&name];
        page.table(&name, of);
    }
    page.text.push_str("## Expressions\n\n");
    page.text.push_str(
        "Strings of images may hold `${expression}`: the name of a variable, `\"text\"`, a number, `true`, `false`, a field as in\n\
         `item.name`, or a function of expressions. `$${` is a literal `${`. A string that is nothing but one expression has its\n\
         value: a list can stand where a list is wanted, and an element that comes to nothing is left out. A `\"text\"` may hold\n\
         expressions as well. Values of a matrix are variables of its images; `image` is the image's name.\n\
         Strings of stages are a Dockerfile's: `$NAME` in them is an ARG or ENV.\n\n",
    );
    for (_, _, _, usage) in FUNCTIONS {
        let _ = writeln!(page.text, "- {usage}");
    }
    page.text
}

struct Page<'s> {
    root: &'s Json,
    text: String,
    told: BTreeSet<String>,
    waiting: Vec<String>,
}

impl<'s> Page<'s> {
    fn table(&mut self, name: &str, schema: &'s Json) {
        let _ = writeln!(self.text, "## {name}\n");
        if let Some(description) = schema["description"].as_str() {
            let _ = writeln!(self.text, "{}\n", one_line(description));
        }
        if let Some(choices) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Json::as_array) {
            for choice in choices {
                let what = self.kind(choice);
                let description = description(choice);
                let _ = writeln!(self.text, "- {what}{description}");
            }
            self.text.push('\n');
        }
        let Some(properties) = schema["properties"].as_object() else { return };
        let required: BTreeSet<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
        self.text.push_str("| key | value | |\n|---|---|---|\n");
        for (key, of) in properties {
            let kind = self.kind(of);
            let needed = if required.contains(key.as_str()) { " **needed**" } else { "" };
            let description = of["description"].as_str().map(one_line).unwrap_or_default();
            let _ = writeln!(self.text, "| `{key}`{needed} | {} | {} |", cell(&kind), cell(&description));
        }
        if let Some(others) = schema.get("additionalProperties").filter(|others| others.is_object()) {
            let kind = self.kind(others);
            let _ = writeln!(self.text, "| any other | {} | The values of a variable. |", cell(&kind));
        }
        self.text.push('\n');
    }

    fn kind(&mut self, schema: &'s Json) -> String {
        if let Some(name) = schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/")) {
            let of = &self.root["$defs"][name];
            let is_short = of.get("properties").is_none() && of.get("anyOf").is_none();
            if is_short {
                return self.kind(of);
            }
            if self.told.insert(name.to_owned()) {
                self.waiting.push(name.to_owned());
            }
            return format!("[{name}](#{})", name.to_lowercase());
        }
        if let Some(value) = schema.get("const").and_then(Json::as_str) {
            return format!("`\"{value}\"`");
        }
        for list in ["oneOf", "anyOf", "enum"] {
            if let Some(choices) = schema.get(list).and_then(Json::as_array) {
                let kinds: Vec<String> = choices
                    .iter()
                    .map(|choice| {
                        choice.as_str().map_or_else(|| self.kind(choice), |text| format!("`\"{text}\"`"))
                    })
                    .collect();
                return kinds.join(" or ");
            }
        }
        let named: Vec<String> = kinds(schema)
            .into_iter()
            .map(|kind| match kind {
                "array" if schema.get("items").is_some() => {
                    format!("list of {}", self.kind(&schema["items"]))
                }
                "object" if schema["additionalProperties"].is_object() => {
                    format!("table of {}", self.kind(&schema["additionalProperties"]))
                }
                "array" => "list".to_owned(),
                "object" => "table".to_owned(),
                "integer" => "number".to_owned(),
                other => other.to_owned(),
            })
            .collect();
        named.join(", ")
    }
}

fn description(schema: &Json) -> String {
    schema["description"].as_str().map_or_else(String::new, |text| format!(": {}", one_line(text)))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
