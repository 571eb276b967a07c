//! The lists of a build.

use super::{Fatal, Project};
use crate::term::Term;
use crate::yaml::{Node, NodeKind};

impl Project<'_> {
    /// Reads a list of texts, or one text; what is no text is left out.
    pub(super) fn texts(&mut self, node: &Node) -> Result<Vec<Term>, Fatal> {
        let mut texts = Vec::new();
        let items = match &node.kind {
            NodeKind::List(items) => items.as_slice(),
            NodeKind::Null | NodeKind::Text(_) | NodeKind::Map(_) => std::slice::from_ref(node),
        };
        for item in items.iter().filter(|item| item.text().is_some()) {
            let text = self.variables.term(item)?;
            if text != Term::text("") && !texts.contains(&text) {
                texts.push(text);
            }
        }
        Ok(texts)
    }

    /// Reads a list of texts, or one text with white space between them, as `x-bake` allows it.
    pub(super) fn words(&mut self, node: &Node) -> Result<Vec<Term>, Fatal> {
        let Some(text) = node.text() else { return self.texts(node) };
        let mut words = Vec::new();
        for word in text.split_whitespace() {
            let word = Node { kind: NodeKind::Text(word.to_owned()), ..node.clone() };
            words.push(self.variables.term(&word)?);
        }
        Ok(words)
    }

    /// Reads a map of texts.
    pub(super) fn map(&mut self, node: &Node) -> Result<Vec<(String, Term)>, Fatal> {
        let mut pairs = Vec::new();
        for (key, value) in node.pairs() {
            pairs.push((key.name.clone(), self.variables.term(value)?));
        }
        Ok(pairs)
    }
}

/// Adds to a list what is not in it.
pub(super) fn add(list: &mut Vec<Term>, more: Vec<Term>) {
    for item in more {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}
