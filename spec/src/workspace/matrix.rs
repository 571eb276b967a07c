//! A matrix: one table, many images.

use super::expression::{Scope, text_of};
use super::node::{Key, Node, Table, Value};
use crate::Diagnostic;

/// Most images of one matrix.
const LIMIT: usize = 1000;

/// One combination of a matrix: variables with their values.
pub(super) type Combination = Vec<(String, Value)>;

/// Lists the combinations of a matrix, in the order of the text: the last list runs fastest.
pub(super) fn combinations(
    node: &Node,
    scope: &Scope<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Combination> {
    let Some(table) = node.table() else { return Vec::new() };
    let table = scope.expand_table(table, diagnostics);
    let mut all: Vec<Combination> = vec![Vec::new()];
    let mut axes = 0;
    for (key, list) in table.0.iter().filter(|(key, _)| !matches!(key.name.as_str(), "include" | "exclude")) {
        let Value::Array(items) = &list.value else {
            let text = format!("`{}` is {}, where a list of values is wanted", key.name, list.kind());
            diagnostics.push(list.place.error("wrong-type", text));
            continue;
        };
        if items.is_empty() {
            diagnostics.push(list.place.error("empty-matrix", format!("`{}` has no values", key.name)));
        }
        axes += 1;
        if all.len().saturating_mul(items.len()) > LIMIT {
            diagnostics
                .push(node.place.error("large-matrix", format!("the matrix makes more than {LIMIT} images")));
            return Vec::new();
        }
        all = all
            .iter()
            .flat_map(|combination| {
                items.iter().map(|item| {
                    let mut longer = combination.clone();
                    longer.push((key.name.clone(), item.value.clone()));
                    longer
                })
            })
            .collect();
    }
    if axes == 0 {
        all.clear();
    }
    for excluded in tables(&table, "exclude") {
        let before = all.len();
        all.retain(|combination| !excluded.0.iter().all(|(key, node)| has(combination, key, node)));
        if all.len() == before
            && let Some((key, _)) = excluded.0.first()
        {
            diagnostics
                .push(key.place.warning("useless-exclude", "no combination of the matrix has these values"));
        }
    }
    for included in tables(&table, "include") {
        include(&mut all, included);
    }
    if all.is_empty() {
        diagnostics.push(node.place.error("empty-matrix", "the matrix makes no image"));
    }
    all
}

fn tables<'t>(table: &'t Table, name: &str) -> Vec<&'t Table> {
    match table.get(name).map(|node| &node.value) {
        Some(Value::Array(items)) => items.iter().filter_map(Node::table).collect(),
        _ => Vec::new(),
    }
}

fn has(combination: &Combination, key: &Key, node: &Node) -> bool {
    combination.iter().any(|(name, value)| *name == key.name && text_of(value) == text_of(&node.value))
}

/// As GitHub does it: adds values to the combinations that it does not contradict and shares a value with, or is one of its
/// own.
fn include(all: &mut Vec<Combination>, included: &Table) {
    let names_of =
        |combination: &Combination, key: &Key| combination.iter().any(|(name, _)| *name == key.name);
    let fits: Vec<usize> = (0..all.len())
        .filter(|&at| {
            let shared: Vec<_> = included.0.iter().filter(|(key, _)| names_of(&all[at], key)).collect();
            !shared.is_empty()
                && shared.len() < included.0.len()
                && shared.iter().all(|(key, node)| has(&all[at], key, node))
        })
        .collect();
    let values = |combination: &mut Combination| {
        for (key, node) in &included.0 {
            if !names_of(combination, key) {
                combination.push((key.name.clone(), node.value.clone()));
            }
        }
    };
    if fits.is_empty() {
        let mut own = Combination::new();
        values(&mut own);
        all.push(own);
        return;
    }
    for at in fits {
        values(&mut all[at]);
    }
}
