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

#[test]
fn the_environment_gives_what_is_computed_now() {
    let text = "variable \"TAG\" { default = \"v1\" }\n\
                target \"app\" {\n args = { LENGTH = strlen(TAG) }\n tags = [\"app:${TAG}\"]\n}\n";
    let input = Input { name: "docker-bake.hcl".to_owned(), kind: Kind::BakeHcl, text: text.to_owned() };
    let environment = |name: &str| (name == "TAG").then(|| "longer".to_owned());
    let converted = convert(&[input], &Options { project: "folder", environment: &environment });
    let converted = converted.expect("it is a bake file");
    let table: toml::Table = converted.toml.parse().expect("it is TOML");
    assert_eq!(table["image"]["app"]["args"]["LENGTH"].as_integer(), Some(6));
    assert_eq!(table["image"]["app"]["tags"][0].as_str(), Some("app:${TAG}"));
    assert_eq!(table["vars"]["TAG"]["default"].as_str(), Some("v1"));
    assert_eq!(converted.notes.len(), 1, "{:?}", converted.notes);
}

#[test]
fn nothing_gives_nothing() {
    let converted = converted(&[]).expect("no file has no mistake");
    assert_eq!((converted.toml.as_str(), converted.notes.len()), ("", 0));
}
