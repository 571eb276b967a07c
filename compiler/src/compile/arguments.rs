//! ARGs before the first FROM, and the arguments that nobody has to declare.

use std::collections::BTreeSet;

use kairn_spec::Diagnostic;
use kairn_spec::dockerfile::{Dockerfile, InstructionKind, Word};

use super::reach::Reach;
use super::variables::Variables;
use super::{CompileOptions, lint, stages};
use kairn_spec::suggest::nearest;

/// Proxy arguments, which a RUN gets without an ARG, outside its key.
const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// ARGs that tell the build something and are no variables of a RUN.
pub(crate) const NOT_IN_ENVIRONMENT: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// The values that FROM sees, and that an ARG without a value imports into a stage.
#[derive(Debug)]
pub(crate) struct Globals {
    variables: Variables,
    /// Names of the global ARGs, with or without a value.
    declared: BTreeSet<String>,
    escape: char,
}

impl Globals {
    /// Evaluates the ARGs before the first FROM.
    pub(crate) fn new(
        dockerfile: &Dockerfile,
        options: &CompileOptions,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut globals =
            Self { variables: Variables::default(), declared: BTreeSet::new(), escape: dockerfile.escape };
        for (name, value) in platform_arguments(dockerfile, options) {
            let value = options.build_args.get(name).cloned().unwrap_or(value);
            globals.variables.set_last(name, value);
        }
        for instruction in &dockerfile.global_args {
            let InstructionKind::Arg(declarations) = &instruction.kind else { continue };
            for declaration in declarations {
                let Some(name) = globals.expand_silently(&declaration.name, diagnostics) else { continue };
                let value = match (options.build_args.get(&name), &declaration.default) {
                    (Some(value), _) => Some(value.clone()),
                    (None, Some(default)) => globals.expand_silently(default, diagnostics),
                    (None, None) => None,
                };
                if let Some(value) = value {
                    globals.variables.set_last(&name, value);
                }
                globals.declared.insert(name);
            }
        }
        globals
    }

    /// Returns the value of a global variable.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name)
    }

    /// Returns the names of the variables in a word.
    pub(crate) fn names_in(&self, word: &Word) -> BTreeSet<String> {
        lint::names_looked_up(|note| {
            let lookup = |name: &str| {
                note(name);
                self.variables.get(name).map(str::to_owned)
            };
            let _ = word.expand(self.escape, &lookup);
        })
    }

    /// Expands a word of FROM; a name that no global ARG declares is worth a warning.
    pub(crate) fn expand(&self, word: &Word, diagnostics: &mut Vec<Diagnostic>) -> Option<String> {
        let expansion = self.expand_word(word, diagnostics)?;
        for name in expansion.undefined {
            if self.declared.contains(&name.value) {
                continue;
            }
            let known = self.declared.iter().map(String::as_str).chain(self.variables.names());
            let mut warning = Diagnostic::warning(
                "UndefinedArgInFrom",
                name.span,
                format!("no ARG before the first FROM declares `{}`", name.value),
            );
            if let Some(near) = nearest(&name.value, known) {
                warning = warning.with_help(format!("did you mean `{near}`?"));
            }
            diagnostics.push(warning);
        }
        Some(expansion.value)
    }

    fn expand_silently(&self, word: &Word, diagnostics: &mut Vec<Diagnostic>) -> Option<String> {
        self.expand_word(word, diagnostics).map(|expansion| expansion.value)
    }

    fn expand_word(
        &self,
        word: &Word,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<kairn_spec::word::Expansion> {
        let lookup = |name: &str| self.variables.get(name).map(str::to_owned);
        word.expand(self.escape, &lookup).map_err(|error| diagnostics.push(error)).ok()
    }
}

/// Spec: Dockerfile reference, "Automatic platform ARGs in the global scope".
fn platform_arguments(dockerfile: &Dockerfile, options: &CompileOptions) -> Vec<(&'static str, String)> {
    let (build, target) = (&options.build_platform, &options.platform);
    let optional = |part: &Option<String>| part.clone().unwrap_or_default();
    vec![
        ("BUILDPLATFORM", build.to_string()),
        ("BUILDOS", build.os.clone()),
        ("BUILDOSVERSION", optional(&build.os_version)),
        ("BUILDARCH", build.architecture.clone()),
        ("BUILDVARIANT", optional(&build.variant)),
        ("TARGETPLATFORM", target.to_string()),
        ("TARGETOS", target.os.clone()),
        ("TARGETOSVERSION", optional(&target.os_version)),
        ("TARGETARCH", target.architecture.clone()),
        ("TARGETVARIANT", optional(&target.variant)),
        ("TARGETSTAGE", stages::target_name(dockerfile, options.target.as_deref())),
    ]
}

/// Returns the proxy variables of a RUN: both spellings of each, as BuildKit sets them, but for those in `env`.
pub(crate) fn proxies(options: &CompileOptions, env: &Variables) -> Vec<(String, String)> {
    let mut proxies = Vec::new();
    for upper in PROXIES {
        let lower = upper.to_ascii_lowercase();
        // In BuildKit the spelling that sorts last has its way, in a letter case of its own.
        let given = options.build_args.iter().rfind(|(name, _)| name.eq_ignore_ascii_case(upper));
        let Some((_, value)) = given.filter(|(_, value)| !value.is_empty()) else { continue };
        for name in [upper, &lower] {
            if !env.contains(name) {
                proxies.push((name.to_owned(), value.clone()));
            }
        }
    }
    proxies
}

/// Returns a notice of the build arguments that no ARG takes.
pub(crate) fn unconsumed(
    dockerfile: &Dockerfile,
    reach: &Reach<'_>,
    options: &CompileOptions,
) -> Option<String> {
    let own = dockerfile.stages.iter().flat_map(|stage| &stage.instructions).chain(&dockerfile.global_args);
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    for instruction in own.chain(reach.triggers()) {
        if let InstructionKind::Arg(declarations) = &instruction.kind {
            taken.extend(declarations.iter().map(|declaration| declaration.name.raw.as_str()));
        }
    }
    let automatic = platform_arguments(dockerfile, options);
    taken.extend(automatic.iter().map(|(name, _)| *name));
    let left: Vec<String> = options
        .build_args
        .keys()
        .filter(|name| !taken.contains(name.as_str()) && !is_predefined(name))
        .map(|name| format!("`{name}`"))
        .collect();
    let noun = if left.len() == 1 { "build argument" } else { "build arguments" };
    (!left.is_empty()).then(|| format!("no ARG takes the {noun} {}", left.join(", ")))
}

fn is_predefined(name: &str) -> bool {
    PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name))
        || ["BUILDKIT_CACHE_MOUNT_NS", "BUILDKIT_DOCKERFILE_CHECK", "SOURCE_DATE_EPOCH"].contains(&name)
}
