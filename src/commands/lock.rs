//! `kairn lock`: writes down what the names of bases stand for, moves them, says which have moved.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Mutex;

use kairn_compiler::graph::{GitOp, HttpOp};
use kairn_compiler::{ImageSource, Op, ResolvedImage};
use kairn_executor::Settings;
use kairn_executor::fetch::{git, http};
use kairn_executor::pull::Policy;
use kairn_image::Platform;
use kairn_image::reference::Reference;

use crate::args;
use crate::failure::{Failure, STEP, chain, code};
use crate::inputs::Project;
use crate::inputs::chosen::{Chosen, choose};
use crate::inputs::tree::Tree;
use crate::lock::{self, Lock, Locked};
use crate::machine::Workshop;

/// Runs the command.
pub fn run(args: &args::Lock) -> Result<(), Failure> {
    let tree = Tree::default();
    let mut chosen = choose(&args.input)?;
    // A lock is of all images, whichever are built by default.
    if let Chosen::Spec(spec) = &mut chosen
        && args.input.words.is_empty()
    {
        spec.selected = (0..spec.workspace.images.len()).collect();
    }
    let path = lock::path_of(&chosen).ok_or_else(|| {
        Failure::user("a context that is no folder of this machine has no place for a lock")
            .with_help("pin the base in the Dockerfile: `FROM image@sha256:..`")
    })?;
    let old = Lock::of(&chosen, &tree)?.unwrap_or_default();
    let workshop = Workshop::open(&args.input, &chosen, Policy::Ask)?;
    let settings = &workshop.settings;
    // Names are asked for as they are now, where they are to be moved or compared.
    let is_moved = |name: &str| args.check || args.update.as_ref().is_some_and(|names| is_meant(names, name));
    let mut kept = old.clone();
    kept.images.retain(|name, _| !is_moved(name));
    kept.commits.retain(|(remote, _), _| !is_moved(remote));
    kept.files.retain(|url, _| !is_moved(url));
    let project = Project::load_with(&args.input, chosen, settings, &tree, Some(kept.clone()))?;
    let locked = Locked::new(Some(&kept), settings.puller.as_ref());
    let recorder = Recorder { source: &locked, asked: Mutex::default() };
    let graph = project.compile_with(&recorder)?.graph;
    let asked = recorder.asked.into_inner().expect("no holder of this lock panics");
    let sources = graph.steps.node_weights().map(|step| &step.op);
    let new = current(&asked, sources, &project, &kept, settings)?;
    if args.check {
        return compare(&old, &new);
    }
    for name in args.update.iter().flatten() {
        let one = [name.clone()];
        let mut known =
            new.images.keys().chain(new.files.keys()).chain(new.commits.keys().map(|(remote, _)| remote));
        if !known.any(|known| is_meant(&one, known)) {
            let text = format!("`--update {name}`: no base, Git reference or file is named so");
            return Err(Failure::user(text).with_help("a build context is given before `--update`"));
        }
    }
    let changes = changes(&old, &new);
    if new == old && path.is_file() {
        println!("`{}` is as it should be: {}", path.display(), count(&new));
        return Ok(());
    }
    std::fs::write(&path, new.to_text())
        .map_err(|e| Failure::environment(format!("cannot write `{}`: {e}", path.display())))?;
    for change in changes {
        println!("{change}");
    }
    println!("wrote `{}`: {}", path.display(), count(&new));
    Ok(())
}

/// Whether a name is among those that are to be moved: any, where none is given.
fn is_meant(names: &[String], name: &str) -> bool {
    let canonical =
        |given: &String| given.parse::<Reference>().map_or_else(|_| given.clone(), |found| found.to_string());
    names.is_empty()
        || names
            .iter()
            .any(|given| given == name || canonical(given) == name || name.contains(given.as_str()))
}

/// What all names stand for: as it was kept, else as it is now.
fn current<'g>(
    asked: &BTreeSet<String>,
    ops: impl Iterator<Item = &'g Op>,
    project: &'g Project,
    kept: &Lock,
    settings: &Settings,
) -> Result<Lock, Failure> {
    let mut new = Lock::default();
    for name in asked {
        let digest = if let Some(digest) = kept.images.get(name) {
            *digest
        } else {
            let reference: Reference =
                name.parse().map_err(|e| Failure::user(format!("`{name}`: {}", chain(&e))))?;
            settings.puller.client().digest_of(&reference).map_err(|e| {
                Failure::environment(format!("cannot ask for `{name}`: {}", chain(&e)))
                    .with_help("a lock is of what registries have; an image that was built here is in none")
            })?
        };
        new.images.insert(name.clone(), digest);
    }
    let mut gits: Vec<GitOp> = Vec::new();
    let mut files: Vec<HttpOp> = Vec::new();
    for op in project.remotes.iter().chain(ops) {
        match op {
            Op::Git(op) => gits.push(op.clone()),
            Op::Http(op) => files.push(op.clone()),
            _ => {}
        }
    }
    let failed = |error: kairn_executor::Error| Failure {
        code: code(&error),
        help: error.help(),
        ..Failure::environment(chain(&error))
    };
    for op in gits {
        let key = lock::git_key(&op);
        // A reference that is a commit cannot move; nor can one that the user has pinned.
        let is_commit = key.1.len() == 40 && key.1.bytes().all(|byte| byte.is_ascii_hexdigit());
        let known = kept.commits.get(&key);
        if is_commit || new.commits.contains_key(&key) || (op.checksum.is_some() && known.is_none()) {
            continue;
        }
        let commit = match known {
            Some(commit) => commit.clone(),
            None => git::commit(&op, &settings.grants, &settings.store).map_err(failed)?,
        };
        new.commits.insert(key, commit);
    }
    for op in files {
        let known = kept.files.get(&op.url);
        if new.files.contains_key(&op.url) || (op.checksum.is_some() && known.is_none()) {
            continue;
        }
        let digest = match known {
            Some(digest) => *digest,
            None => http::digest(&op, settings.puller.client(), &settings.grants, &settings.store)
                .map_err(failed)?,
        };
        new.files.insert(op.url, digest);
    }
    Ok(new)
}

/// Says what moved; the exit code is 1 if something did.
fn compare(old: &Lock, new: &Lock) -> Result<(), Failure> {
    let changes = changes(old, new);
    if changes.is_empty() {
        println!("nothing moved: {}", count(new));
        return Ok(());
    }
    for change in &changes {
        println!("{change}");
    }
    let text = format!("names that do not stand for what the lock says: {}", changes.len());
    Err(Failure { code: STEP, ..Failure::user(text) }
        .with_help("`kairn lock --update` takes them as they are now"))
}

/// A line for each name that stands for something else, is new, or is gone.
fn changes(old: &Lock, new: &Lock) -> Vec<String> {
    let flat = |lock: &Lock| -> Vec<(String, String)> {
        let images = lock.images.iter().map(|(name, digest)| (name.clone(), digest.to_string()));
        let commits = lock
            .commits
            .iter()
            .map(|((remote, reference), commit)| (format!("{remote}#{reference}"), commit.clone()));
        let files = lock.files.iter().map(|(url, digest)| (url.clone(), digest.to_string()));
        images.chain(commits).chain(files).collect()
    };
    let (old, new) = (flat(old), flat(new));
    let find = |list: &[(String, String)], name: &str| {
        list.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    };
    let mut changes = Vec::new();
    for (name, value) in &new {
        match find(&old, name) {
            None => changes.push(format!("new    {name} {value}")),
            Some(known) if known != *value => changes.push(format!("moved  {name} {known} -> {value}")),
            Some(_) => {}
        }
    }
    for (name, value) in old.iter().filter(|(name, _)| find(&new, name).is_none()) {
        changes.push(format!("gone   {name} {value}"));
    }
    changes
}

fn count(lock: &Lock) -> String {
    let (images, commits, files) = (lock.images.len(), lock.commits.len(), lock.files.len());
    format!("{images} images, {commits} Git references, {files} files")
}

/// Notes which images are asked for.
struct Recorder<'a> {
    source: &'a dyn ImageSource,
    asked: Mutex<BTreeSet<String>>,
}

impl ImageSource for Recorder<'_> {
    fn resolve(
        &self,
        reference: &str,
        platform: &Platform,
    ) -> Result<ResolvedImage, Box<dyn Error + Send + Sync>> {
        if lock::is_movable(reference) {
            self.asked.lock().expect("no holder of this lock panics").insert(reference.to_owned());
        }
        self.source.resolve(reference, platform)
    }
}
