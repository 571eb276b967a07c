//! What `kairn convert` writes is what kairn reads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kairn_spec::Severity;
use kairn_spec::workspace::{Loader, load};

#[test]
fn every_converted_file_is_a_kairn_toml() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("convert/tests/cases");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the cases of the conversion") {
        let path = entry.expect("an entry").path().join("kairn.toml");
        if !path.is_file() {
            continue;
        }
        count += 1;
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
    assert!(count > 30, "the cases are not where they should be");
}
