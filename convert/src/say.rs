//! Expressions of `kairn.toml`.

use std::fmt;

use crate::term::{Kind, Symbol, Term, number};

mod functions;

pub(crate) use functions::{call, choose, default, equal, sanitized};

/// The longest expression that is written.
const MAX_LENGTH: usize = 4096;

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Say {
    /// A variable.
    Var(String),
    /// A field of a table of the matrix.
    Field(Box<Say>, String),
    /// `"text"`
    Text(String),
    /// A number.
    Number(f64),
    /// `true`, `false`
    Bool(bool),
    /// A function.
    Call(&'static str, Vec<Say>),
}

/// A piece of a text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    /// As it stands.
    Text(String),
    /// `${..}`
    Say(Say),
}

impl fmt::Display for Say {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Var(name) => f.write_str(name),
            Self::Field(table, name) => write!(f, "{table}.{name}"),
            Self::Text(text) => write!(f, "\"{text}\""),
            Self::Number(value) => f.write_str(&number(*value)),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Call(name, arguments) => {
                write!(f, "{name}(")?;
                for (at, argument) in arguments.iter().enumerate() {
                    f.write_str(if at == 0 { "" } else { ", " })?;
                    write!(f, "{argument}")?;
                }
                f.write_str(")")
            }
        }
    }
}

impl Say {
    /// Returns the expression of a value; `None` if there is none for it.
    pub(crate) fn of(term: &Term) -> Option<Self> {
        match term {
            Term::Bool(value) => Some(Self::Bool(*value)),
            Term::Number(value) if value.fract() == 0.0 && *value >= 0.0 => Some(Self::Number(*value)),
            Term::Text(text) => Self::of_text(text),
            Term::List(items) => Self::of_list(items),
            Term::Symbol(symbol) => match symbol.pieces.as_slice() {
                [Piece::Say(say)] => Some(say.clone()),
                _ => None,
            },
            Term::Null | Term::Number(_) | Term::Map(_) => None,
        }
    }

    /// A text that needs no escapes inside an expression, of which there are none.
    fn of_text(text: &str) -> Option<Self> {
        let is_plain =
            !text.contains(['"', '\\']) && !text.contains("${") && !text.chars().any(char::is_control);
        is_plain.then(|| Self::Text(text.to_owned()))
    }

    /// A list has no spelling of its own, but a text that is split does for one.
    fn of_list(items: &[Term]) -> Option<Self> {
        let texts: Vec<String> = items
            .iter()
            .map(|item| if let Term::Text(text) = item { Some(text.clone()) } else { None })
            .collect::<Option<_>>()?;
        if texts.is_empty() || texts.iter().any(|text| text.contains(',')) {
            return None;
        }
        Some(Self::Call("split", vec![Self::of_text(&texts.join(","))?, Self::Text(",".to_owned())]))
    }

    /// Adds the names of all variables in it.
    pub(crate) fn variables(&self, names: &mut Vec<String>) {
        match self {
            Self::Var(name) if !names.contains(name) => names.push(name.clone()),
            Self::Field(table, _) => table.variables(names),
            Self::Call(_, arguments) => arguments.iter().for_each(|argument| argument.variables(names)),
            Self::Var(_) | Self::Text(_) | Self::Number(_) | Self::Bool(_) => {}
        }
    }
}

impl Symbol {
    /// Returns the text of `kairn.toml` that says it.
    pub(crate) fn write(&self) -> String {
        write_pieces(&self.pieces)
    }

    /// Returns the names of all variables in it.
    pub(crate) fn variables(&self) -> Vec<String> {
        let mut names = Vec::new();
        for piece in &self.pieces {
            if let Piece::Say(say) = piece {
                say.variables(&mut names);
            }
        }
        names
    }
}

/// Returns the text of `kairn.toml` that says a plain text.
pub(crate) fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

fn write_pieces(pieces: &[Piece]) -> String {
    let mut written = String::new();
    for (at, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Text(text) => {
                let text = escape(text);
                match text.strip_suffix('$') {
                    // A dollar before an expression would take its meaning away.
                    Some(rest) if at + 1 < pieces.len() => {
                        written.push_str(rest);
                        written.push_str("${\"$\"}");
                    }
                    _ => written.push_str(&text),
                }
            }
            Piece::Say(say) => {
                written.push_str("${");
                written.push_str(&say.to_string());
                written.push('}');
            }
        }
    }
    written
}

/// Returns the pieces of a value that becomes part of a text; `None` if it cannot.
pub(crate) fn pieces(term: &Term) -> Option<Vec<Piece>> {
    match term {
        Term::Symbol(symbol) if matches!(symbol.kind, Kind::List | Kind::Table) => None,
        Term::Symbol(symbol) => Some(symbol.pieces.clone()),
        other => Some(vec![Piece::Text(other.as_text()?)]),
    }
}

/// Joins pieces to a text; `None` if it is too long to be read.
pub(crate) fn join_pieces(pieces: Vec<Piece>, now: Option<Term>) -> Option<Term> {
    let mut joined: Vec<Piece> = Vec::new();
    for piece in pieces {
        match (joined.last_mut(), piece) {
            (_, Piece::Text(text)) if text.is_empty() => {}
            (Some(Piece::Text(before)), Piece::Text(text)) => before.push_str(&text),
            (_, piece) => joined.push(piece),
        }
    }
    match joined.as_mut_slice() {
        [] => Some(Term::text("")),
        [Piece::Text(text)] => Some(Term::Text(std::mem::take(text))),
        _ => {
            let symbol = Symbol { pieces: joined, kind: Kind::Text, now, fields: Vec::new() };
            bounded(Term::Symbol(Box::new(symbol)))
        }
    }
}

/// Makes a symbol of a function's result; `None` if it is too long to be read.
fn result(say: Say, kind: Kind, now: Option<Term>) -> Option<Term> {
    bounded(Term::symbol(say, kind, now))
}

fn bounded(term: Term) -> Option<Term> {
    let expressions = match &term {
        Term::Symbol(symbol) => symbol.pieces.iter().map(|piece| match piece {
            Piece::Text(_) => 0,
            Piece::Say(say) => say.to_string().len(),
        }),
        _ => return Some(term),
    };
    (expressions.sum::<usize>() <= MAX_LENGTH).then_some(term)
}
