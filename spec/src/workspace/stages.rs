//! Stages that are written in TOML, as the syntax tree of a Dockerfile: what comes after knows no difference.
//!
//! Strings become [`Word`]s that are quoted as a whole where they have to be, so that only variables in them count. What a
//! Dockerfile takes as it stands (commands, patterns, triggers) stays as it is.

use std::collections::BTreeMap;

use super::de::{At, Pairs};
use super::instructions::{Writer, instruction};
use super::steps::Step;
use super::types::Stage as StageOptions;
use super::words::{ESCAPE, word};
use super::{Image, Shared};
use crate::dockerfile::keyword::Keyword;
use crate::dockerfile::{ArgDeclaration, Dockerfile, InstructionKind, Parsed, Stage, Word, from};
use crate::{Diagnostic, FileId, Spanned};

impl Image {
    /// Returns the stages that are written in the spec as a syntax tree, and the file that they stand in; nothing where the
    /// image has a Dockerfile.
    ///
    /// # Errors
    /// There are stages as well as a Dockerfile.
    pub fn stages(&self) -> Result<Option<(Parsed, FileId)>, Diagnostic> {
        let stages = &self.options.stage;
        let Some((name, _)) = stages.0.iter().find(|(_, stage)| stage.is_written()) else { return Ok(None) };
        if let Some(other) = self.options.dockerfile.as_ref().or(self.options.dockerfile_inline.as_ref()) {
            let error = other.place.error("two-sources", "the image has a Dockerfile as well as stages");
            return Err(error.with_help(format!(
                "the stage `{}` is written in the spec: leave one of both out",
                name.value
            )));
        }
        let mut arguments = wanted(stages, &self.variables);
        for (name, value) in &self.options.args.0 {
            if is_in_from(stages, &name.value) {
                arguments.insert(name.value.clone(), value.0.clone());
            }
        }
        Ok(Some(dockerfile(stages, &arguments)))
    }
}

impl Shared {
    /// Returns the stage as a syntax tree, and the file that it stands in.
    pub fn stages(&self) -> (Parsed, FileId) {
        let stages = Pairs(vec![(self.name.clone(), self.stage.stage.clone())]);
        dockerfile(&stages, &wanted(&stages, &self.variables))
    }
}

/// The variables that stages see as ARGs before the first FROM: those that a FROM, or an ARG without a default, names.
fn wanted(stages: &Pairs<StageOptions>, variables: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let declared = |name: &str| {
        let steps =
            stages.0.iter().flat_map(|(_, stage)| &stage.steps).filter_map(|step| match &step.value {
                Step::Arg(step) => Some(&step.arg),
                _ => None,
            });
        let all =
            stages.0.iter().filter_map(|(_, stage)| stage.args.as_ref()).map(|args| &args.value).chain(steps);
        all.flat_map(|args| &args.0).any(|(declared, default)| declared.value == name && default.is_none())
    };
    let wanted = variables.iter().filter(|(name, _)| is_in_from(stages, name) || declared(name));
    wanted.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn is_in_from(stages: &Pairs<StageOptions>, name: &str) -> bool {
    let words = stages.0.iter().flat_map(|(_, stage)| [&stage.from, &stage.platform]).flatten();
    words.into_iter().any(|word| word.value.contains('$') && word.value.contains(name))
}

impl StageOptions {
    /// Says whether it is more than what the stage of a Dockerfile needs.
    fn is_written(&self) -> bool {
        let Self { from, platform, cpu: _, memory: _, timeout: _, retries: _, shell, args, env, .. } = self;
        let Self { workdir, steps, labels, expose, volumes, user, stopsignal, .. } = self;
        let Self { healthcheck, entrypoint, cmd, onbuild, .. } = self;
        [from, platform, workdir, user].into_iter().any(Option::is_some)
            || !steps.is_empty()
            || shell.is_some()
            || args.is_some()
            || env.is_some()
            || labels.is_some()
            || expose.is_some()
            || volumes.is_some()
            || stopsignal.is_some()
            || healthcheck.is_some()
            || entrypoint.is_some()
            || cmd.is_some()
            || onbuild.is_some()
    }
}

/// Makes the syntax tree of stages; `arguments` are ARGs before the first FROM. Also returns the file that they are in.
fn dockerfile(stages: &Pairs<StageOptions>, arguments: &BTreeMap<String, String>) -> (Parsed, FileId) {
    let file = stages.0.first().map(|(name, _)| name.place.file).unwrap_or_default();
    let mut diagnostics = Vec::new();
    let place = stages.0.first().map(|(name, _)| name.place).unwrap_or_default();
    let global_args = arguments.iter().map(|(name, value)| {
        let declaration = ArgDeclaration {
            name: Word::new(name.as_str(), place.span),
            default: Some(word(&At::new(value.clone(), place))),
        };
        instruction(Keyword::Arg, place, name, InstructionKind::Arg(vec![declaration]))
    });
    let global_args = global_args.collect();
    let mut list = Vec::new();
    for (index, (name, options)) in stages.0.iter().enumerate() {
        if name.place.file != file {
            let text = format!("the stage `{}` is in another file than the stages before it", name.value);
            let error = name.place.error("scattered-stages", text);
            diagnostics.push(
                error.with_help("write the stages of an image in one file, or share one as `[stage.NAME]`"),
            );
        }
        diagnostics.extend(from::wrong_stage_name(&name.value, name.place.span));
        let mut writer = Writer { instructions: Vec::new(), diagnostics: &mut diagnostics };
        let base = options.from.as_ref().map_or_else(|| Word::new("scratch", name.place.span), word);
        writer.stage(options);
        list.push(Stage {
            index,
            span: options.from.as_ref().map_or(name.place.span, |from| from.place.span),
            platform: options.platform.as_ref().map(word),
            base,
            name: Some(Spanned::new(name.value.to_lowercase(), name.place.span)),
            check: None,
            instructions: writer.instructions,
        });
    }
    let dockerfile = Dockerfile { escape: ESCAPE, syntax: None, check: None, global_args, stages: list };
    diagnostics.sort_by_key(|found| (found.span, found.severity));
    (Parsed { dockerfile, diagnostics, has_all_stages: true }, file)
}
