//! Warnings of BuildKit's build checks that need values, and of what only kairn accepts.
//!
//! Each is a warning whose code is the name of its rule in [`kairn_spec::checks`].

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};

use kairn_image::Platform;
use kairn_image::reference::Reference;
use kairn_spec::dockerfile::{Dockerfile, Stage, Word};
use kairn_spec::ignore::IgnoreFile;
use kairn_spec::{Diagnostic, Span};

use super::CompileOptions;
use super::arguments::Globals;
use super::reach::Reach;
use super::stages::{Named, ResolvedStage, Stages};
use crate::check;

/// Words in the name of a variable that say that its value is secret.
const SECRET_WORDS: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
/// Words that say that it is not.
const PUBLIC_WORDS: [&str; 3] = ["public", "file", "version"];

/// A `from` has variables.
pub(super) fn variable_in_from(span: Span, name: &str) -> Diagnostic {
    let text = format!("variables in a `from` (here `{name}`) are expanded by no other builder");
    Diagnostic::warning("VariableInFrom", span, text)
        .with_help("for other builders, declare a stage with `FROM ${NAME} AS name` and read from that")
}

/// A stage is used before it is defined.
pub(super) fn later_stage(span: Span, reader: &ResolvedStage<'_>, source: &ResolvedStage<'_>) -> Diagnostic {
    let (reader, label) = (reader.label(), source.label());
    let text = format!(
        "stage `{reader}` reads from `{label}`, which is defined after it: no other builder takes that"
    );
    Diagnostic::warning("LaterStage", span, text)
        .with_related(source.syntax.span, format!("`{label}` is defined here"))
        .with_help(format!("for other builders, move the stage `{label}` above `{reader}`"))
}

/// Looks at the `--platform` of a FROM, of which `value` was made.
pub(super) fn platform_flag(
    word: &Word,
    value: &str,
    stage: &Stage,
    globals: &Globals,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let names = globals.names_in(word);
    if names.is_empty() {
        let Ok(platform) = value.parse::<Platform>() else { return };
        let name = stage.name.as_ref().map_or("", |name| &name.value);
        if name.contains(&platform.os) || name.contains(&platform.architecture) {
            return;
        }
        let text = format!("`--platform={value}` of a FROM is a constant");
        diagnostics.push(
            Diagnostic::warning("FromPlatformFlagConstDisallowed", word.span, text).with_help(
                "leave it out for the target's platform, or use `$BUILDPLATFORM`; or name the stage after the platform",
            ),
        );
    } else if names.len() == 1
        && names.contains("TARGETPLATFORM")
        && globals.get("TARGETPLATFORM") == Some(value)
    {
        let text = format!("`--platform={}` is what a FROM has without it", word.raw);
        let warning = Diagnostic::warning("RedundantTargetPlatform", word.span, text);
        diagnostics.push(warning.with_help("leave the flag out"));
    }
}

/// Looks at the FROMs as they are where nobody gives a build argument.
pub(super) fn default_bases(
    dockerfile: &Dockerfile,
    options: &CompileOptions,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let options = CompileOptions { build_args: std::collections::BTreeMap::new(), ..options.clone() };
    let mut unheard = Vec::new();
    let globals = Globals::new(dockerfile, &options, &mut unheard);
    if !unheard.is_empty() {
        return;
    }
    for stage in &dockerfile.stages {
        let Some(name) = globals.expand(&stage.base, &mut Vec::new()) else { return };
        if name.parse::<Reference>().is_err() {
            let text = format!("the base `{}` is no image when its ARGs have their defaults", stage.base.raw);
            let warning = Diagnostic::warning("InvalidDefaultArgInFrom", stage.base.span, text);
            diagnostics.push(warning.with_help("give the ARG before the first FROM a default"));
        }
    }
}

/// Looks at the name of a variable.
pub(super) fn secret_name(keyword: &str, name: &str, span: Span) -> Option<Diagnostic> {
    let lower = name.to_lowercase();
    let has_one_of = |words: &[&str]| lower.split('_').any(|part| words.contains(&part));
    if !has_one_of(&SECRET_WORDS) || has_one_of(&PUBLIC_WORDS) {
        return None;
    }
    let text =
        format!("`{name}` sounds like a secret, and everybody who has the image can read an {keyword}");
    let warning = Diagnostic::warning("SecretsUsedInArgOrEnv", span, text);
    Some(warning.with_help("give it to the RUNs that need it with `--mount=type=secret`"))
}

/// A second CMD, ENTRYPOINT or HEALTHCHECK makes the one before it vain.
pub(super) fn overridden(keyword: &str, first: Span, second: Span) -> Diagnostic {
    let text = format!("this {keyword} does nothing: the stage has another one after it");
    Diagnostic::warning("MultipleInstructionsDisallowed", first, text)
        .with_related(second, "this one counts")
        .with_help(format!("keep one {keyword} in a stage"))
}

/// A command in shell form gets no signals.
pub(super) fn shell_form(keyword: &str, span: Span) -> Diagnostic {
    let text = format!("{keyword} in shell form runs under a shell, which keeps signals from the program");
    Diagnostic::warning("JSONArgsRecommended", span, text).with_help(format!(
        "write `{keyword} [\"program\", \"argument\"]`, or set a SHELL to say that it is meant"
    ))
}

/// A relative WORKDIR depends on the base image.
pub(super) fn relative_workdir(path: &str, span: Span) -> Diagnostic {
    let text = format!("where `{path}` is depends on the base image's working directory");
    Diagnostic::warning("WorkdirRelativePath", span, text).with_help("write an absolute path")
}

/// Looks at one port of EXPOSE, expanded.
pub(super) fn port(text: &str, span: Span) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let (_, protocol) = text.split_once('/').unwrap_or((text, ""));
    if protocol != protocol.to_lowercase() {
        let message = format!("the protocol of `{text}` is not in lower case");
        let warning = Diagnostic::warning("ExposeProtoCasing", span, message);
        found.push(warning.with_help(format!("write `{}`", text.to_lowercase())));
    }
    if let Some((_, container)) = text.rsplit_once(':') {
        let message = format!("EXPOSE takes no address or port of the host, and `{text}` has one");
        let warning = Diagnostic::warning("ExposeInvalidFormat", span, message);
        found.push(warning.with_help(format!("write `{container}`")));
    }
    found
}

/// Looks for a source of COPY or ADD in the ignore file.
///
/// As in BuildKit, a file with `!` in it is left alone: what it lets through is not known from names.
pub(super) fn ignored_source(
    ignore: &IgnoreFile,
    path: &str,
    keyword: &str,
    span: Span,
) -> Option<Diagnostic> {
    if ignore.has_exceptions() {
        return None;
    }
    let path = super::paths::source(path);
    let is_ignored = if path == "." { ignore.ignores_everything() } else { ignore.matches(&path) };
    is_ignored.then(|| {
        let text = format!("{keyword} of `{path}`, which .dockerignore leaves out");
        Diagnostic::warning("CopyIgnoredFile", span, text)
            .with_help("take it out of .dockerignore, or do not copy it")
    })
}

/// Says that a stage is needed by nothing.
pub(super) const UNUSED_STAGE: &str = "UnusedStage";

/// Runs kairn's own checks; `targets` are the stages that somebody wants.
pub(super) fn whole_file(
    stages: &Stages<'_>,
    reach: &Reach<'_>,
    targets: &[usize],
    diagnostics: &mut Vec<Diagnostic>,
) {
    let needed: HashSet<usize> = targets.iter().flat_map(|target| reach.needed_by(*target)).collect();
    for (index, stage) in stages.list.iter().enumerate().filter(|&(index, _)| reach.contains(index)) {
        if !needed.contains(&index) {
            let text = format!("nothing needs the stage `{}`", stage.label());
            let warning = Diagnostic::warning(UNUSED_STAGE, stage.syntax.span, text);
            diagnostics.push(warning.with_help("remove it, or build it with `--target`"));
        }
        if let Named::Image((reference, _)) = &stage.base {
            diagnostics.extend(unpinned(&stage.syntax.base.raw, reference, stage.syntax.base.span));
        }
        for read in stage.reads.iter().flatten() {
            if let Named::Image((reference, _)) = &read.named {
                diagnostics.extend(unpinned(&read.text, reference, read.span));
            }
        }
        diagnostics.extend(check::stage(stage.syntax));
    }
}

/// Looks at the name of an image, as written and in canonical form.
fn unpinned(written: &str, reference: &str, span: Span) -> Option<Diagnostic> {
    let has_version =
        |text: &str| text.contains('@') || text.rsplit('/').next().is_some_and(|name| name.contains(':'));
    if written.contains('$') && !reference.ends_with(":latest") || has_version(written) {
        return None;
    }
    let text =
        format!("`{written}` has no tag and no digest: it is whatever `latest` is on the day of the build");
    Some(
        Diagnostic::warning("UnpinnedBase", span, text)
            .with_help("name a version, or a digest: `@sha256:...`"),
    )
}

/// Names the variables that are looked up while something runs.
pub(super) fn names_looked_up(run: impl FnOnce(&dyn Fn(&str))) -> BTreeSet<String> {
    let names = RefCell::new(BTreeSet::new());
    run(&|name| {
        names.borrow_mut().insert(name.to_owned());
    });
    names.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_secrets_by_their_names() {
        for (name, is_secret) in [
            ("API_KEY", true),
            ("token", true),
            ("GITHUB_TOKEN_FILE", false),
            ("PUBLIC_KEY", false),
            ("KEYBOARD", false),
            ("DB_PASSWORD", true),
            ("AUTHOR", false),
            ("KEY_VERSION", false),
        ] {
            let found = secret_name("ENV", name, Span::default());
            assert_eq!(found.is_some(), is_secret, "{name}");
        }
    }

    #[test]
    fn knows_ports_of_the_host() {
        let codes =
            |text| port(text, Span::default()).into_iter().map(|found| found.code).collect::<Vec<_>>();
        assert_eq!(codes("80/tcp"), [""; 0]);
        assert_eq!(codes("80/TCP"), ["ExposeProtoCasing"]);
        assert_eq!(codes("127.0.0.1:80:80/UDP"), ["ExposeProtoCasing", "ExposeInvalidFormat"]);
    }
}
