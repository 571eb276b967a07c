//! Functions on numbers and booleans, and comparisons.

use super::{Outcome, boolean, number, text};
use crate::term::Term;

pub(super) fn concrete(name: &str, terms: &[Term]) -> Option<Outcome> {
    Some(match name {
        "equal" => pair(terms).map(|(left, right)| Term::Bool(left == right)),
        "notequal" => pair(terms).map(|(left, right)| Term::Bool(left != right)),
        "not" => boolean(terms, 0).map(|value| Term::Bool(!value)),
        "and" => both(terms, |left, right| left && right),
        "or" => both(terms, |left, right| left || right),
        "lessthan" => compare(terms, |left, right| left < right),
        "lessthanorequalto" => compare(terms, |left, right| left <= right),
        "greaterthan" => compare(terms, |left, right| left > right),
        "greaterthanorequalto" => compare(terms, |left, right| left >= right),
        "add" => two(terms, |left, right| left + right),
        "subtract" => two(terms, |left, right| left - right),
        "multiply" => two(terms, |left, right| left * right),
        "divide" => two(terms, |left, right| left / right),
        "modulo" => two(terms, |left, right| left % right),
        "pow" => two(terms, f64::powf),
        "log" => two(terms, f64::log),
        "negate" => one(terms, |value| -value),
        "absolute" | "abs" => one(terms, f64::abs),
        "ceil" => one(terms, f64::ceil),
        "floor" => one(terms, f64::floor),
        "int" => one(terms, f64::trunc),
        "signum" => one(terms, |value| if value == 0.0 { 0.0 } else { value.signum() }),
        "max" => many(terms, f64::max),
        "min" => many(terms, f64::min),
        "parseint" => parse(terms),
        _ => return None,
    })
}

fn pair(terms: &[Term]) -> Result<(&Term, &Term), String> {
    match terms {
        [left, right] => Ok((left, right)),
        _ => Err("it takes two arguments".to_owned()),
    }
}

fn both(terms: &[Term], combine: fn(bool, bool) -> bool) -> Outcome {
    Ok(Term::Bool(combine(boolean(terms, 0)?, boolean(terms, 1)?)))
}

fn compare(terms: &[Term], holds: fn(f64, f64) -> bool) -> Outcome {
    Ok(Term::Bool(holds(number(terms, 0)?, number(terms, 1)?)))
}

fn finite(value: f64) -> Outcome {
    if value.is_finite() { Ok(Term::Number(value)) } else { Err("the result is no number".to_owned()) }
}

fn one(terms: &[Term], change: fn(f64) -> f64) -> Outcome {
    finite(change(number(terms, 0)?))
}

fn two(terms: &[Term], combine: fn(f64, f64) -> f64) -> Outcome {
    finite(combine(number(terms, 0)?, number(terms, 1)?))
}

fn many(terms: &[Term], combine: fn(f64, f64) -> f64) -> Outcome {
    let mut result = number(terms, 0)?;
    for at in 1..terms.len() {
        result = combine(result, number(terms, at)?);
    }
    finite(result)
}

fn parse(terms: &[Term]) -> Outcome {
    let text = text(terms, 0)?;
    let base = number(terms, 1)?;
    let base = (2_u32..=36)
        .find(|known| f64::from(*known).total_cmp(&base).is_eq())
        .ok_or("this is no base of numbers")?;
    let value = i32::from_str_radix(&text, base).map_err(|_| format!("`{text}` is no number"))?;
    Ok(Term::Number(f64::from(value)))
}
