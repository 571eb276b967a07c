//! Names: variables, and attributes outside all blocks.

use super::{Evaluator, Fault};
use crate::bake::Variable;
use crate::expr::Expr;
use crate::place::Place;
use crate::say::Say;
use crate::spec::Var;
use crate::term::{Kind, Term};

impl Evaluator<'_> {
    /// Says whether a name stands for a value of this place.
    pub(super) fn sees(&self, name: &str) -> bool {
        self.scopes[self.base..].iter().any(|(known, _)| known == name) || self.definitions.names(name)
    }

    /// Computes what a name stands for.
    pub(crate) fn name(&mut self, name: &str, place: Place) -> Result<Term, Fault> {
        if let Some((_, value)) = self.scopes[self.base..].iter().rev().find(|(known, _)| known == name) {
            return Ok(value.clone());
        }
        if let Some(value) = self.known.get(name) {
            return Ok(value.clone());
        }
        if self.busy.iter().any(|busy| busy == name) {
            return Err(Fault::Fatal(place, format!("variable `{name}` is defined by itself")));
        }
        self.busy.push(name.to_owned());
        let value = self.apart(Vec::new(), |this| this.definition(name, place));
        self.busy.pop();
        let value = value?;
        self.known.insert(name.to_owned(), value.clone());
        Ok(value)
    }

    fn definition(&mut self, name: &str, place: Place) -> Result<Term, Fault> {
        let definitions = self.definitions;
        if let Some(attribute) = definitions.globals.get(name) {
            return self.expr(&attribute.value);
        }
        if let Some(variable) = definitions.variables.get(name) {
            return self.variable(name, variable);
        }
        match name {
            "BAKE_CMD_CONTEXT" => Ok(Term::text(".")),
            "BAKE_LOCAL_PLATFORM" => {
                let what = "`BAKE_LOCAL_PLATFORM` is known only when something is built";
                Err(Fault::Unknown(place, what.to_owned()))
            }
            _ => Err(Fault::Fatal(place, format!("variable `{name}` is not defined"))),
        }
    }

    fn variable(&mut self, name: &str, variable: &Variable) -> Result<Term, Fault> {
        let default = match &variable.default {
            Some(expr) => self.default_of(name, expr)?,
            None if variable.kind.is_some() => Some(Term::Null),
            None => Some(Term::text("")),
        };
        let default = default.map(|default| coerced(default, variable.kind.as_deref()));
        let note = |this: &mut Self, what: String| this.notes.push((variable.place, what));
        let value = default.clone().unwrap_or(Term::text(""));
        let Some(kind) = value.kind().filter(|kind| *kind != Kind::Table) else {
            let what = "is a map, or a list of more than texts: its value is written where it is used";
            note(self, format!("variable `{name}` {what}"));
            return Ok(value);
        };
        let written = self.free_name(name);
        if written != name {
            note(self, format!("variable `{name}` is named `{written}`"));
        }
        let given = self.given(name, kind);
        self.vars.push(Var {
            name: written.clone(),
            env: Some(name.to_owned()),
            kind: if value == Term::Null { None } else { variable.kind_word() },
            default: default.map(|default| if default == Term::Null { Term::text("") } else { default }),
            description: variable.description.clone(),
            values: variable.values.clone(),
            place: variable.place,
            is_null: value == Term::Null,
        });
        let now = given.or_else(|| value.now());
        Ok(Term::symbol(Say::Var(written), kind, now))
    }

    /// Computes a default; none if that cannot be done here.
    fn default_of(&mut self, name: &str, expr: &Expr) -> Result<Option<Term>, Fault> {
        let marks = self.fixed.len();
        let value = self.expr(expr);
        for (place, why) in self.fixed.split_off(marks) {
            self.notes.push((place, format!("the default of variable `{name}`: {why}")));
        }
        match value {
            Ok(value) => Ok(Some(value)),
            Err(Fault::Unknown(place, why)) => {
                self.notes.push((place, format!("the default of variable `{name}` is left out: {why}")));
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Returns the value that the environment gives a variable.
    fn given(&self, name: &str, kind: Kind) -> Option<Term> {
        let text = (self.environment)(name)?;
        Some(match kind {
            Kind::Bool => Term::Bool(text.parse().ok()?),
            Kind::Number => Term::Number(Term::Text(text).as_number()?),
            Kind::List => Term::List(text.split(',').map(Term::text).collect()),
            Kind::Text | Kind::Scalar | Kind::Table => Term::Text(text),
        })
    }

    /// Returns a name that `kairn.toml` allows for a variable.
    fn free_name(&self, name: &str) -> String {
        let mut written = name.to_owned();
        while written == "image" || self.vars.iter().any(|var| var.name == written) {
            written.push('_');
        }
        written
    }
}

/// Makes a default the type that is declared, where that takes no more than another spelling.
fn coerced(default: Term, kind: Option<&str>) -> Term {
    let converted = match kind {
        Some("string") => default.as_text().map(Term::Text),
        Some("bool") => default.as_bool().map(Term::Bool),
        Some("number") => default.as_number().map(Term::Number),
        _ => None,
    };
    converted.unwrap_or(default)
}
