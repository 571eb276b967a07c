//! The rules that a Dockerfile is checked by, and which of them are on.
//!
//! A finding is a warning whose code is the rule's name. Spec: Docker's build checks; kairn's own have no page.

use crate::dockerfile::{CheckDirective, Dockerfile, Skip};
use crate::{Diagnostic, Severity, Span};

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The name, which `check=` and diagnostics use.
    pub name: &'static str,
    /// What it asks for, in one sentence.
    pub description: &'static str,
    /// The page that explains it; empty for rules without one.
    pub url: &'static str,
    /// Whether it is off unless `check=experimental=` names it.
    pub experimental: bool,
}

macro_rules! page {
    ("") => {
        ""
    };
    ($page:literal) => {
        concat!("https://docs.docker.com/go/dockerfile/rule/", $page, "/")
    };
}

macro_rules! rules {
    ($($name:literal $page:tt $experimental:literal $description:literal)*) => {
        /// All rules: BuildKit's, then kairn's own.
        pub const RULES: &[Rule] = &[$(Rule {
            name: $name,
            description: $description,
            url: page!($page),
            experimental: $experimental,
        }),*];
    };
}

rules! {
    "StageNameCasing" "stage-name-casing" false "a stage's name is in lower case"
    "FromAsCasing" "from-as-casing" false "AS has the letter case of FROM"
    "NoEmptyContinuation" "no-empty-continuation" false "no blank line is inside a continued instruction"
    "ConsistentInstructionCasing" "consistent-instruction-casing" false "all keywords are in upper case, or all in lower case"
    "DuplicateStageName" "duplicate-stage-name" false "no two stages have one name"
    "ReservedStageName" "reserved-stage-name" false "no stage is named `scratch` or `context`"
    "JSONArgsRecommended" "json-args-recommended" false "CMD and ENTRYPOINT have the JSON form, so that signals reach the program"
    "MaintainerDeprecated" "maintainer-deprecated" false "the author is a label, not a MAINTAINER"
    "UndefinedArgInFrom" "undefined-arg-in-from" false "a variable in FROM is an ARG declared before"
    "WorkdirRelativePath" "workdir-relative-path" false "a relative WORKDIR stands behind an absolute one"
    "UndefinedVar" "undefined-var" false "a variable is defined before its use"
    "MultipleInstructionsDisallowed" "multiple-instructions-disallowed" false "a stage has one CMD, ENTRYPOINT and HEALTHCHECK at most"
    "LegacyKeyValueFormat" "legacy-key-value-format" false "ENV and LABEL have the form `key=value`"
    "InvalidBaseImagePlatform" "" false "a base image is of the platform that is built for"
    "RedundantTargetPlatform" "redundant-target-platform" false "FROM does not ask for the platform that is the default"
    "SecretsUsedInArgOrEnv" "secrets-used-in-arg-or-env" false "no secret is in an ARG or ENV"
    "InvalidDefaultArgInFrom" "invalid-default-arg-in-from" false "the defaults of ARG give each FROM a valid image"
    "FromPlatformFlagConstDisallowed" "from-platform-flag-const-disallowed" false "the platform of a FROM is a variable"
    "CopyIgnoredFile" "copy-ignored-file" true "nothing is copied that `.dockerignore` leaves out"
    "InvalidDefinitionDescription" "invalid-definition-description" true "a comment right above an ARG or a named stage begins with its name"
    "ExposeProtoCasing" "expose-proto-casing" false "the protocol of a port is in lower case"
    "ExposeInvalidFormat" "expose-invalid-format" false "EXPOSE names ports of the container only"
    "UnusedStage" "" false "every stage is used by another, or is the last"
    "UnpinnedBase" "" false "a base image has a tag other than `latest`, or a digest"
    "SecretCopied" "" false "no file that is likely a secret is copied into the image"
    "AptListsLeft" "" false "the step that fetches apt's lists removes them"
    "InstallAfterWideCopy" "" false "packages are installed before the whole context is copied"
    "CacheMountMissing" "" false "a package manager's cache is a cache mount"
    "VariableInFrom" "" false "COPY and mounts name their source without variables, which other builders refuse"
    "LaterStage" "" false "a stage is defined above its use, as other builders ask for"
}

/// Finds a rule by its name, in any letter case.
pub fn rule(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.name.eq_ignore_ascii_case(name))
}

/// Which rules are on, in a whole file and above single instructions.
#[derive(Clone, Debug)]
pub struct Checks {
    file: CheckDirective,
    /// The comments above instructions, with the bytes they are for; in the order of the text.
    local: Vec<(Span, CheckDirective)>,
}

impl Checks {
    /// Collects what a Dockerfile says; the build argument `BUILDKIT_DOCKERFILE_CHECK`, if given, replaces the
    /// file's directive, but not the comments above instructions.
    ///
    /// # Errors
    /// A message for a build argument that cannot be read.
    pub fn of(dockerfile: &Dockerfile, build_arg: Option<&str>) -> Result<Self, String> {
        let file = match build_arg {
            Some(text) => CheckDirective::parse(text, Span::default())?,
            None => dockerfile.check.clone().unwrap_or(CheckDirective {
                span: Span::default(),
                skip: Skip::None,
                error: false,
                experimental: Skip::None,
            }),
        };
        let mut local = Vec::new();
        let mut add = |span, check: &Option<CheckDirective>| {
            local.extend(check.iter().map(|check| (span, check.clone())));
        };
        for instruction in &dockerfile.global_args {
            add(instruction.reach(), &instruction.check);
        }
        for stage in &dockerfile.stages {
            add(stage.span, &stage.check);
            for instruction in &stage.instructions {
                add(instruction.reach(), &instruction.check);
            }
        }
        Ok(Self { file, local })
    }

    /// Drops the warnings of rules that are off; what is no rule's stays.
    ///
    /// An experimental rule is on only where asked for; then, as in BuildKit, nothing skips it.
    pub fn filter(&self, diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
        diagnostics.into_iter().filter(|diagnostic| self.keeps(diagnostic)).collect()
    }

    /// Whether a warning that [`Checks::filter`] keeps fails the build.
    pub fn is_fatal(&self) -> bool {
        self.file.error
    }

    fn keeps(&self, diagnostic: &Diagnostic) -> bool {
        if diagnostic.severity == Severity::Error {
            return true;
        }
        let Some(rule) = RULES.iter().find(|rule| rule.name == diagnostic.code) else { return true };
        let local = self.at(diagnostic.span);
        let any = |choice: fn(&CheckDirective) -> &Skip| {
            choice(&self.file).has(rule.name) || local.is_some_and(|local| choice(local).has(rule.name))
        };
        if rule.experimental { any(|check| &check.experimental) } else { !any(|check| &check.skip) }
    }

    fn at(&self, span: Span) -> Option<&CheckDirective> {
        let after = self.local.partition_point(|(place, _)| place.start <= span.start);
        let (place, check) = &self.local[after.checked_sub(1)?];
        (span.end <= place.end).then_some(check)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::dockerfile::parse;

    #[test]
    fn rules_have_names_of_their_own() {
        let names: BTreeSet<_> = RULES.iter().map(|rule| rule.name.to_lowercase()).collect();
        assert_eq!(names.len(), RULES.len());
        assert_eq!(RULES.iter().position(|rule| rule.name == "UnusedStage"), Some(22));
        assert_eq!(rule("jsonargsrecommended").map(|rule| rule.name), Some("JSONArgsRecommended"));
        assert_eq!(rule("json"), None);
    }

    #[test]
    fn comments_and_directives_choose() {
        const FILE: &str =
            "FROM a AS One\n# check=skip=LegacyKeyValueFormat\nENV a b\nENV c d\n# no name\nARG x\n";
        for (directive, build_arg, expected) in [
            ("", None, vec!["StageNameCasing", "LegacyKeyValueFormat"]),
            ("# check=skip=all\n", None, vec![]),
            ("# check=skip=all\n", Some(""), vec!["StageNameCasing", "LegacyKeyValueFormat"]),
            ("# check=skip=stagenamecasing;error=true\n", None, vec!["LegacyKeyValueFormat"]),
            (
                "",
                Some("skip=StageNameCasing;experimental=all"),
                vec!["LegacyKeyValueFormat", "InvalidDefinitionDescription"],
            ),
        ] {
            let text = format!("{directive}{FILE}");
            let parsed = parse(&text);
            let checks = Checks::of(&parsed.dockerfile, build_arg).expect("a choice");
            assert_eq!(checks.is_fatal(), directive.contains("error") && build_arg.is_none());
            let kept = checks.filter(parsed.diagnostics);
            let codes: Vec<_> = kept.iter().map(|diagnostic| diagnostic.code).collect();
            assert_eq!(codes, expected, "{text} {build_arg:?}");
        }
        assert!(Checks::of(&parse(FILE).dockerfile, Some("x")).is_err());
    }
}
