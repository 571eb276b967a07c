//! How compose files are merged, and services extended.

use crate::ConvertError;
use crate::report::Report;
use crate::yaml::{Key, Node, NodeKind};

/// Writes the services of a file in the long form, in which they can be merged.
pub(super) fn normal(mut document: Node) -> Node {
    let NodeKind::Map(top) = &mut document.kind else { return document };
    for (_, services) in top.iter_mut().filter(|(key, _)| key.name == "services") {
        let NodeKind::Map(services) = &mut services.kind else { continue };
        for (_, service) in services.iter_mut() {
            let NodeKind::Map(fields) = &mut service.kind else { continue };
            for (_, build) in fields.iter_mut().filter(|(key, _)| key.name == "build") {
                long_build(build);
            }
        }
    }
    document
}

fn long_build(build: &mut Node) {
    if let NodeKind::Text(_) = build.kind {
        let context = build.clone();
        let key = Key { place: build.place, name: "context".to_owned() };
        build.kind = NodeKind::Map(vec![(key, context)]);
    }
    if let NodeKind::Map(fields) = &mut build.kind {
        let lists = ["args", "labels", "additional_contexts", "extra_hosts"];
        for (_, field) in fields.iter_mut().filter(|(key, _)| lists.contains(&key.name.as_str())) {
            long_map(field);
        }
    }
}

/// Makes a map of a list of `KEY=VALUE`.
fn long_map(node: &mut Node) {
    let NodeKind::List(items) = &node.kind else { return };
    let mut pairs: Vec<(Key, Node)> = Vec::new();
    for item in items {
        let Some(text) = item.text() else { return };
        let (name, kind) = match text.split_once('=') {
            Some((name, value)) => (name, NodeKind::Text(value.to_owned())),
            None => (text, NodeKind::Null),
        };
        let value = Node { place: item.place, tag: None, kind };
        match pairs.iter_mut().find(|(key, _)| key.name == name) {
            Some((_, old)) => *old = value,
            None => pairs.push((Key { place: item.place, name: name.to_owned() }, value)),
        }
    }
    node.kind = NodeKind::Map(pairs);
}

/// Merges a later node into an earlier one: maps by key, lists one behind the other, and texts anew.
pub(super) fn merge(before: Node, after: Node) -> Node {
    if after.tag.as_deref() == Some("!override") {
        return after;
    }
    match (before.kind, after.kind) {
        (NodeKind::Map(mut pairs), NodeKind::Map(more)) => {
            for (key, value) in more {
                let known = pairs.iter().position(|(known, _)| known.name == key.name);
                match known {
                    _ if value.tag.as_deref() == Some("!reset") => {
                        if let Some(at) = known {
                            pairs.remove(at);
                        }
                    }
                    Some(at) => {
                        let (key, old) = pairs.remove(at);
                        pairs.insert(at, (key, merge(old, value)));
                    }
                    None => pairs.push((key, value)),
                }
            }
            Node { place: before.place, tag: before.tag, kind: NodeKind::Map(pairs) }
        }
        (NodeKind::List(mut items), NodeKind::List(more)) => {
            for item in more {
                if !items.iter().any(|known| known.kind == item.kind) {
                    items.push(item);
                }
            }
            Node { place: before.place, tag: before.tag, kind: NodeKind::List(items) }
        }
        (kind, NodeKind::Null) => Node { place: before.place, tag: before.tag, kind },
        (_, kind) => Node { place: after.place, tag: after.tag, kind },
    }
}

/// Returns a service with all that it extends.
///
/// # Errors
/// A service that is not there, or that extends itself.
pub(super) fn extended(
    services: &Node,
    name: &str,
    service: &Node,
    report: &mut Report,
) -> Result<Node, ConvertError> {
    let mut chain = vec![(name.to_owned(), service.clone())];
    while let Some((name, last)) = chain.last()
        && let Some(extends) = last.get("extends")
    {
        let base = extends.text().or_else(|| extends.get("service").and_then(Node::text));
        let base = base.ok_or_else(|| report.error(extends.place, "`extends` names no service"))?;
        if let Some(file) = extends.get("file").and_then(Node::text) {
            let what = format!("`extends` of service `{name}` is left out: `{file}` has to be given too");
            report.note(extends.place, what);
            break;
        }
        let Some(found) = services.get(base) else {
            return Err(report.error(extends.place, format!("there is no service `{base}` to extend")));
        };
        if chain.iter().any(|(known, _)| known == base) {
            return Err(report.error(extends.place, format!("service `{base}` extends itself")));
        }
        chain.push((base.to_owned(), found.clone()));
    }
    let mut result: Option<Node> = None;
    for (_, node) in chain.into_iter().rev() {
        result = Some(match result {
            None => node,
            Some(before) => merge(before, node),
        });
    }
    Ok(result.unwrap_or_else(|| service.clone()))
}
