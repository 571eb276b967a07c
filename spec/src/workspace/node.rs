//! TOML as a tree whose every value knows its place.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::{Diagnostic, FileId, Span};

/// Where something stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file.
    pub file: FileId,
    /// Its bytes.
    pub span: Span,
}

impl Place {
    /// Makes an error at this place.
    pub fn error(self, code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(code, self.span, message).in_file(self.file)
    }

    /// Makes a warning at this place.
    pub fn warning(self, code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::warning(code, self.span, message).in_file(self.file)
    }
}

/// A value with its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// A TOML value; dates are text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Array(Vec<Node>),
    Table(Table),
}

/// The entries of a table, in the order of the text, each key once.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Table(pub(super) Vec<(Key, Node)>);

/// A key with its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) place: Place,
}

impl Table {
    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        self.0.iter().find_map(|(key, node)| (key.name == name).then_some(node))
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<(Key, Node)> {
        let at = self.0.iter().position(|(key, _)| key.name == name)?;
        Some(self.0.remove(at))
    }

    /// Sets a value; one that is there keeps its place in the order.
    pub(super) fn set(&mut self, key: Key, node: Node) {
        match self.0.iter_mut().find(|(known, _)| known.name == key.name) {
            Some(entry) => *entry = (key, node),
            None => self.0.push((key, node)),
        }
    }

    /// Returns a table's entries below a key; none where there is no such table.
    pub(super) fn below(&self, name: &str) -> &[(Key, Node)] {
        match self.get(name).map(|node| &node.value) {
            Some(Value::Table(table)) => &table.0,
            _ => &[],
        }
    }
}

impl Node {
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// Names the kind of value, for people.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::String(_) => "a string",
            Value::Integer(_) | Value::Float(_) => "a number",
            Value::Boolean(_) => "a boolean",
            Value::Array(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// Reads the text of a file; what could be read of it, and its mistakes.
pub(super) fn parse(text: &str, file: FileId) -> (Table, Vec<Diagnostic>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let diagnostics = errors
        .into_iter()
        .map(|error| {
            let span = error.span().unwrap_or_default();
            let place = Place { file, span: Span::new(span.start, span.end) };
            place.error("invalid-toml", error.message().trim_end_matches('.').to_owned())
        })
        .collect();
    (convert_table(table.get_ref(), file), diagnostics)
}

fn convert_table(table: &DeTable<'_>, file: FileId) -> Table {
    let entries = table.iter().map(|(key, value)| {
        let key = Key { name: key.get_ref().to_string(), place: place(key.span(), file) };
        (key, convert(value, file))
    });
    Table(entries.collect())
}

fn convert(value: &Spanned<DeValue<'_>>, file: FileId) -> Node {
    let place = place(value.span(), file);
    let value = match value.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::String(number.to_string()), Value::Integer),
        DeValue::Float(number) => {
            let parsed = number.as_str().parse::<f64>().ok().filter(|number| number.is_finite());
            parsed.map_or_else(|| Value::String(number.to_string()), Value::Float)
        }
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Datetime(time) => Value::String(time.to_string()),
        DeValue::Array(items) => Value::Array(items.iter().map(|item| convert(item, file)).collect()),
        DeValue::Table(table) => Value::Table(convert_table(table, file)),
    };
    Node { place, value }
}

fn place(span: std::ops::Range<usize>, file: FileId) -> Place {
    Place { file, span: Span::new(span.start, span.end) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_and_places() {
        let text = "b = 1\na = [\"x\", true]\n[t]\n\"z z\" = 1.5\n";
        let (table, errors) = parse(text, FileId(3));
        assert!(errors.is_empty(), "{errors:?}");
        let names: Vec<_> = table.0.iter().map(|(key, _)| key.name.as_str()).collect();
        assert_eq!(names, ["b", "a", "t"]);
        let (key, node) = &table.0[1];
        assert_eq!(&text[key.place.span.start..key.place.span.end], "a");
        assert_eq!(&text[node.place.span.start..node.place.span.end], "[\"x\", true]");
        assert_eq!(node.place.file, FileId(3));
        assert_eq!(table.below("t")[0].0.name, "z z");
    }

    #[test]
    fn finds_every_mistake_of_the_syntax() {
        let (table, errors) = parse("a = \nb = 'x'\nb = 2\n[c", FileId::default());
        assert!(errors.len() >= 2, "{errors:?}");
        assert!(table.get("b").is_some());
    }
}
