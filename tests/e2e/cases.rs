//! The Dockerfile language, case by case: `tests/cases/<group>/<name>/` has a Dockerfile, perhaps a `context` folder,
//! and in `expect.toml` what BuildKit makes of them and why.
//!
//! In the texts of a case `{busybox}` stands for the busybox base, `{registry}` for the loopback registry and `{web}` for
//! a web server that has `tests/cases/web` (and its Git repository `repo.git`). `KAIRN_CASES=word` runs the cases
//! whose names have the word.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde::Deserialize;
use serde_json::Value;

use crate::support::container::RunningPod;
use crate::support::web::Web;
use crate::support::{self, Context, Image, Kairn, Outcome, Pod, Profile, can_run};

/// How many cases there are at least.
const AT_LEAST: usize = 250;
/// How many run at a time.
const THREADS: usize = 4;

/// What a case expects. Everything that is given is checked, and something must be.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Expect {
    /// The rule, and where it is from.
    why: String,
    /// Arguments for the command; `{dir}` stands for the case's folder.
    args: Vec<String>,
    /// Variables for the command.
    env: BTreeMap<String, String>,
    /// What is set on files of the context first: `name = "0640"`, `"-> target"`, `"fifo"`, `"= name"` for a hard link.
    files: BTreeMap<String, String>,
    /// What is given instead of the context folder.
    context: Option<String>,
    /// A file of the case's folder on standard input.
    stdin: Option<String>,
    /// Lines of the listing of the file tree.
    tree: Vec<String>,
    /// Paths that are not in the tree.
    absent: Vec<String>,
    /// Lines of the listing of the topmost layer: all of them.
    layer: Option<Vec<String>>,
    /// How many layers the image has.
    layers: Option<usize>,
    /// Fields of the image's config, `config.Env` and the like; `null` as a string for a field that is not there.
    config: BTreeMap<String, toml::Value>,
    /// The last texts of the history, in order.
    history: Vec<String>,
    /// Lines of the progress.
    output: Vec<String>,
    /// Words of standard error, with success or with the exit code of `error`.
    says: Vec<String>,
    /// The exit code; 0 if none.
    error: i32,
    /// What a build says instead where there are no namespaces, with the exit code 2.
    without_namespaces: Option<String>,
    /// Set where what a RUN sees needs mounts: a file system that is read-only, or of a size.
    needs_mounts: bool,
    /// What `kairn check` finds: `Rule:line`, all of it.
    lints: Option<Vec<String>>,
}

impl Expect {
    fn expects_something(&self) -> bool {
        self.expects_an_image() || !self.output.is_empty() || !self.says.is_empty() || self.lints.is_some()
    }

    fn expects_an_image(&self) -> bool {
        let lists = [&self.tree, &self.absent, &self.history];
        lists.iter().any(|list| !list.is_empty())
            || !self.config.is_empty()
            || self.layers.is_some()
            || self.layer.is_some()
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

fn cases() -> Vec<PathBuf> {
    let subfolders = |folder: &Path| -> Vec<PathBuf> {
        let entries =
            std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir()).collect()
    };
    let groups = subfolders(&folder()).into_iter().filter(|group| !group.ends_with("web"));
    let mut cases: Vec<PathBuf> = groups.flat_map(|group| subfolders(&group)).collect();
    cases.sort();
    cases
}

/// Where the cases run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// As root of this machine: the rung `userns`.
    Here,
    /// In a pod.
    Pod(Profile),
}

/// Digests of manifests, by case.
type Digests = BTreeMap<PathBuf, String>;

/// What came of the cases in a place.
struct Ran {
    digests: Digests,
    /// How many could run.
    cases: usize,
}

/// What came of a case.
enum Done {
    /// The place cannot do what it needs.
    Skipped,
    /// It is as expected; an image's digest, where there is one.
    Right(Option<String>),
}

#[test]
fn every_case_gives_what_buildkit_gives() {
    let cases = cases();
    assert!(cases.len() >= AT_LEAST, "there are only {} cases", cases.len());
    if !can_run() {
        return;
    }
    let wanted = std::env::var("KAIRN_CASES").unwrap_or_default();
    let cases: Vec<PathBuf> =
        cases.into_iter().filter(|case| case.to_string_lossy().contains(&wanted)).collect();
    let web = Web::start(&folder().join("web"));
    let start = Instant::now();
    let here = run_all(&cases, Place::Here, &web);
    let whole = start.elapsed();
    let mut table = format!("{:<14}{:>8}{:>8}{:>10}\n", "place", "cases", "images", "time");
    let mut row = |place: &str, ran: &Ran, ratio: f64| {
        let _ = writeln!(table, "{place:<14}{:>8}{:>8}{ratio:>9.2}x", ran.cases, ran.digests.len());
    };
    row("root here", &here, 1.0);
    for profile in Profile::ALL {
        let start = Instant::now();
        let there = run_all(&cases, Place::Pod(profile), &web);
        row(&format!("{profile:?}"), &there, start.elapsed().as_secs_f64() / whole.as_secs_f64());
        let images = there.digests.iter();
        let different: Vec<&PathBuf> = images
            .filter(|(case, digest)| here.digests.get(*case) != Some(*digest))
            .map(|(case, _)| case)
            .collect();
        assert!(different.is_empty(), "{profile:?}: other digests than here: {different:#?}");
    }
    eprintln!("{table}");
}

/// Runs cases, all of which must give what they expect, and returns the digests of those whose image is always the same.
fn run_all(cases: &[PathBuf], place: Place, web: &Web) -> Ran {
    let pod = match place {
        Place::Here => None,
        Place::Pod(profile) => {
            let tests = Path::new(env!("CARGO_TARGET_TMPDIR"));
            // Nobody has a range of ids there: a user without root's rights has one.
            let pod = Pod::new(profile).mount(tests, &tests.to_string_lossy(), "rw").mount(
                Path::new("/dev/null"),
                "/etc/subuid",
                "ro",
            );
            Some(pod.mount(Path::new(Kairn::BINARY), Kairn::BINARY, "ro").start())
        }
    };
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let (digests, ran) = (Mutex::new(Digests::new()), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let kairn = Kairn::new();
                if let Place::Pod(profile) = place {
                    kairn.belongs_to(profile);
                }
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
                    match run(case, &kairn, web, place, pod.as_ref()) {
                        Ok(Done::Skipped) => {}
                        Ok(Done::Right(digest)) => {
                            ran.fetch_add(1, Ordering::SeqCst);
                            let mut digests = digests.lock().expect("no holder of this lock panics");
                            digests.extend(digest.map(|digest| (case.clone(), digest)));
                        }
                        Err(what) => {
                            failures
                                .lock()
                                .expect("no holder of this lock panics")
                                .push((case.clone(), what));
                        }
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("no holder of this lock panics");
    failures.sort();
    for (case, what) in &failures {
        eprintln!("=== {place:?} {}\n{what}\n", case.strip_prefix(folder()).expect("a case").display());
    }
    assert!(
        failures.is_empty(),
        "{place:?}: {} of {} cases give something else",
        failures.len(),
        cases.len()
    );
    let digests = digests.into_inner().expect("no holder of this lock panics");
    Ran { digests, cases: ran.into_inner() }
}

/// Runs a case.
fn run(
    case: &Path,
    kairn: &Kairn,
    web: &Web,
    place: Place,
    pod: Option<&RunningPod>,
) -> Result<Done, String> {
    let read = |name: &str| std::fs::read_to_string(case.join(name)).map_err(|e| format!("{name}: {e}"));
    let expect: Expect = toml::from_str(&read("expect.toml")?).map_err(|e| format!("expect.toml: {e}"))?;
    if expect.why.is_empty() || !expect.expects_something() {
        return Err("expect.toml says no reason, or expects nothing".to_owned());
    }
    if expect.error != 0 && expect.expects_an_image() {
        return Err("expect.toml expects an error and an image".to_owned());
    }
    let is_check = expect.lints.is_some();
    if needs_more(case, &expect, place) {
        return Ok(Done::Skipped);
    }
    let context = prepare(case, &expect, web)?;
    if let Place::Pod(profile) = place {
        profile.own_all(context.path());
    }
    let fill = |text: &str| {
        support::context::resolve_names(text)
            .replace("{web}", web.url())
            .replace("{dir}", &context.path().display().to_string())
    };
    let mut invocation = kairn.command(if is_check { "check" } else { "build" });
    let host = support::bases::shared().host();
    invocation =
        invocation.args(["--insecure-registry", &host]).args(expect.args.iter().map(|arg| fill(arg)));
    for (name, value) in &expect.env {
        invocation = invocation.env(name, fill(value));
    }
    let out = support::test_dir("case-");
    if let Place::Pod(profile) = place {
        profile.own(out.path());
    }
    let layout = out.path().join("oci");
    if !expect.output.is_empty() {
        // Another case may have run the same command.
        invocation = invocation.args(["--no-cache"]);
    }
    if is_check {
        invocation = invocation.args(["--format", "json"]);
    } else {
        invocation = invocation.args(["-o", &format!("type=oci,dest={},tar=false", layout.display())]);
    }
    if let Some(pod) = pod {
        invocation = invocation.in_pod(pod);
    }
    let mut command = invocation.to_command();
    command.arg(expect.context.as_deref().map_or_else(|| context.path().display().to_string(), &fill));
    if let Some(stdin) = &expect.stdin {
        let path = context.join(stdin);
        command.stdin(std::fs::File::open(&path).map_err(|e| format!("{stdin}: {e}"))?);
    }
    let outcome = Outcome::of(&mut command);
    let mut wrong = String::new();
    if let Place::Pod(profile) = place {
        if profile.isolation().is_none() && outcome.stderr.contains("no way to isolate a RUN") {
            assert_eq!(outcome.code, 3, "{outcome}");
            return Ok(Done::Skipped);
        }
        check_isolation(profile, &outcome, &mut wrong);
    }
    if let (Place::Pod(Profile::Default), Some(refusal)) = (place, &expect.without_namespaces) {
        if outcome.code != 2 || !outcome.stderr.contains(refusal) {
            let _ = writeln!(wrong, "without namespaces, exit code 2 and `{refusal}` were expected");
        }
    } else {
        check_outcome(&expect, &outcome, &fill, &mut wrong);
        if let Some(lints) = &expect.lints {
            check_lints(lints, &outcome, &mut wrong);
        } else if outcome.code == 0 {
            check_image(&expect, &Image::from_layout(&layout, "latest"), &mut wrong);
        }
    }
    if wrong.is_empty() {
        let is_image = outcome.code == 0 && !is_check;
        return Ok(Done::Right(is_image.then(|| outcome.digest())));
    }
    Err(format!(
        "{}\n{wrong}--- Dockerfile\n{}--- {outcome}",
        expect.why,
        read("Dockerfile").unwrap_or_default()
    ))
}

/// Whether a place cannot do what a case needs.
fn needs_more(case: &Path, expect: &Expect, place: Place) -> bool {
    match place {
        Place::Here => false,
        // The pods have no Git.
        Place::Pod(_) if expect.lints.is_some() || case.to_string_lossy().contains("git") => true,
        Place::Pod(profile) => expect.needs_mounts && !profile.has_namespaces(),
    }
}

/// The log says which isolation was chosen, and it is the best one.
fn check_isolation(profile: Profile, outcome: &Outcome, wrong: &mut String) {
    let said = outcome.stderr.lines().find_map(|line| line.split_once("[kairn] isolation: "));
    let found = said.and_then(|(_, rest)| rest.split_whitespace().next());
    if found.is_some() && profile.isolation().is_some() && found != profile.isolation() {
        let _ = writeln!(wrong, "the isolation {:?} was expected, not {found:?}", profile.isolation());
    }
}

fn check_outcome(expect: &Expect, outcome: &Outcome, fill: &dyn Fn(&str) -> String, wrong: &mut String) {
    if outcome.code != expect.error || outcome.stderr.contains("panicked") {
        let _ = writeln!(wrong, "exit code {} was expected", expect.error);
    }
    for text in expect.says.iter().map(|text| fill(text)).filter(|text| !outcome.stderr.contains(text)) {
        let _ = writeln!(wrong, "standard error lacks `{text}`");
    }
    for text in expect.output.iter().map(|text| fill(text)) {
        if !outcome.stderr.lines().any(|line| line.split_once("] | ").is_some_and(|(_, said)| said == text)) {
            let _ = writeln!(wrong, "no RUN printed `{text}`");
        }
    }
}

/// Makes a copy of a case's context, with its Dockerfile.
fn prepare(case: &Path, expect: &Expect, web: &Web) -> Result<Context, String> {
    let text = std::fs::read_to_string(case.join("Dockerfile")).unwrap_or_default();
    let text = support::context::resolve_names(&text).replace("{web}", web.url());
    let context = Context::new("");
    copy_folder(&case.join("context"), context.path());
    if text.is_empty() {
        std::fs::remove_file(context.join("Dockerfile")).map_err(|e| e.to_string())?;
    } else {
        context.write("Dockerfile", text.as_bytes());
    }
    for (name, what) in &expect.files {
        let (path, what) = (context.join(name), &support::context::resolve_names(what));
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|e| format!("{name}: {e}"))?;
        }
        let done = if let Some(target) = what.strip_prefix("-> ") {
            std::os::unix::fs::symlink(target, &path)
        } else if let Some(other) = what.strip_prefix("= ") {
            std::fs::hard_link(context.join(other), &path)
        } else if what == "fifo" {
            std::process::Command::new("mkfifo").arg(&path).status().map(drop)
        } else if what == "dir" {
            std::fs::create_dir_all(&path)
        } else if let Some(script) = what.strip_prefix("$ ") {
            let run =
                std::process::Command::new("sh").args(["-ec", script]).current_dir(context.path()).status();
            run.map(drop)
        } else {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = u32::from_str_radix(what, 8).map_err(|_| format!("{name}: `{what}`"))?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))
        };
        done.map_err(|e| format!("{name}: {e}"))?;
    }
    // Two builds of a case are builds of one context.
    support::tools::run(std::process::Command::new("find").arg(context.path()).args([
        "-exec",
        "touch",
        "-hd",
        "@1700000000",
        "{}",
        "+",
    ]));
    Ok(context)
}

fn copy_folder(from: &Path, to: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    for entry in std::fs::read_dir(from).into_iter().flatten().flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        let mode = if path.is_dir() {
            std::fs::create_dir_all(&to).expect("a folder of the context");
            copy_folder(&path, &to);
            0o755
        } else {
            std::fs::copy(&path, &to).expect("a file of the context");
            0o644
        };
        // What a checkout made of the modes is nobody's.
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(mode)).expect("a mode");
    }
}

fn check_lints(expected: &[String], outcome: &Outcome, wrong: &mut String) {
    let Ok(report) = serde_json::from_str::<Value>(&outcome.stdout) else {
        let _ = writeln!(wrong, "no report");
        return;
    };
    let mut found: Vec<String> = ["warnings", "errors"]
        .iter()
        .flat_map(|kind| report[kind].as_array().cloned().unwrap_or_default())
        .map(|found| {
            let line = &found["location"]["ranges"][0]["start"]["line"];
            format!("{}:{line}", found["ruleName"].as_str().unwrap_or_default())
        })
        .collect();
    let mut expected = expected.to_vec();
    found.sort();
    expected.sort();
    if found != expected {
        let _ = writeln!(wrong, "expected {expected:?}\nfound    {found:?}");
    }
}

fn check_image(expect: &Expect, image: &Image, wrong: &mut String) {
    let tree = image.tree();
    let listing = tree.listing("");
    for line in &expect.tree {
        if !listing.lines().any(|found| found == line) {
            let path = line.split(' ').nth(2).unwrap_or_default();
            let _ = writeln!(wrong, "expected {line}\nfound    {}", tree.listing(path).trim_end());
        }
    }
    for path in expect.absent.iter().filter(|path| tree.has(path)) {
        let _ = writeln!(wrong, "`{path}` is there: {}", tree.listing(path));
    }
    if let Some(expected) = &expect.layer {
        let mut found: Vec<String> =
            image.layer(-1).iter().map(|(path, node)| support::tree::line(path, node)).collect();
        let mut expected = expected.clone();
        found.sort();
        expected.sort();
        if found != expected {
            let _ = writeln!(wrong, "expected layer {expected:#?}\nfound {found:#?}");
        }
    }
    if let Some(layers) = expect.layers.filter(|layers| *layers != image.layer_digests().len()) {
        let _ = writeln!(wrong, "expected {layers} layers, found {}", image.layer_digests().len());
    }
    for (field, expected) in &expect.config {
        let found = field.split('.').fold(&image.config, |value, key| &value[key]);
        let expected = serde_json::to_value(expected).expect("TOML becomes JSON");
        if *found != expected && !(found.is_null() && expected == "null") {
            let _ = writeln!(wrong, "expected {field} = {expected}\nfound    {found}");
        }
    }
    let history: Vec<&str> =
        image.history().iter().map(|entry| entry["created_by"].as_str().unwrap_or_default()).collect();
    let registry = support::bases::shared().host();
    let history: Vec<String> = history.iter().map(|text| text.replace(&registry, "{registry}")).collect();
    if !history.ends_with(&expect.history) {
        let _ = writeln!(wrong, "expected history {:#?}\nfound {history:#?}", expect.history);
    }
}
