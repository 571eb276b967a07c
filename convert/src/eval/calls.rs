//! Calls of functions.

use super::{Evaluator, Fault, functions};
use crate::expr::Expr;
use crate::place::Place;
use crate::say;
use crate::term::Term;

impl Evaluator<'_> {
    pub(super) fn call(
        &mut self,
        name: &str,
        arguments: &[Expr],
        spread: bool,
        place: Place,
    ) -> Result<Term, Fault> {
        match name {
            "try" => return self.first_that_works(arguments, place),
            "can" => return self.can(arguments, place),
            _ => {}
        }
        let mut terms = Vec::new();
        for argument in arguments {
            terms.push(self.expr(argument)?);
        }
        if spread && let Some(last) = terms.pop() {
            let items = self.items(&last, place)?;
            terms.extend(items.into_iter().map(|(_, item)| item));
        }
        if self.definitions.functions.contains_key(name) {
            return self.own_function(name, terms, place);
        }
        self.apply(name, &terms, place)
    }

    fn first_that_works(&mut self, arguments: &[Expr], place: Place) -> Result<Term, Fault> {
        let mut last = Fault::Unknown(place, "`try` has no arguments".to_owned());
        for argument in arguments {
            let marks = self.fixed.len();
            match self.expr(argument) {
                Err(Fault::Unknown(place, what)) => {
                    self.fixed.truncate(marks);
                    last = Fault::Unknown(place, what);
                }
                other => return other,
            }
        }
        Err(last)
    }

    fn can(&mut self, arguments: &[Expr], place: Place) -> Result<Term, Fault> {
        let [argument] = arguments else {
            return Err(Fault::Unknown(place, "`can` takes one argument".to_owned()));
        };
        let marks = self.fixed.len();
        match self.expr(argument) {
            Ok(_) => Ok(Term::Bool(true)),
            Err(Fault::Unknown(..)) => {
                self.fixed.truncate(marks);
                Ok(Term::Bool(false))
            }
            Err(fault) => Err(fault),
        }
    }

    /// Calls a function that the files define: its result with the arguments in the place of the parameters.
    fn own_function(&mut self, name: &str, terms: Vec<Term>, place: Place) -> Result<Term, Fault> {
        let definitions = self.definitions;
        let Some(function) = definitions.functions.get(name) else {
            return Err(Fault::Fatal(place, format!("function `{name}` is not defined")));
        };
        let given = terms.len();
        let needed = function.parameters.len();
        if given < needed || (given > needed && function.rest.is_none()) {
            let what = format!("function `{name}` takes {needed} arguments, and is given {given}");
            return Err(Fault::Fatal(place, what));
        }
        let path = format!("{name}()");
        if self.busy.contains(&path) {
            return Err(Fault::Fatal(place, format!("function `{name}` calls itself")));
        }
        let mut terms = terms.into_iter();
        let mut names: Vec<(String, Term)> =
            function.parameters.iter().cloned().zip(terms.by_ref().take(needed)).collect();
        if let Some(rest) = &function.rest {
            names.push((rest.clone(), Term::List(terms.collect())));
        }
        self.busy.push(path);
        let result = self.apart(names, |this| this.expr(&function.result));
        self.busy.pop();
        result
    }

    /// Applies a function of bake's to values.
    pub(super) fn apply(&mut self, name: &str, terms: &[Term], place: Place) -> Result<Term, Fault> {
        let wrong = |what: String| Fault::Unknown(place, format!("`{name}`: {what}"));
        if name == "coalesce" {
            return self.coalesce(terms, place);
        }
        if let Some(result) = functions::structural(name, terms) {
            return result.map_err(wrong);
        }
        if !terms.iter().any(Term::is_symbolic) {
            return match functions::concrete(name, terms) {
                Some(result) => result.map_err(wrong),
                None => Err(Fault::Unknown(place, format!("function `{name}` cannot be computed here"))),
            };
        }
        let now: Option<Vec<Term>> = terms.iter().map(Term::now).collect();
        let now = match now {
            None => None,
            Some(terms) => match functions::either(name, &terms) {
                Some(result) => Some(result.map_err(wrong)?),
                None => {
                    return Err(Fault::Unknown(place, format!("function `{name}` cannot be computed here")));
                }
            },
        };
        if let Some(term) = say::call(name, terms, now.clone()) {
            return Ok(term);
        }
        self.fix(now, &format!("`kairn.toml` has no words for this use of `{name}`"), terms, place)
    }

    /// The first that is not null; of a variable that may be null, the first that is not empty.
    fn coalesce(&mut self, terms: &[Term], place: Place) -> Result<Term, Fault> {
        let mut candidates = Vec::new();
        for term in terms {
            match term {
                Term::Null => {}
                Term::Symbol(symbol) if symbol.now == Some(Term::Null) => candidates.push(term.clone()),
                other => {
                    candidates.push(other.clone());
                    break;
                }
            }
        }
        let Some(mut result) = candidates.pop() else {
            return Err(Fault::Unknown(place, "`coalesce` has no argument with a value".to_owned()));
        };
        while let Some(before) = candidates.pop() {
            result = match say::default(&before, &result) {
                Some(term) => term,
                None => {
                    self.fix(result.now(), "`kairn.toml` has no words for this default", &[before], place)?
                }
            };
        }
        Ok(result)
    }
}
