//! kairn.toml: `tests/cases/workspace`, what is read from each file, and what is said of it.
//!
//! A line `#--- NAME` begins another file; `#var NAME=VALUE` and `#env NAME=VALUE` at the top give values.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use kairn_spec::Severity;
use kairn_spec::diagnostic::{Color, render};
use kairn_spec::dockerfile::Parsed;
use kairn_spec::workspace::types::ImageOptions;
use kairn_spec::workspace::{Loaded, Loader, Workspace, load, reference, schema};
use proptest::prelude::*;

fn cases() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/workspace");
    let entries = std::fs::read_dir(&folder).expect("the folder of cases is readable");
    let mut cases: Vec<_> = entries
        .map(|entry| entry.expect("the folder of cases is readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| {
            let name = path.file_stem().expect("a case has a name").to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).expect("a case is readable"))
        })
        .collect();
    cases.sort();
    assert!(cases.len() > 5);
    cases
}

/// Loads the files of a case.
fn loaded(text: &str) -> Loaded {
    let mut files: BTreeMap<PathBuf, String> = BTreeMap::new();
    let mut path = PathBuf::from("kairn.toml");
    let (mut vars, mut env) = (BTreeMap::new(), BTreeMap::new());
    for line in text.split_inclusive('\n') {
        let pair = |rest: &str| {
            let (name, value) = rest.trim().split_once('=').expect("NAME=VALUE");
            (name.to_owned(), value.to_owned())
        };
        if let Some(name) = line.strip_prefix("#--- ") {
            path = PathBuf::from(name.trim());
            continue;
        }
        if let Some(rest) = line.strip_prefix("#var ") {
            vars.extend([pair(rest)]);
        }
        if let Some(rest) = line.strip_prefix("#env ") {
            env.extend([pair(rest)]);
        }
        files.entry(path.clone()).or_default().push_str(line);
    }
    let read = |path: &Path| files.get(path).cloned().ok_or_else(|| "it is not there".to_owned());
    let find = |pattern: &Path| {
        let pattern = pattern.to_string_lossy().into_owned();
        let (before, after) = pattern.split_once('*').expect("a pattern has a star");
        let like = |path: &&PathBuf| {
            let path = path.to_string_lossy();
            path.starts_with(before) && path.ends_with(after)
        };
        files.keys().filter(like).cloned().collect()
    };
    let environment = |name: &str| env.get(name).cloned();
    let loader = Loader { vars: &vars, environment: &environment, read: &read, find: &find };
    load(Path::new("kairn.toml"), &loader).expect("the first file is there")
}

fn outline(workspace: &Workspace) -> String {
    let mut text = String::new();
    for image in &workspace.images {
        let _ = writeln!(text, "image {} (of {})", image.name.value, image.table);
        outline_options(&mut text, &image.options);
        if let Ok(Some((parsed, _))) = image.stages() {
            outline_stages(&mut text, &parsed);
        }
    }
    for shared in &workspace.stages {
        let _ = writeln!(text, "stage {}", shared.name.value);
        outline_stages(&mut text, &shared.stages().0);
    }
    for group in &workspace.groups {
        let selected = workspace.select(std::slice::from_ref(&group.name.value)).expect("a group is known");
        let names: Vec<&str> = selected.iter().map(|at| workspace.images[*at].name.value.as_str()).collect();
        let _ = writeln!(text, "group {} = {}", group.name.value, names.join(" "));
    }
    let all = workspace.select(&[]).expect("there is a default");
    let _ = writeln!(text, "default: {} of {}", all.len(), workspace.images.len());
    text
}

fn outline_options(text: &mut String, options: &ImageOptions) {
    // What is empty is not worth a line, and places are not what is tested here.
    let shown = format!("{options:#?}");
    let mut depth_of_place = None;
    let mut lines: Vec<String> = Vec::new();
    for line in shown.lines().skip(1) {
        let depth = line.len() - line.trim_start().len();
        if let Some(place) = depth_of_place {
            if depth <= place {
                depth_of_place = None;
            }
            continue;
        }
        if line.trim_start().starts_with("place: Place {") {
            depth_of_place = Some(depth);
            continue;
        }
        lines.push(line.trim().to_owned());
    }
    let joined = lines.join(" ");
    let joined = joined.replace("At { value: ", "").replace(", }", "").replace(" ,", ",");
    for part in joined.split(", ") {
        let is_empty = ["None", "[]", "Pairs( [] )", "()"].iter().any(|empty| part.ends_with(empty));
        if !is_empty && !matches!(part.trim(), "}" | ")" | "]" | "),") {
            let _ = writeln!(text, "  {part}");
        }
    }
}

fn outline_stages(text: &mut String, parsed: &Parsed) {
    for instruction in &parsed.dockerfile.global_args {
        let _ = writeln!(text, "  before: {}", instruction.text);
    }
    for stage in &parsed.dockerfile.stages {
        let name = stage.name.as_ref().map_or("", |name| name.value.as_str());
        let _ = writeln!(text, "  FROM {} AS {name}", stage.base.raw);
        for instruction in &stage.instructions {
            let _ = writeln!(text, "    {}", instruction.text);
        }
    }
    for found in &parsed.diagnostics {
        let _ = writeln!(text, "  {}: {}", found.code, found.message);
    }
}

fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../cases/workspace");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn files_have_these_images_and_diagnostics() {
    for (name, text) in cases() {
        let Loaded { workspace, files, diagnostics } = loaded(&text);
        let mut out = String::new();
        for found in &diagnostics {
            let file = &files[found.file.0 as usize];
            out.push_str(&render(
                std::slice::from_ref(found),
                &file.path.display().to_string(),
                &file.text,
                Color::Plain,
            ));
        }
        if diagnostics.iter().all(|found| found.severity == Severity::Warning) {
            out.push_str(&outline(&workspace));
        }
        snapshot(&name, &out);
    }
}

#[test]
fn the_schema_knows_what_the_reader_reads() {
    let schema = schema();
    let keys = schema["properties"].as_object().expect("a table");
    for key in ["include", "vars", "defaults", "template", "image", "stage", "group", "build"] {
        assert!(keys.contains_key(key), "{key}");
    }
    let image = &schema["$defs"]["ImageOptions"];
    assert_eq!(image["additionalProperties"], false);
    for key in ["context", "matrix", "name", "cache-from", "stage", "requires", "dockerfile-inline"] {
        assert!(image["properties"][key]["description"].is_string(), "{key} has no words");
    }
    assert!(!schema.to_string().contains("\"null\""), "TOML has no null");
}

#[test]
fn every_key_has_a_line_on_the_page() {
    let page = reference();
    let mut defs: Vec<&serde_json::Value> =
        schema()["$defs"].as_object().expect("a table").values().collect();
    defs.push(schema());
    for key in defs.iter().filter_map(|def| def["properties"].as_object()).flat_map(serde_json::Map::keys) {
        assert!(page.contains(&format!("| `{key}`")), "{key}");
    }
}

/// `KAIRN_UPDATE=1` writes them anew.
#[test]
fn the_written_schema_and_page_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, text) in [("kairn.schema.json", format!("{:#}\n", schema())), ("kairn.toml.md", reference())] {
        let path = folder.join(name);
        if std::env::var_os("KAIRN_UPDATE").is_some() {
            std::fs::write(&path, &text).expect("it can be written");
        }
        let written = std::fs::read_to_string(&path).expect("it is there");
        assert!(written == text, "{name} is not what `kairn schema` says: run the test with KAIRN_UPDATE=1");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn nothing_makes_it_panic(at in 0..4000_usize, len in 0..40_usize, with in "[\\[\\]{}\"'=.,a-z$0-9 \n*!#-]{0,12}") {
        let text = cases().swap_remove(at % cases().len()).1;
        let start = text.floor_char_boundary(at % (text.len() + 1));
        let end = text.ceil_char_boundary((start + len).min(text.len()));
        let text = format!("{}{with}{}", &text[..start], &text[end..]);
        if text.contains("#var") || text.contains("#env") || text.starts_with("#---") {
            return Ok(());
        }
        let Loaded { workspace, files, diagnostics } = loaded(&format!("#\n{text}"));
        for found in &diagnostics {
            prop_assert!(found.span.end <= files[found.file.0 as usize].text.len());
        }
        for image in &workspace.images {
            let _ = image.stages();
        }
        let _ = workspace.select(&[]);
    }
}
