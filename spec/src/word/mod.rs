//! Words: quotes, escapes and variables.
//!
//! Spec: Dockerfile reference, "Environment replacement"; the fine points follow BuildKit's program.

mod lexer;
mod pattern;

pub(crate) use lexer::{quoted_words, raw_words, unquoted_words};

use crate::dockerfile::Word;
use crate::{Diagnostic, Spanned};
use lexer::{Failure, Lexer, Mode};

/// A word after expansion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expansion {
    /// The text without quotes, escapes and variables.
    pub value: String,
    /// References to variables that have no value and name no substitute for it.
    ///
    /// Differs: `${x-w}`, `${x+w}` and `${x?m}` foresee an unset `x` and are not listed.
    pub undefined: Vec<Spanned<String>>,
}

impl Word {
    /// Removes quotes and escapes and replaces variables, which `lookup` finds by name.
    ///
    /// # Errors
    /// A [`Diagnostic`] at the offending bytes for an open quote, a malformed or unsupported `${...}`, and a
    /// `${x?m}` whose variable is unset.
    pub fn expand(
        &self,
        escape: char,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Expansion, Diagnostic> {
        self.run(Lexer::new(&self.raw, escape, lookup, Mode::Expand))
    }

    /// Replaces variables as [`Word::expand`] does, but quotes stay and the escape is always `\`.
    pub(crate) fn expand_text(
        &self,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Expansion, Diagnostic> {
        let mut lexer = Lexer::new(&self.raw, '\\', lookup, Mode::Expand);
        lexer.plain_quotes = true;
        self.run(lexer)
    }

    fn run(&self, mut lexer: Lexer<'_>) -> Result<Expansion, Diagnostic> {
        let (value, _) = lexer.run().map_err(|failure| self.diagnostic(failure))?;
        let undefined =
            lexer.undefined.into_iter().map(|(name, at)| Spanned::new(name, self.span_of(at))).collect();
        Ok(Expansion { value, undefined })
    }

    /// Expands like [`Word::expand`] and splits the result at the blanks that are not quoted or escaped, also
    /// at those that came out of a variable. Empty words vanish, quoted or not.
    ///
    /// # Errors
    /// As [`Word::expand`].
    pub fn expand_words(
        &self,
        escape: char,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Vec<String>, Diagnostic> {
        let mut lexer = Lexer::new(&self.raw, escape, lookup, Mode::Expand);
        let (_, words) = lexer.run().map_err(|failure| self.diagnostic(failure))?;
        Ok(words.into_iter().map(|word| word.text).collect())
    }

    fn diagnostic(&self, failure: Failure) -> Diagnostic {
        let diagnostic = Diagnostic::error(failure.code, self.span_of(failure.at), failure.message);
        match failure.help {
            Some(help) => diagnostic.with_help(help),
            None => diagnostic,
        }
    }
}

#[cfg(test)]
mod tests;
