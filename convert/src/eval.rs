//! From expressions of bake to values, some of which are expressions of `kairn.toml`.
//!
//! Everything is computed twice at once: as it is with the variables as they are now, and as `kairn.toml` says it.
//! Where it has no words for something, the value as it is now is taken, and that is remembered.

mod calls;
mod functions;
mod loops;
mod variables;

use std::collections::BTreeMap;

use crate::bake::Definitions;
use crate::expr::{Binary, Expr, ExprKind, Part};
use crate::place::Place;
use crate::say::{self, Say, join_pieces, pieces};
use crate::spec::Var;
use crate::term::{Kind, Symbol, Term};

/// The most expressions in each other, with functions and variables that are followed.
const MAX_DEPTH: usize = 100;
/// The most expressions that are computed for all files, counting the parts of what they give.
const MAX_STEPS: usize = 500_000;
/// The most keys of a map.
const MAX_KEYS: usize = 10_000;
/// The longest text that is computed.
pub(crate) const MAX_TEXT: usize = 1 << 20;

/// Why something has no value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    /// The files make no sense.
    Fatal(Place, String),
    /// It cannot be computed here.
    Unknown(Place, String),
    /// It is another value for each image of a matrix.
    Open(Place, String),
}

/// Computes expressions.
pub(crate) struct Evaluator<'a> {
    definitions: &'a Definitions,
    environment: &'a dyn Fn(&str) -> Option<String>,
    known: BTreeMap<String, Term>,
    busy: Vec<String>,
    scopes: Vec<(String, Term)>,
    /// Where the names begin that can be seen.
    base: usize,
    fixed: Vec<(Place, String)>,
    notes: Vec<(Place, String)>,
    vars: Vec<Var>,
    steps: usize,
    depth: usize,
}

impl<'a> Evaluator<'a> {
    /// Starts with nothing computed.
    pub(crate) fn new(definitions: &'a Definitions, environment: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            definitions,
            environment,
            known: BTreeMap::new(),
            busy: Vec::new(),
            scopes: Vec::new(),
            base: 0,
            fixed: Vec::new(),
            notes: Vec::new(),
            vars: Vec::new(),
            steps: 0,
            depth: 0,
        }
    }

    /// Returns what was computed with the values of now, and why, since the last time.
    pub(crate) fn take_fixed(&mut self) -> Vec<(Place, String)> {
        std::mem::take(&mut self.fixed)
    }

    /// Returns what became of variables, since the last time.
    pub(crate) fn take_notes(&mut self) -> Vec<(Place, String)> {
        std::mem::take(&mut self.notes)
    }

    /// Returns the variables that were met.
    pub(crate) fn into_vars(self) -> Vec<Var> {
        self.vars
    }

    /// Computes something while some names stand for values.
    pub(crate) fn with_names<T>(
        &mut self,
        names: Vec<(String, Term)>,
        compute: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let before = self.scopes.len();
        self.scopes.extend(names);
        let result = compute(self);
        self.scopes.truncate(before);
        result
    }

    /// Computes something that sees no names but those given.
    fn apart<T>(&mut self, names: Vec<(String, Term)>, compute: impl FnOnce(&mut Self) -> T) -> T {
        let base = std::mem::replace(&mut self.base, self.scopes.len());
        let result = self.with_names(names, compute);
        self.base = base;
        result
    }

    /// Computes an expression.
    ///
    /// # Errors
    /// Why it has no value.
    pub(crate) fn expr(&mut self, expr: &Expr) -> Result<Term, Fault> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(Fault::Fatal(expr.place, "the files need too much computing".to_owned()));
        }
        if self.depth >= MAX_DEPTH {
            return Err(Fault::Fatal(expr.place, "expressions refer to each other too deeply".to_owned()));
        }
        self.depth += 1;
        let result = self.kind(expr);
        self.depth -= 1;
        if let Ok(term) = &result {
            self.steps = self.steps.saturating_add(term.weight());
        }
        result
    }

    fn kind(&mut self, expr: &Expr) -> Result<Term, Fault> {
        let place = expr.place;
        match &expr.kind {
            ExprKind::Null => Ok(Term::Null),
            ExprKind::Bool(value) => Ok(Term::Bool(*value)),
            ExprKind::Number(value) => Ok(Term::Number(*value)),
            ExprKind::Text(text) => Ok(Term::text(text)),
            ExprKind::List(items) => {
                Ok(Term::List(items.iter().map(|item| self.expr(item)).collect::<Result<_, _>>()?))
            }
            ExprKind::Object(members) => self.object(members),
            ExprKind::Template(parts) => self.template(parts, place),
            ExprKind::Name(name) => self.name(name, place),
            ExprKind::Field(inner, name) => self.field(inner, name, place),
            ExprKind::Index(inner, index) => {
                let inner = self.expr(inner)?;
                let index = self.expr(index)?;
                let index = self.fixed_value(&index, place, "an index")?;
                self.part(inner, &index, place)
            }
            ExprKind::Splat(list, rest) => self.splat(list, rest, place),
            ExprKind::Call { name, arguments, spread } => self.call(name, arguments, *spread, place),
            ExprKind::If(branches) => self.conditional(branches),
            ExprKind::Not(inner) => {
                let inner = self.expr(inner)?;
                self.apply("not", &[inner], place)
            }
            ExprKind::Negate(inner) => {
                let inner = self.expr(inner)?;
                self.apply("negate", &[inner], place)
            }
            ExprKind::Binary(operator, sides) => self.binary(*operator, sides, place),
            ExprKind::For(inner) => self.for_expr(inner, place),
        }
    }

    fn object(&mut self, members: &[(Expr, Expr)]) -> Result<Term, Fault> {
        let mut pairs: Vec<(String, Term)> = Vec::new();
        for (key, value) in members {
            let place = key.place;
            let key = self.expr(key)?;
            let key = self.fixed_value(&key, place, "the key of a map")?;
            let key = key
                .as_text()
                .ok_or_else(|| Fault::Fatal(place, format!("{} cannot be the key of a map", key.what())))?;
            let value = self.expr(value)?;
            put(&mut pairs, key, value);
            if pairs.len() > MAX_KEYS {
                return Err(Fault::Fatal(place, format!("a map of more than {MAX_KEYS} keys")));
            }
        }
        Ok(Term::Map(pairs))
    }

    /// Takes the value of now where nothing else will do.
    fn fixed_value(&mut self, term: &Term, place: Place, role: &str) -> Result<Term, Fault> {
        if !term.is_symbolic() {
            return Ok(term.clone());
        }
        let names = names_of(std::slice::from_ref(term));
        match term.now() {
            Some(now) => {
                self.fixed.push((place, format!("{role} cannot depend on {names}, and is as it is now")));
                Ok(now)
            }
            None => Err(Fault::Open(place, format!("{role} cannot depend on {names}"))),
        }
    }

    fn template(&mut self, parts: &[Part], place: Place) -> Result<Term, Fault> {
        if let [Part::Value(value)] = parts {
            return self.expr(value);
        }
        let mut terms = Vec::new();
        for part in parts {
            match part {
                Part::Text(text) => terms.push(Term::text(text)),
                Part::Value(value) => terms.push(self.expr(value)?),
                Part::If(condition, yes, no) => {
                    let condition = self.expr(condition)?;
                    let yes = self.template(yes, place)?;
                    let no = self.template(no, place)?;
                    terms.push(self.chosen(&condition, &yes, &no, place)?);
                }
                Part::For { key, value, list, body } => {
                    let list = self.expr(list)?;
                    for (at, item) in self.items(&list, place)? {
                        let names = loops::names(key.as_deref(), value, at, item);
                        terms.push(self.with_names(names, |this| this.template(body, place))?);
                    }
                }
            }
        }
        self.text_of(&terms, place)
    }

    /// Makes one text of values.
    fn text_of(&mut self, terms: &[Term], place: Place) -> Result<Term, Fault> {
        let mut all = Vec::new();
        let mut now = Some(String::new());
        for term in terms {
            let part = pieces(term);
            let Some(part) = part else {
                return Err(Fault::Unknown(place, format!("{} cannot be part of a text", term.what())));
            };
            let text = term.now().and_then(|term| term.as_text());
            now = now.zip(text).map(|(now, text)| now + &text);
            all.extend(part);
            if now.as_ref().is_some_and(|now| now.len() > MAX_TEXT) {
                return Err(Fault::Fatal(place, "the text is too long".to_owned()));
            }
        }
        let now = now.map(Term::Text);
        if let Some(text) = join_pieces(all, now.clone()) {
            return Ok(text);
        }
        self.fix(now, "the expression is too long", terms, place)
    }

    /// Takes the value of now, and remembers why.
    fn fix(&mut self, now: Option<Term>, why: &str, terms: &[Term], place: Place) -> Result<Term, Fault> {
        let names = names_of(terms);
        match now {
            Some(now) => {
                self.fixed.push((place, format!("{why}, so it no longer depends on {names}")));
                Ok(now)
            }
            None => Err(Fault::Open(place, format!("{why}, and it depends on {names}"))),
        }
    }

    fn conditional(&mut self, branches: &[Expr; 3]) -> Result<Term, Fault> {
        let [condition, yes, no] = branches;
        let place = condition.place;
        let condition = self.expr(condition)?;
        if !condition.is_symbolic() {
            let taken = condition
                .as_bool()
                .ok_or_else(|| Fault::Fatal(place, format!("the condition is {}", condition.what())))?;
            let (taken, other) = if taken { (yes, no) } else { (no, yes) };
            let result = self.expr(taken)?;
            // What is not taken counts for the type only.
            let marks = self.fixed.len();
            let other = self.expr(other);
            self.fixed.truncate(marks);
            return Ok(other.map_or(result.clone(), |other| say::unified(result, &other)));
        }
        let marks = self.fixed.len();
        match (self.expr(yes), self.expr(no)) {
            (Ok(yes), Ok(no)) => self.chosen(&condition, &yes, &no, place),
            (Err(fault @ Fault::Fatal(..)), _) | (_, Err(fault @ Fault::Fatal(..))) => Err(fault),
            (yes, no) => {
                self.fixed.truncate(marks);
                let now = condition.now().and_then(|now| now.as_bool());
                let why = "one side of the condition cannot be computed";
                let taken = self.fix(now.map(Term::Bool), why, &[condition], place)?;
                if taken == Term::Bool(true) { yes } else { no }
            }
        }
    }

    fn chosen(&mut self, condition: &Term, yes: &Term, no: &Term, place: Place) -> Result<Term, Fault> {
        if let Some(value) = condition.as_bool() {
            return Ok(if value { yes.clone() } else { no.clone() });
        }
        if let Some(term) = say::choose(condition, yes, no) {
            return Ok(term);
        }
        let now = match condition.now().and_then(|now| now.as_bool()) {
            Some(true) => Some(yes.clone()),
            Some(false) => Some(no.clone()),
            None => None,
        };
        let why = "`kairn.toml` has no words for this condition";
        self.fix(now, why, std::slice::from_ref(condition), place)
    }

    fn binary(&mut self, operator: Binary, sides: &[Expr; 2], place: Place) -> Result<Term, Fault> {
        let [left, right] = sides;
        let left = self.expr(left)?;
        // What does not count is not computed.
        match (operator, &left) {
            (Binary::And, Term::Bool(false)) | (Binary::Or, Term::Bool(true)) => return Ok(left),
            (Binary::And, Term::Bool(true)) | (Binary::Or, Term::Bool(false)) => return self.expr(right),
            _ => {}
        }
        let right = self.expr(right)?;
        match (operator, &right) {
            (Binary::And, Term::Bool(true)) | (Binary::Or, Term::Bool(false)) => return Ok(left),
            _ => {}
        }
        let name = match operator {
            Binary::Equal => "equal",
            Binary::NotEqual => "notequal",
            Binary::And => "and",
            Binary::Or => "or",
            Binary::Function(name) => name,
        };
        self.apply(name, &[left, right], place)
    }

    fn field(&mut self, inner: &Expr, name: &str, place: Place) -> Result<Term, Fault> {
        if let Some((kind, label)) = Definitions::reference(inner)
            && !self.sees(kind)
        {
            return self.reference(kind, &label, name, place);
        }
        let inner = self.expr(inner)?;
        self.part(inner, &Term::text(name), place)
    }

    /// Returns an item of a list or a map.
    fn part(&mut self, container: Term, index: &Term, place: Place) -> Result<Term, Fault> {
        if let Term::Symbol(symbol) = &container
            && let Some(item) = item_of(symbol, index).map_err(|what| Fault::Unknown(place, what))?
        {
            return Ok(item);
        }
        let container = match &container {
            Term::Symbol(symbol) if symbol.kind != Kind::Table => {
                self.fixed_value(&container, place, "an item of a list")?
            }
            _ => container,
        };
        element(&container, index).map_err(|what| Fault::Unknown(place, what))
    }

    /// Computes what another block is set to.
    fn reference(&mut self, kind: &str, label: &str, name: &str, place: Place) -> Result<Term, Fault> {
        let Some(found) = self.definitions.attribute(kind, label, name) else {
            return if self.definitions.has(kind, label) {
                Ok(Term::Null)
            } else {
                Err(Fault::Fatal(place, format!("there is no {kind} `{label}`")))
            };
        };
        let path = format!("{kind}.{label}.{name}");
        if self.busy.contains(&path) {
            return Err(Fault::Fatal(place, format!("`{path}` is defined by itself")));
        }
        self.busy.push(path);
        let value = self.apart(Vec::new(), |this| this.expr(&found.value));
        self.busy.pop();
        value
    }
}

/// Sets a key of a map.
pub(crate) fn put(pairs: &mut Vec<(String, Term)>, key: String, value: Term) {
    match pairs.iter_mut().find(|(name, _)| *name == key) {
        Some((_, old)) => *old = value,
        None => pairs.push((key, value)),
    }
}

/// Names the variables that values depend on.
fn names_of(terms: &[Term]) -> String {
    let mut names = Vec::new();
    for term in terms {
        term.variables(&mut names);
    }
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        None => "its variables".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// Returns an item of a list or a map.
fn element(container: &Term, index: &Term) -> Result<Term, String> {
    match container {
        Term::List(items) => {
            let at = index.as_number().ok_or_else(|| format!("{} is no place in a list", index.what()))?;
            let is_there = |place: usize| to_number(place).total_cmp(&at).is_eq();
            let found = items.iter().enumerate().find(|(place, _)| is_there(*place));
            found.map(|(_, item)| item.clone()).ok_or_else(|| format!("the list has no item {at}"))
        }
        Term::Map(pairs) => {
            let name = index.as_text().ok_or_else(|| format!("{} is no key of a map", index.what()))?;
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.clone()).ok_or_else(|| format!("the map has no key `{name}`"))
        }
        Term::Symbol(symbol) => field_of(symbol, index),
        other => Err(format!("{} has no parts", other.what())),
    }
}

/// Returns an item of a list; nothing where `kairn.toml` has no words for it.
fn item_of(list: &Symbol, index: &Term) -> Result<Option<Term>, String> {
    let now = list.now.as_ref().map(|now| element(now, index)).transpose()?;
    let at = index.as_number().filter(|at| *at >= 0.0 && at.fract() == 0.0);
    let is_scalar = now.as_ref().is_none_or(|item| item.as_text().is_some());
    let (Kind::List, Some(at), true) = (list.kind, at, is_scalar) else { return Ok(None) };
    let Some(said) = Say::of(&Term::Symbol(Box::new(list.clone()))) else { return Ok(None) };
    let kind = if matches!(said, Say::Call("split", _)) { Kind::Text } else { Kind::Scalar };
    Ok(Some(Term::symbol(Say::Call("item", vec![said, Say::Number(at)]), kind, now)))
}

/// Returns a field of a table.
fn field_of(symbol: &Symbol, index: &Term) -> Result<Term, String> {
    let name = index.as_text().ok_or_else(|| format!("{} is no key of a map", index.what()))?;
    let kind = symbol.fields.iter().find(|(field, _)| *field == name).map(|(_, kind)| *kind);
    let kind = kind.ok_or_else(|| format!("the map has no key `{name}`"))?;
    let table = Say::of(&Term::Symbol(Box::new(symbol.clone())));
    let table = table.ok_or_else(|| "a text has no parts".to_owned())?;
    Ok(Term::symbol(Say::Field(Box::new(table), name), kind, None))
}

/// Makes a number of a count.
pub(crate) fn to_number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
