//! The values of a mount's fields.

use super::check::parse_bool;
use super::keyword::nearest;
use super::size;
use crate::{Diagnostic, Span};

/// A field's value after expansion.
pub(super) struct Value {
    pub(super) key: &'static str,
    pub(super) text: String,
    pub(super) span: Span,
}

impl Value {
    /// Returns the text unless it is empty.
    pub(super) fn some(self) -> Option<String> {
        Some(self.text).filter(|text| !text.is_empty())
    }

    fn invalid(&self, help: String) -> Diagnostic {
        let message = format!("`{}` is not a value for `{}` of a mount", self.text, self.key);
        Diagnostic::error("invalid-mount-value", self.span, message).with_help(help)
    }

    /// Finds the text among names, in any letter case.
    pub(super) fn one_of<T: Copy>(&self, values: &[(&str, T)]) -> Result<T, Diagnostic> {
        let lower = self.text.to_lowercase();
        if let Some(&(_, value)) = values.iter().find(|(name, _)| *name == lower) {
            return Ok(value);
        }
        if let Some(near) = nearest(&lower, values.iter().map(|&(name, _)| name)) {
            return Err(self.invalid(format!("did you mean `{near}`?")));
        }
        let names: Vec<_> = values.iter().map(|(name, _)| format!("`{name}`")).collect();
        Err(self.invalid(format!("the values are {}", names.join(", "))))
    }

    /// Reads a truth value.
    pub(super) fn truth(&self) -> Result<bool, Diagnostic> {
        parse_bool(&self.text).ok_or_else(|| self.invalid("write `true` or `false`".to_owned()))
    }

    /// Reads a size; zero is none.
    pub(super) fn size(&self) -> Result<Option<u64>, Diagnostic> {
        let size = size::parse(&self.text).ok_or_else(|| {
            self.invalid("write a number with a unit, such as `64m` or `1.5GiB`".to_owned())
        })?;
        Ok(Some(size).filter(|&size| size > 0))
    }

    /// Reads an unsigned number.
    pub(super) fn number(&self, radix: u32) -> Result<u32, Diagnostic> {
        let digits = self.text.chars().all(|ch| ch.is_digit(radix));
        let number = u32::from_str_radix(&self.text, radix).ok().filter(|_| digits);
        number.ok_or_else(|| {
            let kind =
                if radix == 8 { "an octal number, such as `0755`" } else { "a number, such as `1000`" };
            self.invalid(format!("write {kind}"))
        })
    }
}
