//! From the attributes of a target to the options of an image.

use super::attributes::{Fatal, Items, Reader};
use crate::eval::put;
use crate::expr::Attribute;
use crate::place::Place;
use crate::say::as_text;
use crate::term::{Kind, Term};
use crate::words;

/// What `kairn.toml` has no word for.
const UNKNOWN: &str = "is left out: `kairn.toml` has no word for it";

impl Reader<'_, '_> {
    /// Reads an attribute.
    ///
    /// # Errors
    /// A mistake that leaves no sense in it.
    pub(super) fn option(&mut self, attribute: &Attribute) -> Result<(), Fatal> {
        match attribute.name.as_str() {
            "matrix" | "name" => Ok(()),
            "inherits" => self.inherits(attribute),
            "description" => self.set_text("description", attribute),
            "context" => self.set_text("context", attribute),
            "dockerfile" => self.set_text("dockerfile", attribute),
            "dockerfile-inline" => self.set_text("dockerfile-inline", attribute),
            "target" => self.set_text("target", attribute),
            "network" => self.network(attribute),
            "pull" => self.set_boolean("pull", attribute),
            "no-cache" => self.set_boolean("no-cache", attribute),
            "tags" => self.set_list("tags", attribute, |term| term),
            "platforms" => self.set_list("platforms", attribute, |term| term),
            "no-cache-filter" => self.set_list("no-cache-filter", attribute, |term| term),
            "cache-from" => self.set_list("cache-from", attribute, words::cache),
            "cache-to" => self.set_list("cache-to", attribute, words::cache),
            "output" => self.set_list("outputs", attribute, words::output),
            "secret" => self.set_list("secrets", attribute, |term| term),
            "ssh" => self.set_list("ssh", attribute, |term| term),
            "args" => self.set_map("args", attribute),
            "labels" => self.set_map("labels", attribute),
            "contexts" => self.contexts(attribute),
            "annotations" => self.annotations(attribute),
            "entitlements" => self.entitlements(attribute),
            "call" => self.call(attribute),
            "resources" => self.resources(attribute),
            name @ ("attest" | "policy" | "extra-hosts" | "shm-size" | "ulimits") => {
                self.note(attribute.place, name, UNKNOWN);
                Ok(())
            }
            name => {
                self.note(attribute.place, name, "is left out: it is unknown");
                Ok(())
            }
        }
    }

    fn set(&mut self, option: &'static str, value: Term) {
        self.image.options.insert(option, value);
    }

    fn set_text(&mut self, option: &'static str, attribute: &Attribute) -> Result<(), Fatal> {
        match self.text(attribute)? {
            None => {}
            Some(Term::Text(text)) if text.is_empty() && self.inherits => {
                let what = "is left out: an empty text cannot undo what is inherited";
                self.note(attribute.place, option, what);
            }
            Some(Term::Text(text)) if text.is_empty() => {}
            Some(text) => self.set(option, words::replace_start(text, "cwd://", "")),
        }
        Ok(())
    }

    fn set_boolean(&mut self, option: &'static str, attribute: &Attribute) -> Result<(), Fatal> {
        if let Some(value) = self.boolean(attribute)? {
            self.set(option, value);
        }
        Ok(())
    }

    /// Reads a list of texts, of which some may be written as tables.
    fn set_list(
        &mut self,
        option: &'static str,
        attribute: &Attribute,
        word: fn(Term) -> Term,
    ) -> Result<(), Fatal> {
        let items = match self.items(attribute)? {
            Items::Unset => return Ok(()),
            Items::Symbol(list) => {
                self.set(option, list);
                return Ok(());
            }
            Items::Known(items) => items,
        };
        let mut texts = Vec::new();
        for (place, item) in items {
            let text = match item {
                Term::Map(pairs) => self.fields(attribute, &pairs, place),
                Term::Null | Term::List(_) => None,
                Term::Symbol(_) => Some(as_text(item)),
                scalar => scalar.as_text().map(Term::Text),
            };
            let Some(text) = text.filter(|text| *text != Term::text("")) else { continue };
            let text = word(text);
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        self.set(option, Term::List(texts));
        Ok(())
    }

    /// Writes a table as words.
    fn fields(&mut self, attribute: &Attribute, pairs: &[(String, Term)], place: Place) -> Option<Term> {
        let known = |wanted: &str| pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
        if attribute.name == "ssh" {
            let id = known("id").and_then(Term::as_text).unwrap_or_else(|| "default".to_owned());
            let paths = match known("paths") {
                Some(Term::List(paths)) => paths.iter().filter_map(Term::as_text).collect(),
                _ => Vec::new(),
            };
            return Some(Term::Text(if paths.is_empty() { id } else { format!("{id}={}", paths.join(",")) }));
        }
        let fields = words::fields(pairs);
        if fields.is_none() {
            self.note(place, &attribute.name, "has an item that is left out: it is no table of texts");
        }
        fields
    }

    fn set_map(&mut self, option: &'static str, attribute: &Attribute) -> Result<(), Fatal> {
        let mut pairs = Vec::new();
        for (name, place, value) in self.pairs(attribute)? {
            let value = match value {
                Term::Null => continue,
                Term::Symbol(symbol) if symbol.now == Some(Term::Null) => {
                    let what = format!(
                        "is left out: it is null where nothing sets `{}`",
                        symbol.variables().join("`, `")
                    );
                    self.note(place, &format!("{option}.{name}"), &what);
                    continue;
                }
                Term::Symbol(symbol) if matches!(symbol.kind, Kind::List | Kind::Table) => None,
                Term::List(_) | Term::Map(_) => None,
                scalar if option == "labels" && !scalar.is_symbolic() => scalar.as_text().map(Term::Text),
                scalar => Some(scalar),
            };
            match value {
                Some(value) => put(&mut pairs, name, value),
                None => self.note(place, &format!("{option}.{name}"), "is left out: it is not a text"),
            }
        }
        if !pairs.is_empty() {
            self.set(option, Term::Map(pairs));
        }
        Ok(())
    }

    fn inherits(&mut self, attribute: &Attribute) -> Result<(), Fatal> {
        let items = match self.items(attribute)? {
            Items::Unset => return Ok(()),
            Items::Known(items) => items,
            Items::Symbol(list) => {
                if let Some(Term::List(items)) = list.now() {
                    self.note(attribute.place, "inherits", "is as it is with the variables' values of now");
                    items.into_iter().map(|item| (attribute.place, item)).collect()
                } else {
                    self.set_open(attribute.place, "`inherits` cannot depend on a matrix");
                    Vec::new()
                }
            }
        };
        let mut parents = Vec::new();
        for (place, item) in items {
            if let Some(name) = self.now("inherits", place, &item)
                && !name.is_empty()
                && !parents.contains(&Term::text(&name))
            {
                parents.push(Term::Text(name));
            }
        }
        if !parents.is_empty() {
            self.set("inherits", Term::List(parents));
        }
        Ok(())
    }

    fn network(&mut self, attribute: &Attribute) -> Result<(), Fatal> {
        match self.text(attribute)? {
            None => {}
            Some(Term::Text(mode)) if mode.is_empty() => {}
            Some(Term::Text(mode)) if !matches!(mode.as_str(), "default" | "none" | "host") => {
                self.note(attribute.place, "network", &format!("is left out: there is no network `{mode}`"));
            }
            Some(value) => self.set("network", value),
        }
        Ok(())
    }

    fn contexts(&mut self, attribute: &Attribute) -> Result<(), Fatal> {
        let mut pairs = Vec::new();
        for (name, place, value) in self.pairs(attribute)? {
            match value {
                Term::Null => {}
                Term::Text(text) if text.is_empty() => {}
                Term::Text(_) | Term::Symbol(_) => put(&mut pairs, name, context(as_text(value))),
                _ => self.note(place, &format!("contexts.{name}"), "is left out: it is not a text"),
            }
        }
        if !pairs.is_empty() {
            self.set("contexts", Term::Map(pairs));
        }
        Ok(())
    }

    fn annotations(&mut self, attribute: &Attribute) -> Result<(), Fatal> {
        let items = match self.items(attribute)? {
            Items::Unset => return Ok(()),
            Items::Known(items) => items,
            Items::Symbol(_) => {
                self.note(
                    attribute.place,
                    "annotations",
                    "is left out: a list in a variable cannot be a table",
                );
                return Ok(());
            }
        };
        let mut pairs = Vec::new();
        for (place, item) in items {
            let Some((key, value)) = split_pair(&item) else {
                let empty = item == Term::Null || item == Term::text("");
                if !empty {
                    self.note(place, "annotations", "has an item that is left out: it is not `key=value`");
                }
                continue;
            };
            match annotation_keys(&key) {
                Some(keys) => keys.into_iter().for_each(|key| put(&mut pairs, key, value.clone())),
                None => {
                    self.note(
                        place,
                        "annotations",
                        &format!(
                            "has an item that is left out: `{key}` is not of the index or the manifests"
                        ),
                    );
                }
            }
        }
        if !pairs.is_empty() {
            self.set("annotations", Term::Map(pairs));
        }
        Ok(())
    }

    fn entitlements(&mut self, attribute: &Attribute) -> Result<(), Fatal> {
        let items = match self.items(attribute)? {
            Items::Unset => return Ok(()),
            Items::Known(items) => items,
            Items::Symbol(_) => {
                self.note(attribute.place, "entitlements", "is left out: it depends on a variable");
                return Ok(());
            }
        };
        let mut allowed = Vec::new();
        for (place, item) in items {
            match item.as_text().as_deref() {
                Some("network.host" | "security.insecure") => allowed.push(item),
                Some("") | None if !item.is_symbolic() => {}
                _ => {
                    let name = self.now("entitlements", place, &item).unwrap_or_default();
                    self.note(place, "entitlements", &format!("has an item that is left out: `{name}`"));
                }
            }
        }
        if !allowed.is_empty() {
            self.set("allow", Term::List(allowed));
        }
        Ok(())
    }

    fn call(&mut self, attribute: &Attribute) -> Result<(), Fatal> {
        match self.text(attribute)?.and_then(|value| value.as_text()).as_deref() {
            Some("build" | "") => {}
            Some(other) => {
                let what = format!("is left out: `{other}` is asked for on the command line");
                self.note(attribute.place, "call", &what);
            }
            None => self.note(attribute.place, "call", UNKNOWN),
        }
        Ok(())
    }

    fn resources(&mut self, attribute: &Attribute) -> Result<(), Fatal> {
        for (name, place, value) in self.pairs(attribute)? {
            match name.as_str() {
                "memory" if value.as_text().is_some() => self.set("memory", value),
                "cpu" | "cpus"
                    if value.as_number().is_some_and(|value| value >= 1.0 && value.fract() == 0.0) =>
                {
                    self.set("cpu", value);
                }
                _ => self.note(place, &format!("resources.{name}"), UNKNOWN),
            }
        }
        Ok(())
    }
}

/// Writes the source of a context.
pub(crate) fn context(value: Term) -> Term {
    let value = words::replace_start(value, "target:", "image:");
    let value = words::replace_start(value, "service:", "image:");
    words::replace_start(value, "cwd://", "")
}

/// Splits a text at its first `=`, which is not in an expression.
pub(crate) fn split_pair(item: &Term) -> Option<(String, Term)> {
    match item {
        Term::Text(text) => text.split_once('=').map(|(key, value)| (key.to_owned(), Term::text(value))),
        Term::Symbol(symbol) => {
            let (crate::say::Piece::Text(first), rest) = symbol.pieces.split_first()? else { return None };
            let (key, start) = first.split_once('=')?;
            let mut pieces = vec![crate::say::Piece::Text(start.to_owned())];
            pieces.extend(rest.iter().cloned());
            let now = symbol.now.as_ref().and_then(Term::as_text);
            let now = now.as_deref().and_then(|now| now.split_once('=')).map(|(_, value)| Term::text(value));
            Some((key.to_owned(), crate::say::join_pieces(pieces, now)?))
        }
        _ => None,
    }
}

/// Returns the keys of an annotation, which may be for several places; `None` if there is no such place.
fn annotation_keys(key: &str) -> Option<Vec<String>> {
    let Some((places, name)) = key.split_once(':') else { return Some(vec![key.to_owned()]) };
    places
        .split(',')
        .map(|place| matches!(place, "index" | "manifest").then(|| format!("{place}:{name}")))
        .collect()
}
