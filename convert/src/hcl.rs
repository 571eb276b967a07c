//! Reads bake files in HashiCorp's configuration language.

use std::cell::Cell;
use std::ops::Range;

use hcl_edit::Span;
use hcl_edit::expr::{
    BinaryOperator, Expression, ForExpr, ObjectKey, Traversal, TraversalOperator, UnaryOperator,
};
use hcl_edit::structure::{Body, Structure};
use hcl_edit::template::{Directive, Element, Strip, Template};

use crate::expr::{Attribute, Binary, Block, Expr, ExprKind, File, For, Part, SPLAT};
use crate::place::{Lines, Place};

/// The most fields and indexes behind a value.
const MAX_STEPS: usize = 16;

/// A mistake in the syntax.
pub(crate) struct SyntaxError {
    /// Where it is.
    pub(crate) place: Place,
    /// What it is.
    pub(crate) what: String,
}

/// Reads a file.
///
/// # Errors
/// The first mistake in its syntax.
pub(crate) fn parse(file: usize, text: &str) -> Result<File, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let body = hcl_edit::parser::parse_body(text).map_err(|error| syntax_error(file, &error))?;
    let reader = Reader { lines: Lines::new(file, text), too_deep: Cell::new(None) };
    let (attributes, blocks) = reader.body(&body);
    reader.finish(File { attributes, blocks })
}

/// Reads a template out of a string of another language; every expression in it is said to be at `place`.
///
/// # Errors
/// The first mistake in its syntax.
pub(crate) fn parse_template(place: Place, text: &str) -> Result<Expr, SyntaxError> {
    if !text.contains("${") && !text.contains("%{") {
        return Ok(Expr { place, kind: ExprKind::Text(text.to_owned()) });
    }
    let template = hcl_edit::parser::parse_template(text)
        .map_err(|error| SyntaxError { place, what: syntax_error(place.file, &error).what })?;
    let reader = Reader { lines: Lines::new(place.file, ""), too_deep: Cell::new(None) };
    let mut expr = reader.template(&template, place);
    set_place(&mut expr, place);
    reader.finish(expr)
}

fn syntax_error(file: usize, error: &hcl_edit::parser::Error) -> SyntaxError {
    let location = error.location();
    let what = error.message().replace("; expected", ", expected");
    SyntaxError { place: Place { file, line: location.line(), column: location.column() }, what }
}

/// Says of a template's own expressions that they are where the template is.
fn set_place(expr: &mut Expr, place: Place) {
    expr.place = place;
    if let ExprKind::Template(parts) = &mut expr.kind {
        for part in parts {
            if let Part::Value(value) | Part::If(value, ..) | Part::For { list: value, .. } = part {
                value.place = place;
            }
        }
    }
}

struct Reader<'a> {
    lines: Lines<'a>,
    /// Where something lies too deeply in something else.
    too_deep: Cell<Option<Place>>,
}

impl Reader<'_> {
    fn finish<T>(&self, result: T) -> Result<T, SyntaxError> {
        match self.too_deep.get() {
            None => Ok(result),
            Some(place) => {
                let what = format!("more than {MAX_STEPS} steps into a value");
                Err(SyntaxError { place, what })
            }
        }
    }

    fn place(&self, span: Option<Range<usize>>) -> Place {
        self.lines.place(span.map_or(0, |span| span.start))
    }

    fn body(&self, body: &Body) -> (Vec<Attribute>, Vec<Block>) {
        let mut attributes = Vec::new();
        let mut blocks = Vec::new();
        for structure in body {
            match structure {
                Structure::Attribute(attribute) => attributes.push(Attribute {
                    name: attribute.key.to_string(),
                    place: self.place(attribute.key.span()),
                    value: self.expr(&attribute.value),
                }),
                Structure::Block(block) => {
                    let (attributes, inner) = self.body(&block.body);
                    blocks.push(Block {
                        kind: block.ident.to_string(),
                        label: block
                            .labels
                            .first()
                            .map(|label| label.as_str().to_owned())
                            .unwrap_or_default(),
                        place: self.place(block.ident.span()),
                        attributes,
                        blocks: inner,
                    });
                }
            }
        }
        (attributes, blocks)
    }

    fn expr(&self, expr: &Expression) -> Expr {
        let place = self.place(expr.span());
        let boxed = |expr: &Expression| Box::new(self.expr(expr));
        let kind = match expr {
            Expression::Null(_) => ExprKind::Null,
            Expression::Bool(value) => ExprKind::Bool(**value),
            Expression::Number(number) => ExprKind::Number(number.value().as_f64().unwrap_or(f64::NAN)),
            Expression::String(text) => ExprKind::Text(text.value().clone()),
            Expression::Array(items) => ExprKind::List(items.iter().map(|item| self.expr(item)).collect()),
            Expression::Object(object) => {
                let pair = |(key, value): (&ObjectKey, &hcl_edit::expr::ObjectValue)| {
                    let key = match key {
                        ObjectKey::Ident(name) => {
                            Expr { place: self.place(name.span()), kind: ExprKind::Text(name.to_string()) }
                        }
                        ObjectKey::Expression(expr) => self.key(expr),
                    };
                    (key, self.expr(value.expr()))
                };
                ExprKind::Object(object.iter().map(pair).collect())
            }
            Expression::StringTemplate(template) => {
                return self.parts(template.iter(), place);
            }
            Expression::HeredocTemplate(heredoc) => return self.template(&heredoc.template, place),
            Expression::Parenthesis(inner) => return self.expr(inner.inner()),
            Expression::Variable(name) => ExprKind::Name(name.to_string()),
            Expression::Conditional(inner) => ExprKind::If(Box::new([
                self.expr(&inner.cond_expr),
                self.expr(&inner.true_expr),
                self.expr(&inner.false_expr),
            ])),
            Expression::FuncCall(call) => {
                let namespace = call.name.namespace.iter().map(|part| format!("{}::", **part));
                ExprKind::Call {
                    name: namespace.collect::<String>() + &call.name.name,
                    arguments: call.args.iter().map(|argument| self.expr(argument)).collect(),
                    spread: call.args.expand_final(),
                }
            }
            Expression::Traversal(traversal) => return self.traversal(traversal),
            Expression::UnaryOp(operation) => match *operation.operator.value() {
                UnaryOperator::Not => ExprKind::Not(boxed(&operation.expr)),
                UnaryOperator::Neg => ExprKind::Negate(boxed(&operation.expr)),
            },
            Expression::BinaryOp(operation) => ExprKind::Binary(
                binary(*operation.operator.value()),
                Box::new([self.expr(&operation.lhs_expr), self.expr(&operation.rhs_expr)]),
            ),
            Expression::ForExpr(inner) => ExprKind::For(Box::new(self.for_expr(inner))),
        };
        Expr { place, kind }
    }

    /// Reads the key of an object: a lone name is a text, one in parentheses is not.
    fn key(&self, expr: &Expression) -> Expr {
        match expr {
            Expression::Variable(name) => {
                Expr { place: self.place(name.span()), kind: ExprKind::Text(name.to_string()) }
            }
            other => self.expr(other),
        }
    }

    fn for_expr(&self, inner: &ForExpr) -> For {
        For {
            key: inner.intro.key_var.as_ref().map(ToString::to_string),
            value: inner.intro.value_var.to_string(),
            list: self.expr(&inner.intro.collection_expr),
            result_key: inner.key_expr.as_ref().map(|expr| self.expr(expr)),
            result: self.expr(&inner.value_expr),
            condition: inner.cond.as_ref().map(|condition| self.expr(&condition.expr)),
            grouped: inner.grouping,
        }
    }

    fn traversal(&self, traversal: &Traversal) -> Expr {
        if traversal.operators.len() > MAX_STEPS {
            self.too_deep.set(Some(self.place(traversal.span())));
            return self.expr(&traversal.expr);
        }
        let operators: Vec<&TraversalOperator> =
            traversal.operators.iter().map(hcl_edit::Decorated::value).collect();
        self.steps(self.expr(&traversal.expr), &operators)
    }

    fn steps(&self, start: Expr, operators: &[&TraversalOperator]) -> Expr {
        let place = start.place;
        let mut expr = start;
        for (at, operator) in operators.iter().enumerate() {
            let kind = match operator {
                TraversalOperator::GetAttr(name) => ExprKind::Field(Box::new(expr), name.to_string()),
                TraversalOperator::Index(index) => {
                    ExprKind::Index(Box::new(expr), Box::new(self.expr(index)))
                }
                TraversalOperator::LegacyIndex(index) => {
                    let index = u32::try_from(*index.value()).unwrap_or(u32::MAX);
                    let index = Expr { place, kind: ExprKind::Number(f64::from(index)) };
                    ExprKind::Index(Box::new(expr), Box::new(index))
                }
                TraversalOperator::AttrSplat(_) | TraversalOperator::FullSplat(_) => {
                    let item = Expr { place, kind: ExprKind::Name(SPLAT.to_owned()) };
                    let rest = self.steps(item, &operators[at + 1..]);
                    return Expr { place, kind: ExprKind::Splat(Box::new(expr), Box::new(rest)) };
                }
            };
            expr = Expr { place, kind };
        }
        expr
    }

    fn template(&self, template: &Template, place: Place) -> Expr {
        self.parts(template.iter(), place)
    }

    fn parts<'e>(&self, elements: impl Iterator<Item = &'e Element>, place: Place) -> Expr {
        let mut parts = self.elements(elements);
        let kind = match parts.as_mut_slice() {
            [] => ExprKind::Text(String::new()),
            [Part::Text(text)] => ExprKind::Text(std::mem::take(text)),
            _ => ExprKind::Template(parts),
        };
        Expr { place, kind }
    }

    fn elements<'e>(&self, elements: impl Iterator<Item = &'e Element>) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        let mut strip_next = false;
        for element in elements {
            let (part, strip) = match element {
                Element::Literal(text) => {
                    let mut text = text.value().as_str();
                    if std::mem::take(&mut strip_next) {
                        text = text.trim_start();
                    }
                    (Part::Text(text.to_owned()), Strip::None)
                }
                Element::Interpolation(inner) => (Part::Value(self.expr(&inner.expr)), inner.strip),
                Element::Directive(directive) => self.directive(directive),
            };
            if matches!(strip, Strip::Start | Strip::Both)
                && let Some(Part::Text(text)) = parts.last_mut()
            {
                text.truncate(text.trim_end().len());
            }
            if !matches!(part, Part::Text(_)) {
                strip_next = matches!(strip, Strip::End | Strip::Both);
            }
            parts.push(part);
        }
        parts
    }

    fn directive(&self, directive: &Directive) -> (Part, Strip) {
        match directive {
            Directive::If(inner) => {
                let otherwise = inner.else_expr.as_ref();
                let part = Part::If(
                    self.expr(&inner.if_expr.cond_expr),
                    self.inner(&inner.if_expr.template, inner.if_expr.strip),
                    otherwise.map(|other| self.inner(&other.template, other.strip)).unwrap_or_default(),
                );
                (part, outer(inner.if_expr.strip, inner.endif_expr.strip))
            }
            Directive::For(inner) => {
                let part = Part::For {
                    key: inner.for_expr.key_var.as_ref().map(ToString::to_string),
                    value: inner.for_expr.value_var.to_string(),
                    list: self.expr(&inner.for_expr.collection_expr),
                    body: self.inner(&inner.for_expr.template, inner.for_expr.strip),
                };
                (part, outer(inner.for_expr.strip, inner.endfor_expr.strip))
            }
        }
    }

    /// Reads what is between two directives, of which the first may take the white space behind it away.
    fn inner(&self, template: &Template, strip: Strip) -> Vec<Part> {
        let mut parts = self.elements(template.iter());
        if matches!(strip, Strip::End | Strip::Both)
            && let Some(Part::Text(text)) = parts.first_mut()
        {
            *text = text.trim_start().to_owned();
        }
        parts
    }
}

/// What a directive of a start and an end takes away outside of it.
fn outer(start: Strip, end: Strip) -> Strip {
    let before = matches!(start, Strip::Start | Strip::Both);
    let behind = matches!(end, Strip::End | Strip::Both);
    match (before, behind) {
        (true, true) => Strip::Both,
        (true, false) => Strip::Start,
        (false, true) => Strip::End,
        (false, false) => Strip::None,
    }
}

fn binary(operator: BinaryOperator) -> Binary {
    match operator {
        BinaryOperator::Eq => Binary::Equal,
        BinaryOperator::NotEq => Binary::NotEqual,
        BinaryOperator::And => Binary::And,
        BinaryOperator::Or => Binary::Or,
        BinaryOperator::LessEq => Binary::Function("lessthanorequalto"),
        BinaryOperator::GreaterEq => Binary::Function("greaterthanorequalto"),
        BinaryOperator::Less => Binary::Function("lessthan"),
        BinaryOperator::Greater => Binary::Function("greaterthan"),
        BinaryOperator::Plus => Binary::Function("add"),
        BinaryOperator::Minus => Binary::Function("subtract"),
        BinaryOperator::Mul => Binary::Function("multiply"),
        BinaryOperator::Div => Binary::Function("divide"),
        BinaryOperator::Mod => Binary::Function("modulo"),
    }
}
