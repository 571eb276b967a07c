//! `kairn convert`: bake and compose files to a kairn.toml.

use std::path::Path;

use kairn_convert::{Converted, DEFAULT_NAMES, Input, Kind, Options, convert};

use crate::args;
use crate::failure::Failure;
use crate::inputs::chosen::project_of;
use crate::inputs::context::read_text;

/// Runs the command.
pub fn run(args: &args::Convert) -> Result<(), Failure> {
    let mut names = args.files.clone();
    if names.is_empty() {
        names = DEFAULT_NAMES
            .iter()
            .filter(|name| Path::new(name).is_file())
            .map(|name| (*name).to_owned())
            .collect();
    }
    if names.is_empty() {
        return Err(Failure::user("there is no bake file and no compose file here")
            .with_help(format!("name one; known are {}", DEFAULT_NAMES.join(", "))));
    }
    let mut inputs = Vec::new();
    for name in names {
        let file = std::fs::File::open(&name)
            .map_err(|error| Failure::user(format!("cannot read `{name}`: {error}")))?;
        let kind = Kind::of_name(&name).ok_or_else(|| {
            Failure::user(format!("what `{name}` is cannot be told by its name"))
                .with_help("bake files end in `.hcl` or `.json`, compose files in `.yaml` or `.yml`")
        })?;
        let text = read_text(file, &name)?;
        inputs.push(Input { name, kind, text });
    }
    let project = project_of(Path::new("."));
    let options = Options { project: &project, environment: &|_| None };
    let Converted { toml, notes } =
        convert(&inputs, &options).map_err(|error| Failure::user(error.to_string()))?;
    for note in &notes {
        eprintln!("note: {note}");
    }
    match &args.output {
        None => print!("{toml}"),
        Some(path) => {
            if path.exists() && !args.force {
                return Err(Failure::user(format!("`{}` is there already", path.display()))
                    .with_help("write to another file with `-o`, or over it with `--force`"));
            }
            std::fs::write(path, toml)
                .map_err(|e| Failure::environment(format!("cannot write `{}`: {e}", path.display())))?;
        }
    }
    Ok(())
}
