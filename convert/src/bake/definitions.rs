//! What bake files define, with what later files define anew.

use std::collections::{BTreeMap, BTreeSet};

use crate::ConvertError;
use crate::expr::{Attribute, Binary, Block, Expr, ExprKind, File};
use crate::place::Place;
use crate::report::Report;
use crate::term::Term;

/// The most targets and groups of all files.
const MAX_BLOCKS: usize = 10_000;

/// All definitions of all files.
#[derive(Default)]
pub(crate) struct Definitions {
    /// Variables and attributes outside all blocks, in order.
    pub(crate) order: Vec<(String, Place)>,
    /// Variables by name.
    pub(crate) variables: BTreeMap<String, Variable>,
    /// Attributes outside all blocks by name.
    pub(crate) globals: BTreeMap<String, Attribute>,
    /// Functions by name.
    pub(crate) functions: BTreeMap<String, Function>,
    /// Targets in order; one that is defined again comes again.
    pub(crate) targets: Vec<Block>,
    /// Groups in order.
    pub(crate) groups: Vec<Block>,
}

/// A variable.
pub(crate) struct Variable {
    /// Where it is defined.
    pub(crate) place: Place,
    /// Its default, if it has one.
    pub(crate) default: Option<Expr>,
    /// The first word of its type, if that is declared.
    pub(crate) kind: Option<String>,
    /// What it is for.
    pub(crate) description: Option<String>,
    /// Its only values, if they are not any.
    pub(crate) values: Vec<Term>,
}

/// A function.
pub(crate) struct Function {
    /// The names of its parameters.
    pub(crate) parameters: Vec<String>,
    /// The name of all further arguments.
    pub(crate) rest: Option<String>,
    /// What it gives.
    pub(crate) result: Expr,
}

impl Variable {
    /// Returns the word of `kairn.toml` for its type.
    pub(crate) fn kind_word(&self) -> Option<&'static str> {
        match self.kind.as_deref()? {
            "string" => Some("string"),
            "number" => Some("number"),
            "bool" => Some("bool"),
            "list" | "set" | "tuple" => Some("list"),
            _ => None,
        }
    }
}

impl Definitions {
    /// Collects the definitions of files in order.
    ///
    /// # Errors
    /// A definition that is none.
    pub(super) fn new(files: Vec<File>, report: &mut Report) -> Result<Self, ConvertError> {
        let mut all = Self::default();
        for file in files {
            for attribute in file.attributes {
                all.put_in_order(&attribute.name, attribute.place);
                all.globals.insert(attribute.name.clone(), attribute);
            }
            for block in file.blocks {
                all.add(block, report)?;
            }
        }
        // A variable sees those before it, so they stay in their order.
        let (variables, globals): (Vec<_>, Vec<_>) = std::mem::take(&mut all.order)
            .into_iter()
            .partition(|(name, _)| all.variables.contains_key(name));
        all.order = variables.into_iter().chain(globals).collect();
        Ok(all)
    }

    fn put_in_order(&mut self, name: &str, place: Place) {
        if !self.order.iter().any(|(known, _)| known == name) {
            self.order.push((name.to_owned(), place));
        }
    }

    fn add(&mut self, block: Block, report: &mut Report) -> Result<(), ConvertError> {
        let mut names = BTreeSet::new();
        if let Some(again) = block.attributes.iter().find(|attribute| !names.insert(&attribute.name)) {
            let what = format!("`{}` of {} `{}` is set twice", again.name, block.kind, block.label);
            return Err(report.error(again.place, what));
        }
        if self.targets.len() + self.groups.len() > MAX_BLOCKS {
            return Err(report.error(block.place, format!("more than {MAX_BLOCKS} targets and groups")));
        }
        if block.label.is_empty() {
            return Err(report.error(block.place, format!("`{}` needs a name", block.kind)));
        }
        match block.kind.as_str() {
            "variable" => {
                self.put_in_order(&block.label, block.place);
                let variable = variable(&block, report);
                self.variables.insert(block.label, variable);
            }
            "function" => {
                let function = function(&block, report)?;
                self.functions.insert(block.label, function);
            }
            "target" => self.targets.push(block),
            "group" => self.groups.push(block),
            kind => {
                report.note(block.place, format!("`{kind} \"{}\"` is unknown, and left out", block.label));
            }
        }
        Ok(())
    }

    /// Returns what kind of block an expression refers to, and its name.
    pub(crate) fn reference(expr: &Expr) -> Option<(&'static str, String)> {
        let (inner, label) = match &expr.kind {
            ExprKind::Field(inner, label) => (inner, label.clone()),
            ExprKind::Index(inner, index) => match &index.kind {
                ExprKind::Text(label) => (inner, label.clone()),
                _ => return None,
            },
            _ => return None,
        };
        match &inner.kind {
            ExprKind::Name(name) if name == "target" => Some(("target", label)),
            ExprKind::Name(name) if name == "group" => Some(("group", label)),
            _ => None,
        }
    }

    fn blocks(&self, kind: &str) -> &[Block] {
        if kind == "target" { &self.targets } else { &self.groups }
    }

    /// Says whether there is a block of this name.
    pub(crate) fn has(&self, kind: &str, label: &str) -> bool {
        self.blocks(kind).iter().any(|block| block.label == label)
    }

    /// Returns what a block is set to where it was set last.
    pub(crate) fn attribute(&self, kind: &str, label: &str, name: &str) -> Option<&Attribute> {
        let mut blocks = self.blocks(kind).iter().rev().filter(|block| block.label == label);
        blocks.find_map(|block| block.attribute(name))
    }

    /// Says whether a name is that of a variable.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.variables.contains_key(name) || self.globals.contains_key(name)
    }
}

fn variable(block: &Block, report: &mut Report) -> Variable {
    let mut variable =
        Variable { place: block.place, default: None, kind: None, description: None, values: Vec::new() };
    for attribute in &block.attributes {
        let value = &attribute.value;
        match (attribute.name.as_str(), &value.kind) {
            ("default", ExprKind::Null) => {
                variable.kind.get_or_insert_with(|| "any".to_owned());
            }
            ("default", _) => variable.default = Some(value.clone()),
            ("description", ExprKind::Text(text)) => variable.description = Some(text.clone()),
            ("type", ExprKind::Name(name) | ExprKind::Text(name) | ExprKind::Call { name, .. }) => {
                variable.kind = Some(name.split('(').next().unwrap_or(name).to_owned());
            }
            ("nullable", _) => {}
            (name, _) => {
                let what = format!("`{name}` of variable `{}` is left out", block.label);
                report.note(attribute.place, what);
            }
        }
    }
    for inner in &block.blocks {
        match inner.attribute("condition").and_then(|condition| members(&condition.value, &block.label)) {
            Some(values) if variable.values.is_empty() => variable.values = values,
            _ => {
                let what = format!("a {} of variable `{}` is left out", inner.kind, block.label);
                report.note(inner.place, what);
            }
        }
    }
    variable
}

/// Returns the values that a condition allows a variable, if that is all it says.
fn members(condition: &Expr, variable: &str) -> Option<Vec<Term>> {
    let is_variable = |expr: &Expr| matches!(&expr.kind, ExprKind::Name(name) if name == variable);
    let constant = |expr: &Expr| match &expr.kind {
        ExprKind::Text(text) => Some(Term::text(text)),
        ExprKind::Number(value) => Some(Term::Number(*value)),
        ExprKind::Bool(value) => Some(Term::Bool(*value)),
        _ => None,
    };
    match &condition.kind {
        ExprKind::Template(parts) => match parts.as_slice() {
            [crate::expr::Part::Value(inner)] => members(inner, variable),
            _ => None,
        },
        ExprKind::Binary(Binary::Equal, sides) => {
            let [left, right] = sides.as_ref();
            let other = if is_variable(left) { right } else { left };
            (is_variable(left) || is_variable(right)).then(|| constant(other).map(|value| vec![value]))?
        }
        ExprKind::Binary(Binary::Or, sides) => {
            let mut values = members(&sides[0], variable)?;
            values.extend(members(&sides[1], variable)?);
            Some(values)
        }
        ExprKind::Call { name, arguments, spread: false } => match (name.as_str(), arguments.as_slice()) {
            ("contains", [list, item]) if is_variable(item) => match &list.kind {
                ExprKind::List(items) => items.iter().map(constant).collect(),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

fn function(block: &Block, report: &Report) -> Result<Function, ConvertError> {
    let wrong = |what: &str| report.error(block.place, format!("function `{}` {what}", block.label));
    let name = |expr: &Expr| match &expr.kind {
        ExprKind::Name(name) | ExprKind::Text(name) => Some(name.clone()),
        _ => None,
    };
    let parameters = match block.attribute("params").map(|attribute| &attribute.value.kind) {
        None => Vec::new(),
        Some(ExprKind::List(items)) => items
            .iter()
            .map(|item| name(item).ok_or_else(|| wrong("has a parameter that is no name")))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(wrong("has parameters that are no list")),
    };
    let rest = match block.attribute("variadic_params") {
        None => None,
        Some(attribute) => {
            Some(name(&attribute.value).ok_or_else(|| wrong("has a parameter that is no name"))?)
        }
    };
    let result = block.attribute("result").ok_or_else(|| wrong("has no result"))?.value.clone();
    Ok(Function { parameters, rest, result })
}
