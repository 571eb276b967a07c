//! Each folder of `tests/cases` holds files to convert, and beside them what they give: `kairn.toml` and `notes`, or
//! `error`. With `INSTA_UPDATE=always` they are written, to be read as a diff.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use kairn_convert::{DEFAULT_NAMES, Kind};

use super::converted;

#[test]
fn cases_give_what_they_gave() {
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases"))
            .expect("the folder of cases is readable")
            .map(|entry| entry.expect("an entry").path())
            .collect();
    folders.sort();
    assert!(!folders.is_empty(), "only {} cases were found", folders.len());
    let wrong: Vec<String> = folders.iter().filter_map(|folder| check(folder)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns what is different in a case.
fn check(folder: &Path) -> Option<String> {
    let files = files(folder);
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let (toml, notes, error) = match converted(&files) {
        Ok(converted) => {
            let parsed = converted.toml.parse::<toml::Table>();
            assert!(parsed.is_ok(), "{}: {parsed:?}\n{}", folder.display(), converted.toml);
            let mut notes = String::new();
            for note in converted.notes {
                writeln!(notes, "{note}").expect("a string can be written");
            }
            (converted.toml, notes, String::new())
        }
        Err(error) => (String::new(), String::new(), format!("{error}\n")),
    };
    let found = [("kairn.toml", toml), ("notes", notes), ("error", error)];
    let different: Vec<String> = found
        .iter()
        .filter_map(|(name, text)| {
            let path = folder.join(name);
            let known = std::fs::read_to_string(&path).unwrap_or_default();
            if known == *text {
                return None;
            }
            if std::env::var("INSTA_UPDATE").is_ok_and(|value| value == "always") {
                update(&path, text);
                return None;
            }
            Some(format!("{}:\n--- expected\n{known}--- found\n{text}", path.display()))
        })
        .collect();
    (!different.is_empty()).then(|| different.join("\n"))
}

fn update(path: &Path, text: &str) {
    if text.is_empty() {
        std::fs::remove_file(path).expect("what is no longer said can be removed");
    } else {
        std::fs::write(path, text).expect("a case is writable");
    }
}

/// Returns the files of a case in the order in which bake takes them.
fn files(folder: &Path) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = std::fs::read_dir(folder)
        .expect("a case is readable")
        .map(|entry| entry.expect("an entry").path())
        .filter_map(|path| {
            let name = path.file_name()?.to_string_lossy().into_owned();
            Kind::of_name(&name)?;
            Some((name, std::fs::read_to_string(path).expect("a case is readable")))
        })
        .collect();
    files.sort_by_key(|(name, _)| {
        let place = DEFAULT_NAMES.iter().position(|known| known == name);
        (place.unwrap_or(usize::MAX), name.clone())
    });
    files
}
