//! What `check=` says, as a directive, above an instruction, or as a build argument.

use std::collections::BTreeSet;

use super::keyword::nearest;
use crate::checks::{RULES, rule};
use crate::{Diagnostic, Span};

/// A `check=` directive or comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckDirective {
    /// The bytes of its value.
    pub span: Span,
    /// Rules that are not checked.
    pub skip: Skip,
    /// Whether a warning of a rule fails the build.
    pub error: bool,
    /// Experimental rules that are checked.
    pub experimental: Skip,
}

/// A choice of rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Skip {
    /// No rule.
    #[default]
    None,
    /// Every rule.
    All,
    /// These; a known rule has its own spelling here.
    Rules(BTreeSet<String>),
}

impl Skip {
    /// Whether a rule is among the chosen.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Rules(names) => names.contains(name),
        }
    }

    fn parse(text: &str) -> Self {
        if text == "all" {
            return Self::All;
        }
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let names: BTreeSet<_> =
            names.map(|name| rule(name).map_or(name, |rule| rule.name).to_owned()).collect();
        if names.is_empty() { Self::None } else { Self::Rules(names) }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let names = match self {
            Self::Rules(names) => Some(names),
            Self::None | Self::All => None,
        };
        names.into_iter().flatten().map(String::as_str)
    }
}

impl CheckDirective {
    /// Reads `skip=...;error=...;experimental=...`, parts in any order; the span is only kept.
    ///
    /// Differs: letter case in the names of rules does not matter.
    ///
    /// # Errors
    /// A message for an option that is unknown or has no value, and a value of `error` that is not true or false.
    pub fn parse(text: &str, span: Span) -> Result<Self, String> {
        let mut directive = Self { span, skip: Skip::None, error: false, experimental: Skip::None };
        if text.trim().is_empty() {
            return Ok(directive);
        }
        for part in text.split(';') {
            let (key, value) =
                part.split_once('=').ok_or_else(|| format!("check option `{}` has no value", part.trim()))?;
            let value = value.trim();
            match key.trim() {
                "skip" => directive.skip = Skip::parse(value),
                "experimental" => directive.experimental = Skip::parse(value),
                "error" => {
                    directive.error = parse_bool(value).ok_or_else(|| {
                        format!("check option `error` must be true or false, not `{value}`")
                    })?;
                }
                other => return Err(format!("unknown check option `{other}`")),
            }
        }
        Ok(directive)
    }

    /// Warns of names that are no rule's.
    pub(super) fn unknown_names(&self) -> Vec<Diagnostic> {
        let names = self.skip.names().chain(self.experimental.names()).filter(|name| rule(name).is_none());
        let warning = |name: &str| {
            let diagnostic =
                Diagnostic::warning("unknown-check", self.span, format!("there is no check `{name}`"));
            match nearest(name, RULES.iter().map(|rule| rule.name)) {
                Some(near) => diagnostic.with_help(format!("did you mean `{near}`?")),
                None => diagnostic,
            }
        };
        names.map(warning).collect()
    }
}

/// Reads a truth value as Go's `strconv.ParseBool` does.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(names: &[&str]) -> Skip {
        Skip::Rules(names.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn reads_options() {
        for (text, skip, error, experimental) in [
            ("skip=all", Skip::All, false, Skip::None),
            (
                "skip= StageNameCasing , undefinedvar,Other",
                rules(&["Other", "StageNameCasing", "UndefinedVar"]),
                false,
                Skip::None,
            ),
            ("error=true", Skip::None, true, Skip::None),
            ("experimental=all;error=1;skip=A", rules(&["A"]), true, Skip::All),
            ("skip=A;skip=B", rules(&["B"]), false, Skip::None),
            ("skip=", Skip::None, false, Skip::None),
            ("", Skip::None, false, Skip::None),
        ] {
            let directive = CheckDirective::parse(text, Span::default()).expect(text);
            assert_eq!(
                (directive.skip, directive.error, directive.experimental),
                (skip, error, experimental),
                "{text}"
            );
        }
        for (text, message) in [
            ("skip", "check option `skip` has no value"),
            ("skip=a;", "check option `` has no value"),
            ("skipp=a", "unknown check option `skipp`"),
            ("error=yes", "check option `error` must be true or false, not `yes`"),
        ] {
            assert_eq!(CheckDirective::parse(text, Span::default()).expect_err(text), message);
        }
    }
}
