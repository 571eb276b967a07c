//! The names that instructions read from: COPY --from and the `from` of RUN mounts.
//!
//! They say which stages come first, so they have their values before any stage is lowered: from the ARGs and ENVs of
//! the Dockerfile alone, not from the environment of a base image.

use kairn_spec::dockerfile::{Instruction, InstructionKind, Mount, Stage, Word};
use kairn_spec::{Diagnostic, Span};

use super::CompileOptions;
use super::arguments::Globals;
use super::variables::Variables;

/// A name that an instruction reads from.
#[derive(Clone, Debug)]
pub(crate) struct Mention {
    /// What reads.
    pub(crate) reader: Reader,
    /// The name, variables expanded.
    pub(crate) name: String,
    /// Where it stands.
    pub(crate) span: Span,
    /// Whether it has variables: no other builder takes it then.
    pub(crate) has_variables: bool,
}

/// What reads from a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// A COPY.
    Copy,
    /// A mount of a RUN, by its place among the mounts.
    Mount(usize),
}

/// Follows the variables of a stage from line to line.
#[derive(Clone, Debug)]
pub(crate) struct Walk<'a> {
    variables: Variables,
    globals: &'a Globals,
    options: &'a CompileOptions,
    escape: char,
}

impl<'a> Walk<'a> {
    /// Starts with the variables of the stage below, if there is one.
    pub(crate) fn new(
        below: Option<&Variables>,
        globals: &'a Globals,
        options: &'a CompileOptions,
        escape: char,
    ) -> Self {
        Self { variables: below.cloned().unwrap_or_default(), globals, options, escape }
    }

    /// Returns the variables after the last line.
    pub(crate) fn finish(self) -> Variables {
        self.variables
    }

    /// Walks over a stage; gives the names that each of its instructions mentions.
    pub(crate) fn stage(&mut self, stage: &Stage, diagnostics: &mut Vec<Diagnostic>) -> Vec<Vec<Mention>> {
        stage.instructions.iter().map(|instruction| self.instruction(instruction, diagnostics)).collect()
    }

    /// Walks over an instruction; gives the names that it mentions.
    pub(crate) fn instruction(
        &mut self,
        instruction: &Instruction,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Vec<Mention> {
        match &instruction.kind {
            InstructionKind::Arg(declarations) => {
                for declaration in declarations {
                    let Some(name) = self.value(&declaration.name) else { continue };
                    let value = match (self.options.build_args.get(&name), &declaration.default) {
                        (Some(given), _) => Some(given.clone()),
                        (None, Some(default)) => self.value(default),
                        (None, None) => self.globals.get(&name).map(str::to_owned),
                    };
                    if let Some(value) = value {
                        self.variables.set_last(&name, value);
                    }
                }
            }
            InstructionKind::Env(pairs) => {
                let pairs: Vec<_> = pairs
                    .iter()
                    .filter_map(|pair| self.value(&pair.key).zip(self.value(&pair.value)))
                    .collect();
                for (name, value) in pairs {
                    self.variables.set_last(&name, value);
                }
            }
            InstructionKind::Copy(copy) => {
                let from = copy.from.as_ref();
                return from
                    .and_then(|from| self.mention(Reader::Copy, from, diagnostics))
                    .into_iter()
                    .collect();
            }
            InstructionKind::Run(run) => {
                let froms =
                    run.mounts.iter().enumerate().filter_map(|(index, mount)| Some((index, from(mount)?)));
                return froms
                    .filter_map(|(index, from)| self.mention(Reader::Mount(index), from, diagnostics))
                    .collect();
            }
            _ => {}
        }
        Vec::new()
    }

    /// Expands a word; mistakes in it are found when the stage is lowered.
    fn value(&self, word: &Word) -> Option<String> {
        let lookup = |name: &str| self.variables.get(name).map(str::to_owned);
        word.expand(self.escape, &lookup).ok().map(|expansion| expansion.value)
    }

    fn mention(&self, reader: Reader, word: &Word, diagnostics: &mut Vec<Diagnostic>) -> Option<Mention> {
        let lookup =
            |name: &str| self.variables.get(name).or_else(|| self.globals.get(name)).map(str::to_owned);
        let expansion = match word.expand(self.escape, &lookup) {
            Ok(expansion) => expansion,
            Err(error) => {
                diagnostics.push(error);
                return None;
            }
        };
        if let Some(unknown) = expansion.undefined.first() {
            let text = format!("`{}` has no value here", unknown.value);
            diagnostics.push(Diagnostic::error("undefined-from", unknown.span, text).with_help(
                "declare it with an ARG or ENV of this Dockerfile: the environment of a base image is not known yet",
            ));
            return None;
        }
        if expansion.value.is_empty() {
            let text = format!("`{}` expands to nothing", word.raw);
            diagnostics.push(Diagnostic::error("empty-from", word.span, text));
            return None;
        }
        let has_variables = expansion.value != word.raw && word.raw.contains('$');
        Some(Mention { reader, name: expansion.value, span: word.span, has_variables })
    }
}

/// Returns what a mount reads from, if it says so. The last of several counts, as in BuildKit.
fn from(mount: &Mount) -> Option<&Word> {
    let field = mount.fields.iter().rfind(|field| field.key.value.eq_ignore_ascii_case("from"))?;
    field.value.as_ref().filter(|value| !value.raw.is_empty())
}
