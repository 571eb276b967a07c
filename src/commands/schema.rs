//! `kairn schema`: what a kairn.toml may say.

use kairn_spec::workspace::{reference, schema};

use crate::args::{Schema, SchemaFormat};

/// Runs the command.
pub fn run(args: &Schema) {
    match args.format {
        SchemaFormat::Json => println!("{:#}", schema()),
        SchemaFormat::Markdown => print!("{}", reference()),
    }
}
