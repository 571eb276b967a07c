//! The functions of bake's.
//!
//! Spec: bake's list of standard functions, that are those of go-cty. Absent: regular expressions, dates, networks, and
//! everything that gives another result each time.

mod encoding;
mod lists;
mod numbers;
mod texts;

use crate::term::Term;

/// What a function gives, or what is wrong with its arguments.
type Outcome = Result<Term, String>;

/// Applies a function that moves values without looking into them; `None` if it is none, or has to look into them.
pub(super) fn structural(name: &str, terms: &[Term]) -> Option<Outcome> {
    lists::structural(name, terms)
}

/// Applies a function to values without symbols; `None` if it is unknown.
pub(super) fn concrete(name: &str, terms: &[Term]) -> Option<Outcome> {
    lists::concrete(name, terms)
        .or_else(|| texts::concrete(name, terms))
        .or_else(|| numbers::concrete(name, terms))
        .or_else(|| encoding::concrete(name, terms))
}

/// Applies any function to values without symbols; `None` if it is unknown.
pub(super) fn either(name: &str, terms: &[Term]) -> Option<Outcome> {
    structural(name, terms).or_else(|| concrete(name, terms))
}

fn text(terms: &[Term], at: usize) -> Result<String, String> {
    let term = terms.get(at).ok_or_else(|| "an argument is missing".to_owned())?;
    term.as_text().ok_or_else(|| format!("{} is not a text", term.what()))
}

fn number(terms: &[Term], at: usize) -> Result<f64, String> {
    let term = terms.get(at).ok_or_else(|| "an argument is missing".to_owned())?;
    term.as_number().ok_or_else(|| format!("{} is not a number", term.what()))
}

fn boolean(terms: &[Term], at: usize) -> Result<bool, String> {
    let term = terms.get(at).ok_or_else(|| "an argument is missing".to_owned())?;
    term.as_bool().ok_or_else(|| format!("{} is not a boolean", term.what()))
}

fn list(terms: &[Term], at: usize) -> Result<&[Term], String> {
    match terms.get(at) {
        Some(Term::List(items)) => Ok(items),
        Some(other) => Err(format!("{} is not a list", other.what())),
        None => Err("an argument is missing".to_owned()),
    }
}

/// Returns a whole number that counts something.
fn count(terms: &[Term], at: usize) -> Result<usize, String> {
    let value = number(terms, at)?;
    if value.fract() != 0.0 || !(0.0..=1e6).contains(&value) {
        return Err(format!("{value} is not a number of items"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number from 0 to 1e6"
    )]
    Ok(value as usize)
}
