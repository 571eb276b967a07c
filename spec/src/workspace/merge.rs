//! Inheritance: an image's options from the defaults, its templates and itself.

use std::collections::BTreeMap;

use super::node::{Key, Node, Table, Value};
use crate::Diagnostic;
use crate::suggest::nearest;

/// Keys whose tables are joined, key by key.
const JOINED: [&str; 5] = ["args", "labels", "annotations", "contexts", "stage"];
/// Keys whose lists are added up.
const ADDED: [&str; 7] =
    ["allow", "cache-from", "secrets", "ssh", "no-cache-filter", "requires", "artifacts"];
/// Keys that say how an image is made of its table, and are not handed down.
const OWN: [&str; 4] = ["inherits", "matrix", "name", "description"];

/// Templates and images by name.
pub(super) type Tables<'t> = BTreeMap<&'t str, (&'t Key, &'t Node)>;

/// Joins all that an image inherits with what its table says.
pub(super) fn inherited(
    key: &Key,
    node: &Node,
    templates: &Tables<'_>,
    images: &Tables<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Table {
    let mut merging =
        Merging { templates, images, path: vec![key.name.clone()], done: BTreeMap::new(), diagnostics };
    merging.resolve(node)
}

/// One image's options on their way.
struct Merging<'m> {
    templates: &'m Tables<'m>,
    images: &'m Tables<'m>,
    /// The names that are being inherited from.
    path: Vec<String>,
    /// What was inherited from before.
    done: BTreeMap<String, Table>,
    diagnostics: &'m mut Vec<Diagnostic>,
}

impl Merging<'_> {
    fn resolve(&mut self, node: &Node) -> Table {
        let Some(own) = node.table() else { return Table::default() };
        let mut merged = Table::default();
        let parents = match own.get("inherits").map(|node| &node.value) {
            Some(Value::Array(parents)) => &parents[..],
            _ => &[],
        };
        for parent in parents {
            let Some(name) = parent.text() else { continue };
            let Some((_, found)) = self.templates.get(name).or_else(|| self.images.get(name)) else {
                let error =
                    parent.place.error("unknown-template", format!("there is no template or image `{name}`"));
                let near = nearest(name, self.templates.keys().chain(self.images.keys()).copied());
                self.diagnostics.push(match near {
                    Some(near) => error.with_help(format!("did you mean `{near}`?")),
                    None => error,
                });
                continue;
            };
            if let Some(at) = self.path.iter().position(|known| known == name) {
                let names: Vec<_> = self.path[at..]
                    .iter()
                    .map(String::as_str)
                    .chain([name])
                    .map(|name| format!("`{name}`"))
                    .collect();
                let text = format!("`{name}` inherits from itself: {}", names.join(" -> "));
                self.diagnostics.push(parent.place.error("inheritance-cycle", text));
                continue;
            }
            let below = if let Some(done) = self.done.get(name) {
                done.clone()
            } else {
                self.path.push(name.to_owned());
                let below = self.resolve(found);
                self.path.pop();
                self.done.insert(name.to_owned(), below.clone());
                below
            };
            add(&mut merged, below, Handed::Down);
        }
        add(&mut merged, own.clone(), Handed::Own);
        merged
    }
}

/// Whose options are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handed {
    /// Another's.
    Down,
    /// Its own.
    Own,
}

/// Adds options to those that are there; the later ones count.
pub(super) fn add(merged: &mut Table, later: Table, handed: Handed) {
    for (key, node) in later.0 {
        if handed == Handed::Down && OWN.contains(&key.name.as_str()) {
            continue;
        }
        let known = merged.0.iter_mut().find(|(known, _)| known.name == key.name).map(|(_, node)| node);
        match (known.map(|known| &mut known.value), node.value) {
            (Some(Value::Table(known)), Value::Table(more)) if JOINED.contains(&key.name.as_str()) => {
                more.0.into_iter().for_each(|(key, node)| known.set(key, node));
            }
            (Some(Value::Array(known)), Value::Array(more)) if ADDED.contains(&key.name.as_str()) => {
                // What comes by two ways comes once.
                known.extend(more.into_iter().filter(|node| !known.contains(node)).collect::<Vec<_>>());
            }
            (_, value) => merged.set(key, Node { place: node.place, value }),
        }
    }
}
