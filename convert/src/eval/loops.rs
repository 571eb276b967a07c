//! Lists and maps that are gone through.

use super::{Evaluator, Fault, put, to_number};
use crate::expr::{Expr, For, SPLAT};
use crate::place::Place;
use crate::term::Term;

/// Names the key and the value of an item.
pub(super) fn names(key: Option<&str>, value: &str, at: Term, item: Term) -> Vec<(String, Term)> {
    let mut names = Vec::new();
    if let Some(key) = key {
        names.push((key.to_owned(), at));
    }
    names.push((value.to_owned(), item));
    names
}

impl Evaluator<'_> {
    /// Returns the items of a list or a map, each with its place or key.
    pub(super) fn items(&mut self, list: &Term, place: Place) -> Result<Vec<(Term, Term)>, Fault> {
        match list {
            Term::List(items) => {
                let pair = |(at, item): (usize, &Term)| (Term::Number(to_number(at)), item.clone());
                Ok(items.iter().enumerate().map(pair).collect())
            }
            Term::Map(pairs) => {
                let mut pairs: Vec<_> =
                    pairs.iter().map(|(name, value)| (Term::text(name), value.clone())).collect();
                pairs.sort_by_key(|(name, _)| name.as_text());
                Ok(pairs)
            }
            Term::Symbol(_) => {
                let now = self.fixed_value(list, place, "what is gone through")?;
                if matches!(now, Term::Symbol(_)) { Ok(Vec::new()) } else { self.items(&now, place) }
            }
            other => Err(Fault::Unknown(place, format!("{} has no items", other.what()))),
        }
    }

    pub(super) fn for_expr(&mut self, inner: &For, place: Place) -> Result<Term, Fault> {
        let list = self.expr(&inner.list)?;
        let mut values = Vec::new();
        let mut pairs: Vec<(String, Term)> = Vec::new();
        for (at, item) in self.items(&list, place)? {
            let names = names(inner.key.as_deref(), &inner.value, at, item);
            let Some((key, value)) = self.with_names(names, |this| this.for_item(inner, place))? else {
                continue;
            };
            match key {
                None => values.push(value),
                Some(key) if inner.grouped => match pairs.iter_mut().find(|(name, _)| *name == key) {
                    Some((_, Term::List(values))) => values.push(value),
                    _ => pairs.push((key, Term::List(vec![value]))),
                },
                Some(key) => put(&mut pairs, key, value),
            }
        }
        Ok(if inner.result_key.is_some() { Term::Map(pairs) } else { Term::List(values) })
    }

    /// Computes the key and the value that an item gives, if it is taken.
    fn for_item(&mut self, inner: &For, place: Place) -> Result<Option<(Option<String>, Term)>, Fault> {
        if let Some(condition) = &inner.condition {
            let condition = self.expr(condition)?;
            let taken = self.fixed_value(&condition, place, "which items are taken")?;
            match taken.as_bool() {
                Some(true) => {}
                Some(false) => return Ok(None),
                None => return Err(Fault::Unknown(place, format!("the condition is {}", taken.what()))),
            }
        }
        let key = match &inner.result_key {
            None => None,
            Some(key) => {
                let key = self.expr(key)?;
                let key = self.fixed_value(&key, place, "the key of a map")?;
                let what = || Fault::Unknown(place, format!("{} cannot be the key of a map", key.what()));
                Some(key.as_text().ok_or_else(what)?)
            }
        };
        Ok(Some((key, self.expr(&inner.result)?)))
    }

    pub(super) fn splat(&mut self, list: &Expr, rest: &Expr, place: Place) -> Result<Term, Fault> {
        let items = match self.expr(list)? {
            Term::Null => Vec::new(),
            Term::List(items) => items,
            list @ Term::Symbol(_) => self.items(&list, place)?.into_iter().map(|(_, item)| item).collect(),
            other => vec![other],
        };
        let mut results = Vec::new();
        for item in items {
            results.push(self.with_names(vec![(SPLAT.to_owned(), item)], |this| this.expr(rest))?);
        }
        Ok(Term::List(results))
    }
}
