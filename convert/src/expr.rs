//! Expressions as bake writes them.

use crate::place::Place;

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expr {
    /// Where it starts.
    pub(crate) place: Place,
    /// What it is.
    pub(crate) kind: ExprKind,
}

/// What an expression is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ExprKind {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number.
    Number(f64),
    /// A text without anything to compute in it.
    Text(String),
    /// `[a, b]`
    List(Vec<Expr>),
    /// `{ a = b }`
    Object(Vec<(Expr, Expr)>),
    /// `"a-${b}"`, also a heredoc.
    Template(Vec<Part>),
    /// A name.
    Name(String),
    /// `a.b`
    Field(Box<Expr>, String),
    /// `a[b]`
    Index(Box<Expr>, Box<Expr>),
    /// `a[*]`, and what follows it, in which the item is named [`SPLAT`].
    Splat(Box<Expr>, Box<Expr>),
    /// `f(a, b)`; with `...` behind the last argument, its items are the arguments.
    Call {
        /// The function's name.
        name: String,
        /// What it is given.
        arguments: Vec<Expr>,
        /// Whether the last argument is a list of arguments.
        spread: bool,
    },
    /// `a ? b : c`
    If(Box<[Expr; 3]>),
    /// `!a`
    Not(Box<Expr>),
    /// `-a`
    Negate(Box<Expr>),
    /// `a + b`
    Binary(Binary, Box<[Expr; 2]>),
    /// `[for k, v in a : b if c]`
    For(Box<For>),
}

/// The name of the item of a splat, which no file can spell.
pub(crate) const SPLAT: &str = "*";

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Part {
    /// As it stands.
    Text(String),
    /// `${a}`
    Value(Expr),
    /// `%{if a}..%{else}..%{endif}`
    If(Expr, Vec<Part>, Vec<Part>),
    /// `%{for k, v in a}..%{endfor}`
    For {
        /// The name of the key, if it has one.
        key: Option<String>,
        /// The name of the value.
        value: String,
        /// What is gone through.
        list: Expr,
        /// What is repeated.
        body: Vec<Part>,
    },
}

/// An operator between two expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binary {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `&&`
    And,
    /// `||`
    Or,
    /// An operator on numbers, by the name of the function that does the same.
    Function(&'static str),
}

/// A list or a map made from another.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct For {
    /// The name of the key, if it has one.
    pub(crate) key: Option<String>,
    /// The name of the value.
    pub(crate) value: String,
    /// What is gone through.
    pub(crate) list: Expr,
    /// The key of the result if it is a map.
    pub(crate) result_key: Option<Expr>,
    /// The value of the result.
    pub(crate) result: Expr,
    /// Which items are taken.
    pub(crate) condition: Option<Expr>,
    /// Whether values of the same key are collected, `...`.
    pub(crate) grouped: bool,
}

/// An attribute of a block.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Attribute {
    /// Its name.
    pub(crate) name: String,
    /// Where its name is.
    pub(crate) place: Place,
    /// What it is set to.
    pub(crate) value: Expr,
}

/// A block with a label, as `target "app" {..}`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Block {
    /// What it defines.
    pub(crate) kind: String,
    /// Its name; empty where it has none.
    pub(crate) label: String,
    /// Where it starts.
    pub(crate) place: Place,
    /// Its attributes in order.
    pub(crate) attributes: Vec<Attribute>,
    /// The blocks in it.
    pub(crate) blocks: Vec<Block>,
}

impl Block {
    /// Returns an attribute by its name.
    pub(crate) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }
}

/// A whole bake file.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct File {
    /// Attributes outside all blocks.
    pub(crate) attributes: Vec<Attribute>,
    /// Its blocks in order.
    pub(crate) blocks: Vec<Block>,
}
