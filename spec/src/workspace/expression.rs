//! `${..}` in strings: names, literals and a small set of functions.
//!
//! `$${` is a literal `${`. A string that is nothing but one expression has its value, whatever that is; else values
//! become text.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use super::node::{Key, Node, Place, Table, Value};
use crate::Diagnostic;
use crate::suggest::nearest;

/// Deepest nesting of calls.
const DEPTH: usize = 32;
/// Longest text that an expression may come to, in bytes.
const TEXT_BYTES: usize = 1 << 20;
/// Longest list that an expression may come to.
const LIST: usize = 10_000;

/// The functions, each with how many arguments it takes at least and at most, and what it gives.
pub(super) const FUNCTIONS: &[(&str, usize, usize, &str)] = &[
    ("and", 1, usize::MAX, "`and(a, b, ..)`: whether all are true"),
    ("concat", 1, usize::MAX, "`concat(list, list, ..)`: the lists in one; an element counts as a list"),
    ("contains", 2, 2, "`contains(list, item)`: whether a list has an element, or a text a part"),
    ("default", 1, usize::MAX, "`default(a, b, ..)`: the first that is not empty"),
    ("eq", 2, 2, "`eq(a, b)`: whether both are the same text"),
    ("if", 3, 3, "`if(condition, a, b)`: `a` if the condition is true, else `b`"),
    ("item", 2, 2, "`item(list, n)`: its element `n`, the first being 0"),
    ("join", 2, 2, "`join(list, separator)`: the elements as one text"),
    ("lower", 1, 1, "`lower(text)`: in lower case"),
    ("not", 1, 1, "`not(a)`: whether it is not true"),
    ("or", 1, usize::MAX, "`or(a, b, ..)`: whether one is true"),
    ("replace", 3, 3, "`replace(text, from, to)`: every `from` replaced"),
    ("sanitize", 1, 1, "`sanitize(text)`: all but letters, digits, `_` and `-` replaced by `_`"),
    ("short", 2, 2, "`short(text, n)`: its first `n` characters"),
    ("split", 2, 2, "`split(text, separator)`: a list of its parts"),
    ("upper", 1, 1, "`upper(text)`: in upper case"),
];

/// The names that expressions see, and which of them were used.
#[derive(Debug, Default)]
pub(super) struct Scope<'p> {
    outer: Option<&'p Scope<'p>>,
    names: BTreeMap<String, Value>,
    used: RefCell<BTreeSet<String>>,
    /// Names that have no value yet, and those of them that an expression asked for.
    awaited: BTreeSet<String>,
    missed: RefCell<BTreeSet<String>>,
    /// How deep in texts within expressions it is.
    depth: Cell<usize>,
}

impl<'p> Scope<'p> {
    pub(super) fn inside(outer: &'p Scope<'p>) -> Self {
        Self { outer: Some(outer), ..Self::default() }
    }

    pub(super) fn set(&mut self, name: impl Into<String>, value: Value) {
        let name = name.into();
        self.awaited.remove(&name);
        self.names.insert(name, value);
    }

    /// Says which names will be set.
    pub(super) fn await_names<'n>(&mut self, names: impl Iterator<Item = &'n str>) {
        self.awaited.extend(names.map(str::to_owned));
    }

    /// Returns the awaited names that expressions asked for since the last call.
    pub(super) fn take_missed(&self) -> BTreeSet<String> {
        self.missed.take()
    }

    /// Returns a value, and notes that it was used.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        match self.names.get(name) {
            Some(value) => {
                self.used.borrow_mut().insert(name.to_owned());
                Some(value)
            }
            None => self.outer.and_then(|outer| outer.get(name)),
        }
    }

    pub(super) fn is_used(&self, name: &str) -> bool {
        self.used.borrow().contains(name)
    }

    /// Returns the names and values, those of the outer scopes first.
    pub(super) fn all(&self) -> BTreeMap<&str, &Value> {
        let mut all = self.outer.map(Scope::all).unwrap_or_default();
        all.extend(self.names.iter().map(|(name, value)| (name.as_str(), value)));
        all
    }

    /// Replaces the expressions in all strings of a tree, also in keys; every mistake goes to the diagnostics.
    pub(super) fn expand(&self, node: &Node, diagnostics: &mut Vec<Diagnostic>) -> Node {
        let value = match &node.value {
            Value::String(text) if text.contains("${") => match self.text(text, node.place) {
                Ok(value) => value,
                Err(error) => {
                    diagnostics.push(error);
                    Value::String(String::new())
                }
            },
            Value::Array(items) => self.items(items, diagnostics),
            Value::Table(table) => Value::Table(self.expand_table(table, diagnostics)),
            other => other.clone(),
        };
        Node { place: node.place, value }
    }

    /// Expands the elements of a list; one that is nothing but an expression for a list becomes its elements, and one that
    /// comes to nothing is left out.
    fn items(&self, items: &[Node], diagnostics: &mut Vec<Diagnostic>) -> Value {
        let mut expanded = Vec::new();
        for item in items {
            let is_expression = item.text().is_some_and(|text| text.contains("${"));
            match self.expand(item, diagnostics) {
                Node { value: Value::Array(inner), .. } if is_expression => expanded.extend(inner),
                // So that a condition can leave an element out.
                Node { value: Value::String(text), .. } if is_expression && text.is_empty() => {}
                other => expanded.push(other),
            }
        }
        Value::Array(expanded)
    }

    pub(super) fn expand_table(&self, table: &Table, diagnostics: &mut Vec<Diagnostic>) -> Table {
        let mut expanded = Table::default();
        for (key, node) in &table.0 {
            let name = match key.name.contains("${").then(|| self.text(&key.name, key.place)) {
                Some(Ok(value)) => text_of(&value),
                Some(Err(error)) => {
                    diagnostics.push(error);
                    continue;
                }
                None => key.name.clone(),
            };
            expanded.set(Key { name, place: key.place }, self.expand(node, diagnostics));
        }
        expanded
    }

    /// Replaces the expressions in a text.
    pub(super) fn text(&self, text: &str, place: Place) -> Result<Value, Diagnostic> {
        let mut out = String::new();
        let mut only = None;
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                out.push_str(&rest[..at]);
                out.push('{');
                rest = &rest[at + 2..];
                continue;
            }
            out.push_str(&rest[..at]);
            let mut parser = Parser { scope: self, place, rest: &rest[at + 2..], depth: 0 };
            let value = parser.expression()?;
            parser.expect('}')?;
            rest = parser.rest;
            if at == 0 && rest.is_empty() && out.is_empty() {
                only = Some(value);
            } else {
                out.push_str(&as_text(&value, place)?);
            }
            if out.len() > TEXT_BYTES {
                break;
            }
        }
        out.push_str(rest);
        let value = only.unwrap_or(Value::String(out));
        match &value {
            Value::String(text) if text.len() > TEXT_BYTES => {
                Err(place.error("large-value", format!("this comes to more than {TEXT_BYTES} bytes of text")))
            }
            Value::Array(items) if items.len() > LIST => {
                Err(place.error("large-value", format!("this comes to a list of more than {LIST} elements")))
            }
            _ => Ok(value),
        }
    }
}

struct Parser<'s, 'p> {
    scope: &'s Scope<'p>,
    place: Place,
    rest: &'s str,
    depth: usize,
}

impl Parser<'_, '_> {
    fn error<T>(&self, message: impl Into<String>) -> Result<T, Diagnostic> {
        Err(self.place.error("invalid-expression", message))
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn expect(&mut self, wanted: char) -> Result<(), Diagnostic> {
        self.skip_blanks();
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => match self.rest.chars().next() {
                Some(found) => self.error(format!("`{found}` where `{wanted}` should be in an expression")),
                None => self.error(format!("the expression is not closed: `{wanted}` is missing")),
            },
        }
    }

    fn expression(&mut self) -> Result<Value, Diagnostic> {
        self.depth += 1;
        if self.depth > DEPTH {
            return self.error(format!("an expression is nested more than {DEPTH} deep"));
        }
        self.skip_blanks();
        let value = match self.rest.chars().next() {
            Some('"') => self.string(),
            Some(ch) if ch.is_ascii_digit() || ch == '-' => self.number(),
            Some(ch) if ch.is_alphabetic() || ch == '_' => self.name(),
            Some(other) => self.error(format!("`{other}` begins no expression")),
            None => self.error("the expression is not closed: `}` is missing"),
        }?;
        self.depth -= 1;
        Ok(value)
    }

    fn string(&mut self) -> Result<Value, Diagnostic> {
        let mut text = String::new();
        let mut letters = self.rest.char_indices().skip(1);
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    // A text may hold expressions of its own.
                    return if text.contains("${") { self.inner(&text) } else { Ok(Value::String(text)) };
                }
                '\\' => text.extend(letters.next().map(|(_, escaped)| escaped)),
                other => text.push(other),
            }
        }
        self.error("a text in an expression has no closing quote")
    }

    fn inner(&self, text: &str) -> Result<Value, Diagnostic> {
        if self.depth + self.scope.depth.get() >= DEPTH {
            return self.error(format!("an expression is nested more than {DEPTH} deep"));
        }
        self.scope.depth.set(self.scope.depth.get() + 1);
        let value = self.scope.text(text, self.place);
        self.scope.depth.set(self.scope.depth.get() - 1);
        value
    }

    fn number(&mut self) -> Result<Value, Diagnostic> {
        let end = self.rest[1..]
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .map_or(self.rest.len(), |end| end + 1);
        let (number, rest) = self.rest.split_at(end);
        self.rest = rest;
        if let Ok(integer) = number.parse() {
            return Ok(Value::Integer(integer));
        }
        match number.parse() {
            Ok(float) => Ok(Value::Float(float)),
            Err(_) => self.error(format!("`{number}` is not a number")),
        }
    }

    fn word(&mut self) -> String {
        let end =
            self.rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    fn name(&mut self) -> Result<Value, Diagnostic> {
        let name = self.word();
        if self.rest.trim_start().starts_with('(') {
            return self.call(&name);
        }
        match name.as_str() {
            "true" => return Ok(Value::Boolean(true)),
            "false" => return Ok(Value::Boolean(false)),
            _ => {}
        }
        let scope = self.scope;
        let Some(mut value) = scope.get(&name) else { return Err(self.unknown(&name)) };
        while let Some(rest) = self.rest.strip_prefix('.') {
            self.rest = rest;
            let field = self.word();
            let found = if let Value::Table(table) = value { table.get(&field) } else { None };
            match found {
                Some(node) => value = &node.value,
                None => return self.error(format!("`{name}` has no `{field}`")),
            }
        }
        Ok(value.clone())
    }

    fn unknown(&self, name: &str) -> Diagnostic {
        let error = self.place.error("unknown-variable", format!("there is no variable `{name}`"));
        if self.scope.awaited.contains(name) {
            self.scope.missed.borrow_mut().insert(name.to_owned());
            return error;
        }
        let all = self.scope.all();
        match nearest(name, all.keys().copied()) {
            Some(near) => error.with_help(format!("did you mean `{near}`?")),
            None => error.with_help("variables are given in `[vars]`; `$${` is a literal `${`"),
        }
    }

    fn call(&mut self, name: &str) -> Result<Value, Diagnostic> {
        self.expect('(')?;
        let mut args = Vec::new();
        self.skip_blanks();
        if self.rest.starts_with(')') {
            self.expect(')')?;
        } else {
            loop {
                args.push(self.expression()?);
                self.skip_blanks();
                if self.rest.starts_with(',') {
                    self.expect(',')?;
                    continue;
                }
                self.expect(')')?;
                break;
            }
        }
        let Some((_, least, most, usage)) = FUNCTIONS.iter().find(|(known, ..)| *known == name) else {
            let known = FUNCTIONS.iter().map(|(known, ..)| *known);
            let near = nearest(name, known.clone());
            let help = near.map_or_else(
                || format!("known are {}", known.collect::<Vec<_>>().join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(self
                .place
                .error("unknown-function", format!("there is no function `{name}`"))
                .with_help(help));
        };
        if args.len() < *least || args.len() > *most {
            let text = format!("`{name}` has {} arguments", args.len());
            return Err(self.place.error("invalid-expression", text).with_help(*usage));
        }
        apply(name, args, self.place)
    }
}

fn apply(name: &str, args: Vec<Value>, place: Place) -> Result<Value, Diagnostic> {
    let text = |at: usize| as_text(&args[at], place);
    Ok(match name {
        "and" => Value::Boolean(args.iter().all(is_true)),
        "or" => Value::Boolean(args.iter().any(is_true)),
        "not" => Value::Boolean(!is_true(&args[0])),
        "eq" => Value::Boolean(text(0)? == text(1)?),
        "if" => args[if is_true(&args[0]) { 1 } else { 2 }].clone(),
        "default" => {
            let last = args[args.len() - 1].clone();
            args.into_iter().find(|value| !is_empty(value)).unwrap_or(last)
        }
        "contains" => match &args[0] {
            Value::Array(items) => {
                Value::Boolean(items.iter().any(|item| text_of(&item.value) == text_of(&args[1])))
            }
            _ => Value::Boolean(text(0)?.contains(&text(1)?)),
        },
        "concat" => {
            let lists = args.into_iter().flat_map(|value| match value {
                Value::Array(items) => items,
                value => vec![Node { place, value }],
            });
            Value::Array(lists.collect())
        }
        "item" => {
            let Value::Array(items) = &args[0] else {
                return Err(place.error("invalid-expression", format!("`item`: `{}` is no list", text(0)?)));
            };
            let at = text(1)?;
            let item = at.parse().ok().and_then(|at: usize| items.get(at));
            let missing = || {
                let text = format!("`item`: there is no element {at} in a list of {}", items.len());
                place.error("invalid-expression", text)
            };
            item.ok_or_else(missing)?.value.clone()
        }
        "join" => match &args[0] {
            Value::Array(items) => {
                let parts: Result<Vec<_>, _> = items.iter().map(|item| as_text(&item.value, place)).collect();
                Value::String(parts?.join(&text(1)?))
            }
            _ => Value::String(text(0)?),
        },
        "split" => {
            let (whole, separator) = (text(0)?, text(1)?);
            let parts =
                if separator.is_empty() { vec![whole.as_str()] } else { whole.split(&separator).collect() };
            let node = |part: &str| Node { place, value: Value::String(part.to_owned()) };
            Value::Array(parts.into_iter().map(node).collect())
        }
        "lower" => Value::String(text(0)?.to_lowercase()),
        "upper" => Value::String(text(0)?.to_uppercase()),
        "replace" => {
            let from = text(1)?;
            Value::String(if from.is_empty() { text(0)? } else { text(0)?.replace(&from, &text(2)?) })
        }
        "sanitize" => Value::String(sanitize(&text(0)?)),
        "short" => {
            let count = text(1)?.parse::<usize>();
            let count = count
                .map_err(|_| place.error("invalid-expression", "`short` wants a number of characters"))?;
            Value::String(text(0)?.chars().take(count).collect())
        }
        other => unreachable!("`{other}` is in the table of functions"),
    })
}

/// Replaces all but letters, digits, `_` and `-`.
pub(super) fn sanitize(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' }).collect()
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Boolean(value) => *value,
        Value::String(text) => !matches!(text.as_str(), "" | "false" | "0"),
        Value::Integer(number) => *number != 0,
        Value::Float(number) => *number != 0.0,
        Value::Array(items) => !items.is_empty(),
        Value::Table(_) => true,
    }
}

fn is_empty(value: &Value) -> bool {
    matches!(value, Value::String(text) if text.is_empty())
        || matches!(value, Value::Array(items) if items.is_empty())
}

/// Writes a value as text, for people.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(value) => value.to_string(),
        Value::Array(items) => items.iter().map(|item| text_of(&item.value)).collect::<Vec<_>>().join(","),
        Value::Table(table) => {
            let fields = table.0.iter().map(|(key, node)| format!("{}={}", key.name, text_of(&node.value)));
            fields.collect::<Vec<_>>().join(",")
        }
    }
}

/// Writes a value where text is wanted: lists and tables are none.
fn as_text(value: &Value, place: Place) -> Result<String, Diagnostic> {
    match value {
        Value::Array(_) => Err(place
            .error("invalid-expression", "a list where text is wanted")
            .with_help("write `join(list, separator)`")),
        Value::Table(_) => Err(place.error("invalid-expression", "a table where text is wanted")),
        other => Ok(text_of(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope<'static> {
        let node = |text: &str| Node { place: Place::default(), value: Value::String(text.to_owned()) };
        let mut scope = Scope::default();
        scope.set("tag", Value::String("v1.2+x".to_owned()));
        scope.set("empty", Value::String(String::new()));
        scope.set("debug", Value::Boolean(false));
        scope.set("n", Value::Integer(3));
        scope.set("list", Value::Array(vec![node("a"), node("b")]));
        let key = Key { name: "field".to_owned(), place: Place::default() };
        scope.set("item", Value::Table(Table(vec![(key, node("inside"))])));
        scope
    }

    #[test]
    fn expressions() {
        let scope = scope();
        for (text, expected) in [
            ("plain $x", "plain $x"),
            ("x-${tag}", "x-v1.2+x"),
            ("$${tag}", "${tag}"),
            ("a$${tag}-${n}", "a${tag}-3"),
            ("${ sanitize( tag ) }", "v1_2_x"),
            ("${default(empty, \"fall\")}", "fall"),
            ("${if(debug, \"d\", \"r\")}-${not(debug)}", "r-true"),
            ("${if(eq(n, 3), upper(\"yes\"), \"no\")}", "YES"),
            ("${join(concat(list, \"c\"), \"/\")}", "a/b/c"),
            ("${join(split(\"a,b\", \",\"), \"-\")}", "a-b"),
            ("${item(split(tag, \".\"), 0)}${item(list, 1)}", "v1b"),
            ("${replace(\"a.b\", \".\", \"\\\"\")}", "a\"b"),
            ("${short(tag, 2)}${item.field}", "v1inside"),
            ("${contains(list, \"b\")}${contains(tag, \"z\")}", "truefalse"),
            ("${and(true, n)}${or(false, empty)}", "truefalse"),
            ("${if(not(debug), \"x:${tag}-${upper(\\\"a\\\")}\", \"\")}", "x:v1.2+x-A"),
        ] {
            let value = scope
                .text(text, Place::default())
                .unwrap_or_else(|error| panic!("{text}: {}", error.message));
            assert_eq!(text_of(&value), expected, "{text}");
        }
        assert!(matches!(scope.text("${list}", Place::default()), Ok(Value::Array(_))));
        assert!(scope.is_used("tag") && !scope.is_used("other"));
    }

    #[test]
    fn mistakes() {
        let scope = scope();
        for (text, message) in [
            ("${tga}", "there is no variable `tga`"),
            ("${lowre(tag)}", "there is no function `lowre`"),
            ("${lower()}", "`lower` has 0 arguments"),
            ("${tag", "the expression is not closed: `}` is missing"),
            ("${", "the expression is not closed: `}` is missing"),
            ("${\"x}", "a text in an expression has no closing quote"),
            ("${lower(tag", "the expression is not closed: `)` is missing"),
            ("${tag tag}", "`t` where `}` should be in an expression"),
            ("${+}", "`+` begins no expression"),
            ("x${list}", "a list where text is wanted"),
            ("${item.none}", "`item` has no `none`"),
            ("${item(list, 2)}", "`item`: there is no element 2 in a list of 2"),
            ("${item(list, \"-1\")}", "`item`: there is no element -1 in a list of 2"),
            ("${item(tag, 0)}", "`item`: `v1.2+x` is no list"),
            ("${short(tag, \"x\")}", "`short` wants a number of characters"),
        ] {
            let error = scope.text(text, Place::default()).expect_err(text);
            assert_eq!(error.message, message, "{text}");
        }
        let mut large = Scope::default();
        large.set("x0", Value::String("x".repeat(1000)));
        for n in 1..40 {
            let Ok(twice) = large.text(&format!("${{x{}}}${{x{}}}", n - 1, n - 1), Place::default()) else {
                break;
            };
            large.set(format!("x{n}"), twice);
        }
        assert!(large.get("x9").is_some() && large.get("x12").is_none());
        let deep = format!("${{{}1{}}}", "lower(".repeat(40), ")".repeat(40));
        assert!(scope.text(&deep, Place::default()).is_err());
    }
}
