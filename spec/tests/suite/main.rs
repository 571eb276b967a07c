//! The parser from outside: cases, properties, and other parsers as oracles.

mod cases;
mod lines;
mod oracle;
mod outline;
mod properties;
mod trees;
mod workspace;

use std::path::{Path, PathBuf};

/// Returns the name and the text of each case below `tests/cases/<folder>`.
fn cases(folder: &str) -> Vec<(String, String)> {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(folder);
    let mut cases: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder of cases is readable")
        .map(|entry| entry.expect("the folder of cases is readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "Dockerfile"))
        .map(|path| {
            let name = path.file_stem().expect("a case has a name").to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).expect("a case is readable"))
        })
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "{} has cases", folder.display());
    cases
}
