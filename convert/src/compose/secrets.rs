//! Secrets and agents of a build.

use super::{Fatal, Project};
use crate::term::Term;
use crate::words;
use crate::yaml::{Node, NodeKind};

impl Project<'_> {
    /// Writes the secrets of a build as words; each that cannot be is returned with the reason.
    pub(super) fn secrets(&mut self, node: &Node) -> Result<(Vec<Term>, Vec<Fatal>), Fatal> {
        let mut secrets = Vec::new();
        let mut notes = Vec::new();
        let NodeKind::List(items) = &node.kind else {
            notes.push((node.place, "is left out: it is no list".to_owned()));
            return Ok((secrets, notes));
        };
        for item in items {
            let Some(source) = item.text().or_else(|| item.get("source").and_then(Node::text)) else {
                notes.push((item.place, "has an item that is left out: it names no secret".to_owned()));
                continue;
            };
            if let Some(target) = item.get("target").and_then(Node::text).filter(|target| *target != source) {
                notes.push((item.place, format!("has `{source}` under its own name, and not as `{target}`")));
            }
            let Some(secret) = self.whole.get("secrets").and_then(|secrets| secrets.get(source)) else {
                notes.push((
                    item.place,
                    format!("has an item that is left out: there is no secret `{source}`"),
                ));
                continue;
            };
            let id = ("id".to_owned(), Term::text(source));
            let fields = if let Some(file) = secret.get("file") {
                vec![id, ("src".to_owned(), self.variables.term(file)?)]
            } else if let Some(variable) = secret.get("environment") {
                let kind = ("type".to_owned(), Term::text("env"));
                vec![kind, id, ("env".to_owned(), self.variables.term(variable)?)]
            } else {
                let what =
                    format!("has an item that is left out: `{source}` is neither a file nor a variable");
                notes.push((item.place, what));
                continue;
            };
            secrets.extend(words::fields(&fields));
        }
        Ok((secrets, notes))
    }

    /// Writes the agents of a build as words.
    pub(super) fn ssh(&mut self, node: &Node) -> Result<Vec<Term>, Fatal> {
        if !matches!(node.kind, NodeKind::Map(_)) {
            return self.texts(node);
        }
        let mut agents = Vec::new();
        for (key, path) in node.pairs() {
            let path = self.variables.term(path)?;
            agents.extend(if path == Term::text("") {
                Some(Term::text(&key.name))
            } else {
                words::fields(&[(key.name.clone(), path)])
            });
        }
        Ok(agents)
    }
}
