//! Conversion from outside: cases, hostile files, and properties.

mod cases;
mod hostile;
mod properties;

use kairn_convert::{ConvertError, Converted, Input, Kind, Options, convert};

/// Converts files with nothing in the environment.
fn converted(files: &[(&str, &str)]) -> Result<Converted, ConvertError> {
    let inputs: Vec<Input> = files
        .iter()
        .map(|(name, text)| Input {
            name: (*name).to_owned(),
            kind: Kind::of_name(name).expect("the name tells"),
            text: (*text).to_owned(),
        })
        .collect();
    convert(&inputs, &Options { project: "folder", environment: &|_| None })
}
