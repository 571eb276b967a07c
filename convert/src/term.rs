//! Values, of which some are known only when something is built.

use crate::say::{Piece, Say};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Term {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// Values in order.
    List(Vec<Term>),
    /// Values by name, in order, each name once.
    Map(Vec<(String, Term)>),
    /// What is said in `kairn.toml`, because it may be another value when something is built.
    Symbol(Box<Symbol>),
}

/// What is said in `kairn.toml`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Symbol {
    /// Its pieces; a lone expression keeps its type, all else is a text.
    pub(crate) pieces: Vec<Piece>,
    /// What kind of value it gives.
    pub(crate) kind: Kind,
    /// Its value with the variables as they are now; `None` if it is another one for each image of a matrix.
    pub(crate) now: Option<Term>,
    /// The fields of a table of a matrix.
    pub(crate) fields: Vec<(String, Kind)>,
}

/// What kind of value a symbol gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// True or false.
    Bool,
    /// A number.
    Number,
    /// A text.
    Text,
    /// A list.
    List,
    /// A table of a matrix.
    Table,
    /// A text, a number or a boolean.
    Scalar,
}

impl Term {
    /// Makes a text.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Makes a symbol of a lone expression.
    pub(crate) fn symbol(say: Say, kind: Kind, now: Option<Term>) -> Self {
        Self::Symbol(Box::new(Symbol { pieces: vec![Piece::Say(say)], kind, now, fields: Vec::new() }))
    }

    /// Says whether something in it is a symbol.
    pub(crate) fn is_symbolic(&self) -> bool {
        match self {
            Self::Symbol(_) => true,
            Self::List(items) => items.iter().any(Self::is_symbolic),
            Self::Map(pairs) => pairs.iter().any(|(_, value)| value.is_symbolic()),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => false,
        }
    }

    /// Returns the value without symbols; `None` if one of them has no single value now.
    pub(crate) fn now(&self) -> Option<Term> {
        Some(match self {
            Self::Symbol(symbol) => symbol.now.clone()?,
            Self::List(items) => Self::List(items.iter().map(Self::now).collect::<Option<_>>()?),
            Self::Map(pairs) => {
                let pairs = pairs.iter().map(|(name, value)| Some((name.clone(), value.now()?)));
                Self::Map(pairs.collect::<Option<_>>()?)
            }
            other => other.clone(),
        })
    }

    /// Returns the text of a value that is no list and no map, as HCL makes one of it.
    pub(crate) fn as_text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Bool(value) => Some(value.to_string()),
            Self::Number(value) => Some(number(*value)),
            Self::Null | Self::List(_) | Self::Map(_) | Self::Symbol(_) => None,
        }
    }

    /// Returns what HCL takes for true and false.
    pub(crate) fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// Returns what HCL takes for a number.
    pub(crate) fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(value) => Some(*value),
            Self::Text(text) => text.trim().parse().ok().filter(|value: &f64| value.is_finite()),
            _ => None,
        }
    }

    /// Adds the names of all variables in it.
    pub(crate) fn variables(&self, names: &mut Vec<String>) {
        match self {
            Self::Symbol(symbol) => {
                for name in symbol.variables() {
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
            }
            Self::List(items) => items.iter().for_each(|item| item.variables(names)),
            Self::Map(pairs) => pairs.iter().for_each(|(_, value)| value.variables(names)),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => {}
        }
    }

    /// Returns about how much room it takes, in parts.
    pub(crate) fn weight(&self) -> usize {
        let text = |text: &str| text.len() / 64;
        1 + match self {
            Self::Null | Self::Bool(_) | Self::Number(_) => 0,
            Self::Text(value) => text(value),
            Self::List(items) => items.iter().map(Self::weight).sum(),
            Self::Map(pairs) => pairs.iter().map(|(name, value)| text(name) + value.weight()).sum(),
            Self::Symbol(symbol) => {
                let pieces = symbol.pieces.iter().map(|piece| match piece {
                    Piece::Text(value) => text(value),
                    Piece::Say(_) => 1,
                });
                pieces.sum::<usize>() + symbol.now.as_ref().map_or(0, Self::weight)
            }
        }
    }

    /// What kind of value a variable of this value is; `None` for what no variable can be.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match self {
            Self::Null | Self::Text(_) => Some(Kind::Text),
            Self::Bool(_) => Some(Kind::Bool),
            Self::Number(_) => Some(Kind::Number),
            Self::List(items) => items.iter().all(|item| item.as_text().is_some()).then_some(Kind::List),
            Self::Symbol(symbol) => Some(symbol.kind),
            Self::Map(_) => None,
        }
    }

    /// Names what it is, for messages.
    pub(crate) fn what(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Symbol(_) => "an expression",
        }
    }
}

/// Writes a number as HCL does: without a fraction if it has none.
pub(crate) fn number(value: f64) -> String {
    format!("{value}")
}
