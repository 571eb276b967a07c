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
    /// A text with expressions in it, which stands only as an element of a list that is written as one.
    Template(Vec<Piece>),
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
            Self::Text(text) => {
                f.write_str("\"")?;
                for ch in text.chars() {
                    f.write_str(if matches!(ch, '"' | '\\') { "\\" } else { "" })?;
                    write!(f, "{ch}")?;
                }
                f.write_str("\"")
            }
            Self::Template(pieces) => write!(f, "\"{}\"", write_pieces(pieces)),
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
            Term::Number(value) if value.is_finite() => Some(Self::Number(*value)),
            Term::Text(text) => Some(Self::Text(text.clone())),
            // A list has no spelling of its own, but an element counts as a list.
            Term::List(items) if !items.is_empty() => {
                Some(Self::Call("concat", items.iter().map(Self::of_item).collect::<Option<_>>()?))
            }
            Term::Symbol(symbol) => match symbol.pieces.as_slice() {
                [Piece::Say(say)] if !say.has_template() => Some(say.clone()),
                _ => None,
            },
            Term::Null | Term::Number(_) | Term::List(_) | Term::Map(_) => None,
        }
    }

    /// Returns the expression of an element of a list, which is no list.
    fn of_item(term: &Term) -> Option<Self> {
        match term.kind()? {
            Kind::List | Kind::Table => None,
            Kind::Bool | Kind::Number | Kind::Text | Kind::Scalar => Self::of(term),
        }
    }

    fn has_template(&self) -> bool {
        match self {
            Self::Template(_) => true,
            Self::Call(_, arguments) => arguments.iter().any(Self::has_template),
            Self::Var(_) | Self::Field(..) | Self::Text(_) | Self::Number(_) | Self::Bool(_) => false,
        }
    }

    /// Adds the names of all variables in it.
    pub(crate) fn variables(&self, names: &mut Vec<String>) {
        match self {
            Self::Var(name) if !names.contains(name) => names.push(name.clone()),
            Self::Field(table, _) => table.variables(names),
            Self::Call(_, arguments) => arguments.iter().for_each(|argument| argument.variables(names)),
            Self::Template(pieces) => pieces_variables(pieces, names),
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
        pieces_variables(&self.pieces, &mut names);
        names
    }

    /// Returns the elements of a list that is put together of parts, each as it is written.
    pub(crate) fn elements(&self) -> Option<Vec<String>> {
        let [Piece::Say(Say::Call("concat", parts))] = self.pieces.as_slice() else { return None };
        let element = |part: &Say| match part {
            Say::Text(text) => escape(text),
            Say::Template(pieces) => write_pieces(pieces),
            other => format!("${{{other}}}"),
        };
        Some(parts.iter().map(element).collect())
    }
}

fn pieces_variables(pieces: &[Piece], names: &mut Vec<String>) {
    for piece in pieces {
        if let Piece::Say(say) = piece {
            say.variables(names);
        }
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

/// Makes a text of a lone expression that gives a number or a boolean.
pub(crate) fn as_text(term: Term) -> Term {
    match term {
        Term::Symbol(symbol) if matches!(symbol.kind, Kind::Bool | Kind::Number | Kind::Scalar) => {
            let now = symbol.now.as_ref().and_then(Term::as_text).map(Term::Text);
            match symbol.pieces.as_slice() {
                [Piece::Say(say)] => {
                    let arguments = vec![say.clone(), Say::Text(String::new())];
                    Term::symbol(Say::Call("join", arguments), Kind::Text, now)
                }
                _ => Term::Symbol(symbol),
            }
        }
        other => other,
    }
}

/// Makes a text of a value that might have been a text as well.
pub(crate) fn unified(term: Term, other: &Term) -> Term {
    let is_text = |term: &Term| *term != Term::Null && term.kind() == Some(Kind::Text);
    match term {
        Term::Bool(_) | Term::Number(_) if is_text(other) => term.as_text().map_or(term, Term::Text),
        Term::Symbol(_) if is_text(other) => as_text(term),
        other => other,
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
