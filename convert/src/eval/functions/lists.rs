//! Functions on lists and maps.

use super::{Outcome, count, list, number, text};
use crate::eval::{put, to_number};
use crate::term::{Kind, Term};

/// The most items that a function makes.
const MAX_ITEMS: usize = 10_000;

/// Functions that move values without looking into them.
pub(super) fn structural(name: &str, terms: &[Term]) -> Option<Outcome> {
    let is_known = |term: &Term| matches!(term, Term::List(_) | Term::Map(_));
    if !terms.first().is_some_and(is_known) {
        return None;
    }
    match name {
        "concat" | "coalescelist" | "setproduct" if !terms.iter().all(is_known) => None,
        "merge" if !terms.iter().all(|term| matches!(term, Term::Map(_) | Term::Null)) => None,
        "concat" => Some(concat(terms)),
        "coalescelist" => Some(
            terms
                .iter()
                .find(|term| **term != Term::List(Vec::new()))
                .cloned()
                .ok_or_else(|| "all lists are empty".to_owned()),
        ),
        "setproduct" => Some(product(terms)),
        "merge" => Some(Ok(merge(terms))),
        "flatten" if list(terms, 0).is_ok_and(|items| items.iter().any(is_list_symbol)) => None,
        "flatten" => Some(list(terms, 0).map(|items| {
            let mut all = Vec::new();
            flatten(items, &mut all);
            Term::List(all)
        })),
        "length" => Some(Ok(Term::Number(to_number(match &terms[0] {
            Term::List(items) => items.len(),
            Term::Map(pairs) => pairs.len(),
            _ => 0,
        })))),
        "keys" | "values" | "lookup" => map_function(name, terms),
        "reverselist" => Some(list(terms, 0).map(|items| Term::List(items.iter().rev().cloned().collect()))),
        "chunklist" => Some(chunks(terms)),
        "zipmap" => matches!(terms.get(1), Some(Term::List(_))).then(|| zipmap(terms)),
        "slice" => Some(slice(terms)),
        "element" => Some(element(terms)),
        "index" if terms.get(1).is_some_and(|index| !index.is_symbolic()) => {
            Some(crate::eval::element(&terms[0], &terms[1]))
        }
        "hasindex" if terms.get(1).is_some_and(|index| !index.is_symbolic()) => {
            Some(Ok(Term::Bool(crate::eval::element(&terms[0], &terms[1]).is_ok())))
        }
        _ => None,
    }
}

fn is_list_symbol(term: &Term) -> bool {
    matches!(term, Term::Symbol(symbol) if symbol.kind == Kind::List)
}

fn concat(terms: &[Term]) -> Outcome {
    let mut all = Vec::new();
    for at in 0..terms.len() {
        all.extend(list(terms, at)?.iter().cloned());
        if all.len() > MAX_ITEMS {
            return Err("the list is too long".to_owned());
        }
    }
    Ok(Term::List(all))
}

fn product(terms: &[Term]) -> Outcome {
    let mut rows: Vec<Vec<Term>> = vec![Vec::new()];
    for at in 0..terms.len() {
        let items = list(terms, at)?;
        if rows.len().saturating_mul(items.len()) > MAX_ITEMS {
            return Err("the list is too long".to_owned());
        }
        rows = rows
            .iter()
            .flat_map(|row| items.iter().map(|item| row.iter().chain([item]).cloned().collect()))
            .collect();
    }
    Ok(Term::List(rows.into_iter().map(Term::List).collect()))
}

fn merge(terms: &[Term]) -> Term {
    let mut pairs = Vec::new();
    for term in terms {
        if let Term::Map(more) = term {
            for (name, value) in more {
                put(&mut pairs, name.clone(), value.clone());
            }
        }
    }
    Term::Map(pairs)
}

fn flatten(items: &[Term], all: &mut Vec<Term>) {
    for item in items {
        match item {
            Term::List(inner) => flatten(inner, all),
            other => all.push(other.clone()),
        }
    }
}

fn map_function(name: &str, terms: &[Term]) -> Option<Outcome> {
    let Term::Map(pairs) = &terms[0] else {
        return Some(Err(format!("{} is not a map", terms[0].what())));
    };
    let mut sorted: Vec<&(String, Term)> = pairs.iter().collect();
    sorted.sort_by(|left, right| left.0.cmp(&right.0));
    match name {
        "keys" => Some(Ok(Term::List(sorted.iter().map(|(name, _)| Term::text(name)).collect()))),
        "values" => Some(Ok(Term::List(sorted.iter().map(|(_, value)| value.clone()).collect()))),
        _ => {
            let key = match terms.get(1) {
                Some(key) if key.is_symbolic() => return None,
                Some(key) => key.as_text(),
                None => None,
            };
            let found =
                pairs.iter().find(|(name, _)| Some(name) == key.as_ref()).map(|(_, value)| value.clone());
            Some(found.or_else(|| terms.get(2).cloned()).ok_or_else(|| "there is no such key".to_owned()))
        }
    }
}

fn chunks(terms: &[Term]) -> Outcome {
    let items = list(terms, 0)?;
    let size = match count(terms, 1)? {
        0 => items.len().max(1),
        size => size,
    };
    Ok(Term::List(items.chunks(size).map(|chunk| Term::List(chunk.to_vec())).collect()))
}

fn zipmap(terms: &[Term]) -> Outcome {
    let (keys, values) = (list(terms, 0)?, list(terms, 1)?);
    if keys.len() != values.len() {
        return Err("the lists are not of one length".to_owned());
    }
    let mut pairs = Vec::new();
    for (at, value) in values.iter().enumerate() {
        put(&mut pairs, text(keys, at)?, value.clone());
    }
    Ok(Term::Map(pairs))
}

fn slice(terms: &[Term]) -> Outcome {
    let items = list(terms, 0)?;
    let (start, end) = (count(terms, 1)?, count(terms, 2)?);
    let part = items.get(start..end).ok_or_else(|| "the list is shorter".to_owned())?;
    Ok(Term::List(part.to_vec()))
}

fn element(terms: &[Term]) -> Outcome {
    let items = list(terms, 0)?;
    let at = count(terms, 1)?;
    let at = at.checked_rem(items.len()).ok_or_else(|| "the list is empty".to_owned())?;
    Ok(items[at].clone())
}

/// Functions that look at the values.
pub(super) fn concrete(name: &str, terms: &[Term]) -> Option<Outcome> {
    Some(match name {
        "contains" => list(terms, 0)
            .and_then(|items| Ok(Term::Bool(items.contains(terms.get(1).ok_or("an argument is missing")?)))),
        "indexof" => list(terms, 0).and_then(|items| {
            let at = items.iter().position(|item| Some(item) == terms.get(1));
            at.map(|at| Term::Number(to_number(at))).ok_or_else(|| "the list has no such item".to_owned())
        }),
        "compact" => list(terms, 0)
            .map(|items| Term::List(items.iter().filter(|item| !is_empty(item)).cloned().collect())),
        "distinct" => list(terms, 0).map(|items| Term::List(distinct(items.iter().cloned()))),
        "sort" => sort(terms),
        "range" => range(terms),
        "setunion" => set(terms, |left, right| distinct(left.iter().chain(right).cloned())),
        "setintersection" => {
            set(terms, |left, right| left.iter().filter(|item| right.contains(item)).cloned().collect())
        }
        "setsubtract" => {
            set(terms, |left, right| left.iter().filter(|item| !right.contains(item)).cloned().collect())
        }
        _ => return None,
    })
}

fn is_empty(term: &Term) -> bool {
    matches!(term, Term::Null) || *term == Term::text("")
}

fn distinct(items: impl Iterator<Item = Term>) -> Vec<Term> {
    let mut kept: Vec<Term> = Vec::new();
    for item in items {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}

fn sort(terms: &[Term]) -> Outcome {
    let items = list(terms, 0)?;
    let mut texts = (0..items.len()).map(|at| text(items, at)).collect::<Result<Vec<_>, _>>()?;
    texts.sort();
    Ok(Term::List(texts.into_iter().map(Term::Text).collect()))
}

fn range(terms: &[Term]) -> Outcome {
    let (start, end, step) = match terms.len() {
        1 => (0.0, number(terms, 0)?, 1.0),
        2 => (number(terms, 0)?, number(terms, 1)?, 1.0),
        _ => (number(terms, 0)?, number(terms, 1)?, number(terms, 2)?),
    };
    let step = if terms.len() < 3 && end < start { -step } else { step };
    if step == 0.0 || ((end - start) / step) > to_number(MAX_ITEMS) {
        return Err("the list is too long".to_owned());
    }
    let mut items = Vec::new();
    let mut value = start;
    while (step > 0.0 && value < end) || (step < 0.0 && value > end) {
        items.push(Term::Number(value));
        value += step;
        if items.len() > MAX_ITEMS {
            return Err("the list is too long".to_owned());
        }
    }
    Ok(Term::List(items))
}

fn set(terms: &[Term], combine: impl Fn(&[Term], &[Term]) -> Vec<Term>) -> Outcome {
    let mut result = list(terms, 0)?.to_vec();
    for at in 1..terms.len() {
        result = combine(&result, list(terms, at)?);
    }
    Ok(Term::List(distinct(result.into_iter())))
}
