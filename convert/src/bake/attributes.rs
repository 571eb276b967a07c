//! The attributes of a target, each in its kind: texts, lists, maps.

use crate::eval::{Evaluator, Fault};
use crate::expr::{Attribute, Block, Expr, ExprKind};
use crate::place::Place;
use crate::report::Report;
use crate::say::{as_text, choose};
use crate::spec::Image;
use crate::term::{Kind, Term};

/// A mistake that leaves no sense in the files.
pub(super) type Fatal = (Place, String);

/// What a list attribute is.
pub(super) enum Items {
    /// It has no value.
    Unset,
    /// Its items.
    Known(Vec<(Place, Term)>),
    /// A list that is known only when something is built.
    Symbol(Term),
}

/// Reads the attributes of a target.
pub(super) struct Reader<'r, 'd> {
    evaluator: &'r mut Evaluator<'d>,
    /// What was read so far.
    pub(super) image: Image,
    /// Whether the target inherits others.
    pub(super) inherits: bool,
    notes: Vec<(Place, String)>,
    open: Option<(Place, String)>,
}

impl<'r, 'd> Reader<'r, 'd> {
    /// Starts with an image without options.
    pub(super) fn new(evaluator: &'r mut Evaluator<'d>, image: Image) -> Self {
        Self { evaluator, image, inherits: false, notes: Vec::new(), open: None }
    }

    /// Reads all attributes.
    ///
    /// # Errors
    /// A mistake that leaves no sense in them.
    pub(super) fn block(&mut self, block: &Block) -> Result<(), Fatal> {
        self.inherits = block.attribute("inherits").is_some();
        for attribute in &block.attributes {
            self.option(attribute)?;
        }
        for inner in &block.blocks {
            self.note(inner.place, &inner.kind, "is left out: it is unknown");
        }
        Ok(())
    }

    /// Returns what cannot be said for all images of a matrix at once.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Returns the image, after its notes were made.
    pub(super) fn finish(self, report: &mut Report) -> Image {
        for (place, what) in self.notes {
            report.note(place, what);
        }
        self.image
    }

    /// Notes what became of an attribute.
    pub(super) fn note(&mut self, place: Place, attribute: &str, what: &str) {
        self.notes.push((place, format!("`{attribute}` of target `{}` {what}", self.image.name)));
    }

    /// Makes known that something cannot be said for all images of a matrix at once.
    pub(super) fn set_open(&mut self, place: Place, what: impl Into<String>) {
        self.open.get_or_insert((place, what.into()));
    }

    /// Computes an expression; none if it cannot be, which is noted.
    ///
    /// # Errors
    /// A mistake that leaves no sense in it.
    pub(super) fn value(&mut self, attribute: &str, expr: &Expr) -> Result<Option<Term>, Fatal> {
        let result = self.evaluator.expr(expr);
        for (place, why) in self.evaluator.take_fixed() {
            self.notes.push((place, format!("`{attribute}` of target `{}`: {why}", self.image.name)));
        }
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Fault::Fatal(place, what)) => Err((place, what)),
            Err(Fault::Unknown(place, what)) => {
                self.note(place, attribute, &format!("is left out: {what}"));
                Ok(None)
            }
            Err(Fault::Open(place, what)) => {
                self.note(place, attribute, &format!("is left out: {what}"));
                self.set_open(place, what);
                Ok(None)
            }
        }
    }

    /// Reads a text; none if it has no value.
    ///
    /// # Errors
    /// Another value, or a mistake in it.
    pub(super) fn text(&mut self, attribute: &Attribute) -> Result<Option<Term>, Fatal> {
        let Some(value) = self.value(&attribute.name, &attribute.value)? else { return Ok(None) };
        match value {
            Term::Null => Ok(None),
            Term::List(_) | Term::Map(_) => Err(self.wrong(attribute, &value, "a text")),
            Term::Symbol(symbol) if matches!(symbol.kind, Kind::List | Kind::Table) => {
                Err(self.wrong(attribute, &Term::List(Vec::new()), "a text"))
            }
            Term::Symbol(_) => Ok(Some(as_text(value))),
            scalar => Ok(scalar.as_text().map(Term::Text)),
        }
    }

    /// Reads a boolean; none if it has no value.
    ///
    /// # Errors
    /// Another value, or a mistake in it.
    pub(super) fn boolean(&mut self, attribute: &Attribute) -> Result<Option<Term>, Fatal> {
        match self.value(&attribute.name, &attribute.value)? {
            None | Some(Term::Null) => Ok(None),
            Some(symbol @ Term::Symbol(_)) => Ok(Some(symbol)),
            Some(value) => match value.as_bool() {
                Some(value) => Ok(Some(Term::Bool(value))),
                None => Err(self.wrong(attribute, &value, "a boolean")),
            },
        }
    }

    /// Reads a list, each item by itself.
    ///
    /// # Errors
    /// Another value, or a mistake in it.
    pub(super) fn items(&mut self, attribute: &Attribute) -> Result<Items, Fatal> {
        if let ExprKind::List(items) = &attribute.value.kind {
            let mut known = Vec::new();
            for item in items {
                if let Some(value) = self.value(&attribute.name, item)? {
                    known.push((item.place, value));
                }
            }
            return Ok(Items::Known(known));
        }
        if let ExprKind::If(branches) = &attribute.value.kind
            && let Some(items) = self.chosen_items(attribute, branches)?
        {
            return Ok(Items::Known(items));
        }
        let place = attribute.value.place;
        match self.value(&attribute.name, &attribute.value)? {
            None | Some(Term::Null) => Ok(Items::Unset),
            Some(Term::List(items)) => {
                Ok(Items::Known(items.into_iter().map(|item| (place, item)).collect()))
            }
            Some(Term::Symbol(symbol)) if symbol.kind == Kind::List => {
                Ok(Items::Symbol(Term::Symbol(symbol)))
            }
            Some(other) => Err(self.wrong(attribute, &other, "a list")),
        }
    }

    /// Reads one of two lists, whose items are chosen each by itself, and are empty where the other list is longer.
    fn chosen_items(
        &mut self,
        attribute: &Attribute,
        branches: &[Expr; 3],
    ) -> Result<Option<Vec<(Place, Term)>>, Fatal> {
        let [condition, yes, no] = branches;
        let before = self.notes.len();
        let Some(condition) = self.value(&attribute.name, condition)?.filter(Term::is_symbolic) else {
            self.notes.truncate(before);
            return Ok(None);
        };
        let (yes, no) = (self.value(&attribute.name, yes)?, self.value(&attribute.name, no)?);
        let (Some(Term::List(yes)), Some(Term::List(no))) = (yes, no) else {
            self.notes.truncate(before);
            return Ok(None);
        };
        let empty = Term::text("");
        let mut items = Vec::new();
        for at in 0..yes.len().max(no.len()) {
            let (yes, no) = (yes.get(at).unwrap_or(&empty), no.get(at).unwrap_or(&empty));
            let Some(item) = choose(&condition, yes, no) else {
                self.notes.truncate(before);
                return Ok(None);
            };
            items.push((attribute.value.place, item));
        }
        Ok(Some(items))
    }

    /// Reads a map, each value by itself.
    ///
    /// # Errors
    /// Another value, or a mistake in it.
    pub(super) fn pairs(&mut self, attribute: &Attribute) -> Result<Vec<(String, Place, Term)>, Fatal> {
        let mut pairs = Vec::new();
        if let ExprKind::Object(members) = &attribute.value.kind {
            for (key, value) in members {
                let Some(name) = self.value(&attribute.name, key)? else { continue };
                let Some(name) = self.now(&attribute.name, key.place, &name) else { continue };
                let label = format!("{}.{name}", attribute.name);
                if let Some(term) = self.value(&label, value)? {
                    pairs.push((name, key.place, term));
                }
            }
            return Ok(pairs);
        }
        let place = attribute.value.place;
        match self.value(&attribute.name, &attribute.value)? {
            None | Some(Term::Null) => Ok(pairs),
            Some(Term::Map(known)) => {
                Ok(known.into_iter().map(|(name, value)| (name, place, value)).collect())
            }
            Some(other) => Err(self.wrong(attribute, &other, "a map")),
        }
    }

    /// Returns the text of now, where no expression may stand.
    pub(super) fn now(&mut self, attribute: &str, place: Place, term: &Term) -> Option<String> {
        let text = term.now().and_then(|term| term.as_text());
        if !term.is_symbolic() {
            return text;
        }
        if let Some(text) = &text {
            self.note(place, attribute, &format!("has `{text}` where no variable can stand"));
        } else {
            self.set_open(place, format!("`{attribute}` cannot hold a variable there"));
        }
        text
    }

    /// Says that an attribute is of another kind.
    pub(super) fn wrong(&self, attribute: &Attribute, value: &Term, wanted: &str) -> Fatal {
        let name = &attribute.name;
        let what = format!("`{name}` of target `{}` is {}, not {wanted}", self.image.name, value.what());
        (attribute.value.place, what)
    }
}
