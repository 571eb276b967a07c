//! What bake's functions and operators are in `kairn.toml`.
//!
//! Each returns `None` where `kairn.toml` has no words for it.

use super::{Piece, Say, join_pieces, pieces, result, unified};
use crate::term::{Kind, Term};

/// `a == b`
pub(crate) fn equal(left: &Term, right: &Term) -> Option<Term> {
    // A variable without a value is an empty text.
    let word = |term: &Term| match term {
        Term::Null => Some(Say::Text(String::new())),
        Term::List(_) => None,
        other => Say::of(other),
    };
    let is_null = *left == Term::Null || *right == Term::Null;
    match (left.kind()?, right.kind()?) {
        (Kind::List | Kind::Table, _) | (_, Kind::List | Kind::Table) => return None,
        (Kind::Scalar, _) if is_plain_text(right) => {}
        (_, Kind::Scalar) if is_plain_text(left) => {}
        (Kind::Scalar, _) | (_, Kind::Scalar) => return None,
        // There a number is equal to its text.
        (left, right) if left != right && !is_null => return Some(Term::Bool(false)),
        _ => {}
    }
    let now = left.now().zip(right.now()).map(|(left, right)| Term::Bool(left == right));
    result(Say::Call("eq", vec![word(left)?, word(right)?]), Kind::Bool, now)
}

/// Says whether a text is known to be that of no number and no boolean.
fn is_plain_text(term: &Term) -> bool {
    matches!(term, Term::Text(_)) && term.as_number().is_none() && term.as_bool().is_none()
}

/// `!a`
pub(super) fn not(term: &Term) -> Option<Term> {
    let now = bool_now(term).map(|value| Term::Bool(!value));
    match Say::of(term)? {
        Say::Call("not", mut inner) if inner.len() == 1 => result(inner.remove(0), Kind::Bool, now),
        say => result(Say::Call("not", vec![say]), Kind::Bool, now),
    }
}

fn bool_now(term: &Term) -> Option<bool> {
    term.now().as_ref().and_then(Term::as_bool)
}

/// `a && b`
pub(super) fn and(terms: &[Term]) -> Option<Term> {
    let values: Option<Vec<bool>> = terms.iter().map(bool_now).collect();
    both("and", terms, values.map(|values| Term::Bool(values.iter().all(|value| *value))))
}

/// `a || b`
pub(super) fn or(terms: &[Term]) -> Option<Term> {
    let values: Option<Vec<bool>> = terms.iter().map(bool_now).collect();
    both("or", terms, values.map(|values| Term::Bool(values.iter().any(|value| *value))))
}

fn both(name: &'static str, terms: &[Term], now: Option<Term>) -> Option<Term> {
    let mut arguments = Vec::new();
    for term in terms {
        match Say::of(term)? {
            Say::Call(inner, more) if inner == name => arguments.extend(more),
            say => arguments.push(say),
        }
    }
    result(Say::Call(name, arguments), Kind::Bool, now)
}

/// `condition ? yes : no`
pub(crate) fn choose(condition: &Term, yes: &Term, no: &Term) -> Option<Term> {
    if yes == no {
        return Some(yes.clone());
    }
    if let (Term::List(yes), Term::List(no)) = (yes, no)
        && yes.len() == no.len()
    {
        let items = yes.iter().zip(no).map(|(yes, no)| choose(condition, yes, no));
        return Some(Term::List(items.collect::<Option<_>>()?));
    }
    let (yes, no) = (&unified(yes.clone(), no), &unified(no.clone(), yes));
    let now = match bool_now(condition) {
        Some(true) => yes.now(),
        Some(false) => no.now(),
        None => None,
    };
    let condition = Say::of(condition)?;
    if let (Some(yes_say), Some(no_say)) = (Say::of(yes), Say::of(no)) {
        let kind = match (yes.kind()?, no.kind()?) {
            (yes, no) if yes == no => yes,
            (Kind::List | Kind::Table, _) | (_, Kind::List | Kind::Table) => return None,
            _ => Kind::Scalar,
        };
        return result(conditional(condition, yes_say, no_say), kind, now);
    }
    // An expression cannot hold a text with expressions in it, so each piece of the text is chosen by itself.
    let (yes, no) = (pieces(yes)?, pieces(no)?);
    let longest = yes.len().max(no.len());
    let mut chosen = Vec::new();
    for at in 0..longest {
        let word = |pieces: &[Piece]| match pieces.get(at) {
            None => Say::Text(String::new()),
            Some(Piece::Text(text)) => Say::Text(text.clone()),
            Some(Piece::Say(say)) => say.clone(),
        };
        chosen.push(match (yes.get(at), no.get(at)) {
            (Some(left), Some(right)) if left == right => left.clone(),
            _ => Piece::Say(conditional(condition.clone(), word(&yes), word(&no))),
        });
    }
    join_pieces(chosen, now)
}

/// Says a condition in the shortest words.
fn conditional(condition: Say, yes: Say, no: Say) -> Say {
    let empty = Say::Text(String::new());
    match condition {
        Say::Call("not", mut inner) if inner.len() == 1 => conditional(inner.remove(0), no, yes),
        Say::Call("eq", sides) if sides.len() == 2 && sides[1] == empty && sides[0] == no => {
            if yes == empty {
                no
            } else {
                Say::Call("default", vec![no, yes])
            }
        }
        condition => Say::Call("if", vec![condition, yes, no]),
    }
}

/// The first that is not empty.
pub(crate) fn default(first: &Term, second: &Term) -> Option<Term> {
    let now = match first.now() {
        Some(Term::Null) => second.now(),
        Some(Term::Text(text)) if text.is_empty() => second.now(),
        other => other,
    };
    if let (Some(first), Some(second_say)) = (Say::of(first), Say::of(second)) {
        let kind = second.kind()?;
        if second_say == Say::Text(String::new()) {
            return result(first, kind, now);
        }
        let mut arguments = vec![first];
        match second_say {
            Say::Call("default", more) => arguments.extend(more),
            say => arguments.push(say),
        }
        return result(Say::Call("default", arguments), kind, now);
    }
    choose(&equal(first, &Term::text(""))?, second, first)
}

/// A function of bake's; `None` also for those that `kairn.toml` does not have.
pub(crate) fn call(name: &str, arguments: &[Term], now: Option<Term>) -> Option<Term> {
    match (name, arguments) {
        ("equal", [left, right]) => equal(left, right),
        ("notequal", [left, right]) => not(&equal(left, right)?),
        ("not", [term]) => not(term),
        ("and", terms) => and(terms),
        ("or", terms) => or(terms),
        ("lower" | "upper" | "sanitize", [Term::Symbol(symbol)]) => {
            let name = match name {
                "lower" => "lower",
                "upper" => "upper",
                _ => "sanitize",
            };
            each_piece(&symbol.pieces, name, &[], now)
        }
        ("replace", [Term::Symbol(symbol), from, to]) => {
            let arguments = [Say::of(from)?, Say::of(to)?];
            let is_character = matches!(from, Term::Text(text) if text.chars().count() == 1);
            if symbol.pieces.len() > 1 && !is_character {
                return None;
            }
            each_piece(&symbol.pieces, "replace", &arguments, now)
        }
        ("substr", [text, Term::Number(start), length]) if *start == 0.0 && text.kind()? == Kind::Text => {
            let length = match length {
                Term::Number(length) if *length >= 0.0 => Say::of(&Term::Number(*length))?,
                _ => return None,
            };
            result(Say::Call("short", vec![Say::of(text)?, length]), Kind::Text, now)
        }
        ("join", [Term::Text(separator), Term::List(items)]) => joined(separator, items, now),
        ("join", [separator, list]) => {
            result(Say::Call("join", vec![Say::of(list)?, Say::of(separator)?]), Kind::Text, now)
        }
        ("format", [Term::Text(pattern), values @ ..]) => formatted(pattern, values, now),
        ("split", [separator, text]) => {
            result(Say::Call("split", vec![Say::of(text)?, Say::of(separator)?]), Kind::List, now)
        }
        ("concat", lists) => concatenated(lists, now),
        ("flatten", [Term::List(items)]) => concatenated(items, now),
        ("contains", [list, item]) if may_hold(list, item) => {
            let arguments = vec![Say::of(list)?, Say::of(item)?];
            result(Say::Call("contains", arguments), Kind::Bool, now)
        }
        _ => None,
    }
}

/// Says whether the elements of a list are of the kind of an item: there a number is equal to its text.
fn may_hold(list: &Term, item: &Term) -> bool {
    match list {
        Term::List(items) => items.iter().all(|known| known.kind() == item.kind()),
        other => other.kind() == Some(Kind::List) && item.kind() == Some(Kind::Text),
    }
}

/// Applies a function that works on each character by itself to every piece of a text.
fn each_piece(pieces: &[Piece], name: &'static str, more: &[Say], now: Option<Term>) -> Option<Term> {
    let mut done = Vec::new();
    for piece in pieces {
        done.push(match piece {
            Piece::Say(say) => {
                let arguments = std::iter::once(say.clone()).chain(more.iter().cloned()).collect();
                Piece::Say(Say::Call(name, arguments))
            }
            Piece::Text(text) => match (name, more) {
                ("lower", _) => Piece::Text(text.to_lowercase()),
                ("upper", _) => Piece::Text(text.to_uppercase()),
                ("sanitize", _) => Piece::Text(sanitized(text)),
                (_, [Say::Text(from), Say::Text(to)]) => Piece::Text(text.replace(from, to)),
                _ => return None,
            },
        });
    }
    join_pieces(done, now)
}

/// Makes a text a name as bake allows it.
pub(crate) fn sanitized(text: &str) -> String {
    let kept = |ch: char| if ch.is_ascii_alphanumeric() || ch == '_' || ch == '-' { ch } else { '_' };
    text.chars().map(kept).collect()
}

fn joined(separator: &str, items: &[Term], now: Option<Term>) -> Option<Term> {
    let mut all = Vec::new();
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            all.push(Piece::Text(separator.to_owned()));
        }
        all.extend(pieces(item)?);
    }
    join_pieces(all, now)
}

/// Fills in a pattern that asks for nothing but texts.
fn formatted(pattern: &str, values: &[Term], now: Option<Term>) -> Option<Term> {
    let mut values = values.iter();
    let mut all = Vec::new();
    let mut rest = pattern;
    while let Some((before, behind)) = rest.split_once('%') {
        all.push(Piece::Text(before.to_owned()));
        match behind.chars().next()? {
            '%' => all.push(Piece::Text("%".to_owned())),
            's' | 'v' => all.extend(pieces(values.next()?)?),
            _ => return None,
        }
        rest = &behind[1..];
    }
    all.push(Piece::Text(rest.to_owned()));
    join_pieces(all, now)
}

/// Puts lists together; an element that is no list counts as one.
fn concatenated(lists: &[Term], now: Option<Term>) -> Option<Term> {
    let mut parts = Vec::new();
    for list in lists {
        let items = if let Term::List(items) = list { items.as_slice() } else { std::slice::from_ref(list) };
        for item in items {
            match item {
                Term::Symbol(symbol) => match symbol.pieces.as_slice() {
                    [Piece::Say(Say::Call("concat", more))] => parts.extend(more.iter().cloned()),
                    [Piece::Say(say)] => parts.push(say.clone()),
                    pieces => parts.push(Say::Template(pieces.to_vec())),
                },
                Term::List(_) | Term::Map(_) | Term::Null => return None,
                scalar => parts.push(Say::of(scalar)?),
            }
        }
    }
    result(Say::Call("concat", parts), Kind::List, now)
}
