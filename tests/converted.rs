//! What `kairn convert` writes is what kairn reads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kairn_convert::{Converted, DEFAULT_NAMES, Input, Kind, Options, convert};
use kairn_spec::Severity;
use kairn_spec::workspace::{Loader, Workspace, load};

/// The folders of the cases.
fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("convert/tests/cases");
    let entries = std::fs::read_dir(folder).expect("the cases of the conversion");
    entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|case| case.join("kairn.toml").is_file())
        .collect()
}

#[test]
fn every_converted_file_is_a_kairn_toml() {
    let cases = cases();
    assert!(cases.len() > 30, "the cases are not where they should be");
    for case in cases {
        let path = case.join("kairn.toml");
        // Variables without a default are given by somebody.
        let environment = |_: &str| Some("given".to_owned());
        let without = |_: &str| None;
        let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| error.to_string());
        let find = |_: &Path| Vec::<PathBuf>::new();
        let vars = BTreeMap::new();
        let load_with = |environment: &dyn Fn(&str) -> Option<String>| {
            let loader = Loader { vars: &vars, environment, read: &read, find: &find };
            let loaded = load(&path, &loader).expect("it is there");
            let errors = loaded.diagnostics.into_iter().filter(|found| found.severity == Severity::Error);
            let errors: Vec<_> = errors.filter(|found| found.code != "invalid-value").collect();
            (errors, loaded.workspace)
        };
        let (mut errors, mut workspace) = load_with(&without);
        if errors.iter().any(|found| found.code == "missing-value") {
            (errors, workspace) = load_with(&environment);
        }
        assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
        for image in &workspace.images {
            image.stages().unwrap_or_else(|error| panic!("{}: {error:?}", path.display()));
        }
        workspace.select(&[]).unwrap_or_else(|error| panic!("{}: {error:?}", path.display()));
    }
}

/// The files of a case, in the order in which they are merged.
fn inputs(case: &Path) -> Vec<Input> {
    let names = std::fs::read_dir(case).expect("a case").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort_by_key(|name| (DEFAULT_NAMES.iter().position(|known| known == name), name.clone()));
    let input = |name: String| {
        let kind = Kind::of_name(&name)?;
        let text = std::fs::read_to_string(case.join(&name)).expect("a file of a case");
        Some(Input { name, kind, text })
    };
    names.into_iter().filter_map(input).collect()
}

/// The images of a kairn.toml with their options, without the places where they stand; nothing where it has mistakes.
fn images(toml: &str, environment: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let read = |_: &Path| Ok(toml.to_owned());
    let find = |_: &Path| Vec::<PathBuf>::new();
    let vars = BTreeMap::new();
    let loader = Loader { vars: &vars, environment, read: &read, find: &find };
    let loaded = load(Path::new("kairn.toml"), &loader).expect("it is there");
    if loaded.diagnostics.iter().any(|found| found.severity == Severity::Error) {
        return None;
    }
    let Workspace { images, .. } = loaded.workspace;
    let text = format!("{:?}", images.iter().map(|image| (&image.name, &image.options)).collect::<Vec<_>>());
    let mut parts = text.split("place: Place {");
    let mut without = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        without.push_str(part.split_once("} }").map_or(part, |(_, after)| after));
    }
    Some(without)
}

/// A variable that decides less than it did in the other tool's file is named in a note.
#[test]
fn what_a_variable_no_longer_decides_is_noted() {
    let mut compared = 0;
    for case in cases() {
        let inputs = inputs(&case);
        let converted = |environment: &dyn Fn(&str) -> Option<String>| -> Option<Converted> {
            convert(&inputs, &Options { project: "project", environment }).ok()
        };
        let Some(kept) = converted(&|_| None) else { continue };
        let spec: toml::Table = kept.toml.parse().expect("it is TOML");
        for (name, variable) in spec.get("vars").and_then(toml::Value::as_table).into_iter().flatten() {
            let Some(source) = variable.get("env").and_then(toml::Value::as_str) else { continue };
            let value = match variable.get("default") {
                Some(toml::Value::Boolean(value)) => (!value).to_string(),
                Some(toml::Value::Integer(_)) => "7".to_owned(),
                _ => "9.8-other".to_owned(),
            };
            let environment = |name: &str| (name == source).then(|| value.clone());
            let Some(now) = converted(&environment) else { continue };
            let (Some(kept_images), Some(images)) =
                (images(&kept.toml, &environment), images(&now.toml, &environment))
            else {
                continue;
            };
            compared += 1;
            let is_noted = kept.notes.iter().any(|note| note.to_string().contains(&format!("`{name}`")));
            assert!(
                is_noted || kept_images == images,
                "{}: `{name}`\n{kept_images}\n{images}",
                case.display()
            );
        }
    }
    assert!(compared > 40, "only {compared} variables were tried");
}
