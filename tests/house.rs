//! The rules of the house that the compiler does not keep.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which packages of the workspace each package may use.
const EDGES: &[(&str, &[&str])] = &[
    (".", &["kairn-compiler", "kairn-convert", "kairn-executor", "kairn-image", "kairn-spec"]),
    ("compiler", &["kairn-image", "kairn-spec"]),
    ("convert", &[]),
    ("executor", &["kairn-compiler", "kairn-image"]),
    ("image", &[]),
    ("spec", &[]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn manifest(package: &str) -> toml::Table {
    let path = root().join(package).join("Cargo.toml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn dependencies(package: &str) -> BTreeSet<String> {
    let manifest = manifest(package);
    let names = |section: &str| {
        manifest.get(section).and_then(toml::Value::as_table).map(|table| table.keys().cloned())
    };
    ["dependencies", "build-dependencies"].into_iter().filter_map(names).flatten().collect()
}

/// Every Rust file of a package, with its text.
fn sources(package: &str) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root().join(package).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a source folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source file");
                found.insert(path.strip_prefix(root()).expect("inside the house").to_owned(), text);
            }
        }
    }
    found
}

#[test]
fn packages_use_only_the_packages_below_them() {
    let members = manifest(".")["workspace"]["members"].clone();
    let members: BTreeSet<String> = members.try_into().expect("members are names");
    let known: BTreeSet<String> =
        EDGES.iter().map(|(package, _)| (*package).to_owned()).filter(|p| p != ".").collect();
    assert_eq!(members, known, "a new package needs its row in EDGES");
    for (package, allowed) in EDGES {
        let used = dependencies(package);
        let strangers: Vec<_> = used
            .iter()
            .filter(|name| name.starts_with("kairn") && !allowed.contains(&name.as_str()))
            .collect();
        assert!(strangers.is_empty(), "`{package}` must not use {strangers:?}");
    }
}

#[test]
fn only_the_image_package_speaks_to_the_network() {
    for (package, _) in EDGES.iter().filter(|(package, _)| *package != "image") {
        let used = dependencies(package);
        for client in ["reqwest", "rustls", "hyper", "ureq"] {
            assert!(!used.contains(client), "`{package}` must not use `{client}`");
        }
        for (path, text) in sources(package) {
            let sockets = ["std::net::Tcp", "std::net::Udp", "TcpStream", "TcpListener"];
            let found: Vec<_> = sockets.iter().filter(|name| text.contains(**name)).collect();
            assert!(found.is_empty(), "{}: {found:?}", path.display());
        }
    }
}

#[test]
fn only_the_sandbox_is_unsafe() {
    let sandbox = Path::new("executor/src/sandbox");
    for (path, text) in EDGES.iter().flat_map(|(package, _)| sources(package)) {
        let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
        let words = code.flat_map(|line| line.split(|c: char| !(c.is_alphanumeric() || c == '_')));
        let unsafe_words = words.filter(|word| *word == "unsafe").count();
        let allowed = path.starts_with(sandbox) || path == Path::new("executor/src/sandbox.rs");
        assert!(unsafe_words == 0 || allowed, "{} has `unsafe`", path.display());
    }
}

#[test]
fn json_keeps_its_sorted_keys() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--workspace",
            "--offline",
            "--locked",
            "--edges",
            "features",
            "--invert",
            "serde_json",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8_lossy(&tree.stdout);
    assert!(text.contains("serde_json"), "{text}");
    assert!(
        !text.contains("preserve_order"),
        "key order would follow insertion, and with it every digest:\n{text}"
    );
}

#[test]
fn the_ci_examples_give_options_that_exist() {
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_kairn"))
        .args(["build", "--help"])
        .output()
        .expect("kairn runs");
    let help = String::from_utf8_lossy(&help.stdout);
    let known: BTreeSet<&str> = help
        .split_whitespace()
        .map(|word| word.trim_end_matches(','))
        .filter(|w| w.starts_with("--"))
        .collect();
    let mut found = 0;
    for entry in std::fs::read_dir(root().join("examples/ci")).expect("examples/ci") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a text");
        let commands = text.lines().filter(|line| !line.contains("docker-") && !line.contains("docker run"));
        for option in commands.flat_map(str::split_whitespace).filter(|word| word.starts_with("--")) {
            let name = option.split('=').next().expect("a first piece");
            assert!(known.contains(name), "{}: `kairn build` has no `{name}`", path.display());
            found += 1;
        }
    }
    assert!(found >= 10, "only {found} options were found");
}

#[test]
fn the_readme_points_at_what_exists() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let (_, table) = readme.split_once("To change").expect("README.md has the table \"To change X, edit Y\"");
    let rows: Vec<&str> = table
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .collect();
    let paths: Vec<&str> = rows
        .iter()
        .flat_map(|row| row.split('`').skip(1).step_by(2))
        .filter(|word| word.contains('/') || word.contains('.'))
        .collect();
    assert!(paths.len() >= 10, "the table names its files in backticks: {rows:?}");
    let missing: Vec<_> = paths.iter().filter(|path| !root().join(path).exists()).collect();
    assert!(missing.is_empty(), "README.md names what does not exist: {missing:?}");
}
