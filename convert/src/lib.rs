//! Files that describe builds for other tools to the text of a `kairn.toml`: docker-bake files and compose files.
//!
//! In: the texts of files and their names. Out: one text, and a note for everything that could not be carried over.
//! Absent: files, the environment, the terminal, and what `kairn.toml` means.
//!
//! Reading order: [`Input`] and [`convert`] here, `expr` (expressions as bake writes them), `hcl` and `json` (how they
//! are read), `term` and `say` (values, of which some are expressions of `kairn.toml`), `eval` (from the one to the
//! other), `bake`, `yaml` (trees of compose files), `compose`, `spec` (what is written) and `toml` (how).

mod bake;
mod compose;
mod eval;
mod expr;
mod hcl;
mod json;
mod kind;
mod place;
mod report;
mod say;
mod spec;
mod term;
mod toml;
mod words;
mod yaml;

pub use kind::{DEFAULT_NAMES, Kind};
pub use report::{ConvertError, Note};

use report::Report;

/// The most bytes a file may have: 2 MiB.
pub const MAX_BYTES: usize = 2 << 20;

/// A file to convert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The file's name, as notes and errors say it.
    pub name: String,
    /// What its text is.
    pub kind: Kind,
    /// The whole text.
    pub text: String,
}

/// What a conversion needs to know beside the files.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// The project's name where no compose file gives one: as a rule that of the folder of the file.
    pub project: &'a str,
    /// The values of variables, where they are not those of the files.
    ///
    /// Only what has to be computed now takes them; what is written as an expression reads them again when it is
    /// built. For a file that is written to be kept, none should be given.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
}

/// What a conversion gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    /// The text of a `kairn.toml`.
    pub toml: String,
    /// What could not be carried over, or not as it was, in the order of the files.
    pub notes: Vec<Note>,
}

/// Converts files that belong together; later ones are merged into earlier ones as bake and compose do it.
///
/// Differs: `image:` of a compose service is a tag also where its build has `tags`, as for compose and not for bake.
///
/// # Errors
/// The first mistake that leaves no sense in the files: their syntax, unknown variables, or definitions in a circle.
pub fn convert(inputs: &[Input], options: &Options<'_>) -> Result<Converted, ConvertError> {
    let mut report = Report::new(inputs);
    for (file, input) in inputs.iter().enumerate() {
        if input.text.len() > MAX_BYTES {
            let what = format!("the file has more than {MAX_BYTES} bytes");
            return Err(report.error(place::Place::start(file), what));
        }
    }
    let mut spec = spec::Spec::default();
    compose::convert(inputs, options, &mut spec, &mut report)?;
    bake::convert(inputs, options, &mut spec, &mut report)?;
    spec.settle(&mut report);
    Ok(Converted { toml: toml::write(&spec), notes: report.into_notes() })
}
