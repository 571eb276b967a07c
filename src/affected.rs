//! Which images a change touches: those whose steps, or whose own description, could be others.
//!
//! Two graphs are compared, that of now and that of the files as they were: what differs there shows without a look at any
//! file that is copied. And every changed file is held against what the steps read of contexts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use kairn_compiler::graph::{CopyOp, CopySource, ImageTarget, Input, MountKind};
use kairn_compiler::key::key_parts;
use kairn_compiler::{Graph, ImageSource, Op, StepId};
use kairn_executor::Settings;
use kairn_image::Digest;
use kairn_spec::glob::Glob;
use kairn_spec::ignore::IgnoreFile;

use crate::args::Input as Arguments;
use crate::failure::Failure;
use crate::inputs::Project;
use crate::inputs::chosen::{Chosen, Said, choose_in};
use crate::inputs::tree::{Changes, real};

/// Most files that are named for one image.
const NAMED: usize = 3;

/// An image that a change touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affected {
    /// Its place among the project's.
    pub image: usize,
    /// Why, the first cause first.
    pub reasons: Vec<String>,
}

/// Finds the images among those that are asked for which changes touch.
///
/// # Errors
/// The files of now cannot be read or compiled; where those of before cannot be, all images are touched.
pub fn affected(
    input: &Arguments,
    changes: &Changes,
    project: &Project,
    graph: &Graph,
    settings: &Settings,
) -> Vec<Affected> {
    if changes.paths.is_empty() {
        return Vec::new();
    }
    let now = Side::new(project, graph);
    let before = changes.before.as_ref().map(|tree| -> Result<BTreeMap<String, Vec<Digest>>, Failure> {
        let mut chosen = choose_in(input, tree, Said::Already)?;
        everything(&mut chosen);
        let project = Project::load_in(input, chosen, settings, tree)?;
        let source: &dyn ImageSource = settings.puller.as_ref();
        let compiled = project.compile_silently(source)?;
        let side = Side::new(&project, &compiled.graph);
        let images = side.images.iter();
        Ok(images
            .map(|(unit, images)| (project.units[*unit].name.clone(), side.signatures(images)))
            .collect())
    });
    let mut found: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (&unit, images) in &now.images {
        let (differs, mut reasons) = match &before {
            None => {
                let described = now.described_by(unit, changes);
                (!described.is_empty(), described)
            }
            Some(Err(_)) => (true, vec!["before, the files could not be read as they are now".to_owned()]),
            Some(Ok(before)) => match before.get(&project.units[unit].name) {
                None => (true, vec!["it is new".to_owned()]),
                Some(signatures) if *signatures != now.signatures(images) => {
                    (true, now.described_by(unit, changes))
                }
                Some(_) => (false, Vec::new()),
            },
        };
        reasons.extend(now.files_read(images, changes));
        if differs || !reasons.is_empty() {
            found.insert(unit, reasons);
        }
    }
    // An image without a cause of its own has that of an image that it needs.
    let touched: BTreeSet<usize> = found.keys().copied().collect();
    for (unit, reasons) in &mut found {
        if reasons.is_empty() {
            let through = now.needs(*unit).into_iter().find(|other| {
                project
                    .units
                    .iter()
                    .position(|unit| unit.name == *other)
                    .is_some_and(|at| touched.contains(&at))
            });
            let reason = through.map(|name| format!("it needs `{name}`, which is not what it was"));
            reasons.push(reason.unwrap_or_else(|| "what it is made of is not what it was".to_owned()));
        }
    }
    found.into_iter().map(|(image, reasons)| Affected { image, reasons }).collect()
}

/// Asks for all images, where there is a kairn.toml.
pub fn everything(chosen: &mut Chosen) {
    if let Chosen::Spec(spec) = chosen {
        spec.selected = (0..spec.workspace.images.len()).collect();
    }
}

/// A project with its graph.
struct Side<'a> {
    project: &'a Project,
    graph: &'a Graph,
    /// What each step comes from, contexts by their folders and rules.
    signatures: BTreeMap<StepId, Digest>,
    /// The graph's images of each unit that is asked for.
    images: BTreeMap<usize, Vec<&'a ImageTarget>>,
}

impl<'a> Side<'a> {
    fn new(project: &'a Project, graph: &'a Graph) -> Self {
        let mut signatures: BTreeMap<StepId, Digest> = BTreeMap::new();
        for step in graph.topological() {
            let signature = match graph.op(step) {
                Op::Context(context) => {
                    let (root, ignore) = match project.roots.get(&context.name) {
                        Some((root, ignore)) => {
                            (root.display().to_string(), ignore.as_ref().map(|ignore| ignore.rules()))
                        }
                        None => (context.name.clone(), None),
                    };
                    Digest::of(format!("{root}\n{}", ignore.unwrap_or_default()).as_bytes())
                }
                op => {
                    let inputs = graph.inputs(step).into_iter().map(|(input, id)| (input, signatures[&id]));
                    key_parts(op, &inputs.collect::<Vec<_>>()).key().0
                }
            };
            signatures.insert(step, signature);
        }
        let mut images = BTreeMap::new();
        let mut targets = graph.images.iter();
        for &unit in &project.selected {
            let count = project.units[unit].build_platforms().len();
            images.insert(unit, targets.by_ref().take(count).collect());
        }
        Self { project, graph, signatures, images }
    }

    /// What images come from, and what they say of themselves.
    fn signatures(&self, images: &[&ImageTarget]) -> Vec<Digest> {
        let one = |image: &&ImageTarget| {
            let ImageTarget { name: _, step, gates, platform, config, base, history } = image;
            let base = base.as_ref().map(|base| base.manifest.config.digest);
            let history: Vec<&str> = history.iter().map(|entry| entry.created_by.as_str()).collect();
            let gates: Vec<Digest> = gates.iter().map(|gate| self.signatures[gate]).collect();
            let text = format!(
                "{platform}\n{:?}\n{base:?}\n{history:?}\n{gates:?}\n{}",
                self.signatures[step],
                String::from_utf8_lossy(&config.to_bytes())
            );
            Digest::of(text.as_bytes())
        };
        images.iter().map(one).collect()
    }

    /// The changed files that say what an image is.
    fn described_by(&self, unit: usize, changes: &Changes) -> Vec<String> {
        let of = &self.project.units[unit];
        let mut reasons = Vec::new();
        let mut note = |path: PathBuf| {
            if changes.paths.contains(&real(&path)) {
                reasons.push(format!("`{}` changed", shown(&path)));
            }
        };
        note(self.project.files.get(of.file).path.clone());
        if !of.name.is_empty() {
            for file in self.project.specs() {
                note(file.clone());
            }
        }
        note(self.project.lock_path.clone());
        for (root, _) in self.project.roots.values() {
            let real = real_folder(root);
            let own = changes.paths.iter().filter(|path| path.parent() == Some(&real));
            for path in own.filter(|path| path.to_string_lossy().ends_with(".dockerignore")) {
                if self.reads_context(unit, root) {
                    note(path.clone());
                }
            }
        }
        reasons.dedup();
        reasons
    }

    /// Whether a step that an image needs reads of a folder.
    fn reads_context(&self, unit: usize, root: &Path) -> bool {
        let Some(images) = self.images.get(&unit) else { return false };
        self.needed(images).into_iter().any(|step| match self.graph.op(step) {
            Op::Context(context) => self.project.roots.get(&context.name).is_some_and(|(own, _)| own == root),
            _ => false,
        })
    }

    /// The names of the images that an image needs.
    fn needs(&self, unit: usize) -> Vec<String> {
        let name = &self.project.units[unit].name;
        let edges = self.graph.edges.iter().filter(|edge| edge.from == *name);
        edges.map(|edge| edge.to.clone()).collect()
    }

    /// All steps behind some images, their gates and their artifacts.
    fn needed(&self, images: &[&ImageTarget]) -> BTreeSet<StepId> {
        let mut todo: Vec<StepId> =
            images.iter().flat_map(|image| image.gates.iter().copied().chain([image.step])).collect();
        for image in images {
            let prefix = format!("{}/", image.name);
            let own = self.graph.artifacts.iter().filter(|artifact| artifact.stage.starts_with(&prefix));
            todo.extend(own.map(|artifact| artifact.step));
        }
        let mut needed = BTreeSet::new();
        while let Some(step) = todo.pop() {
            if needed.insert(step) {
                todo.extend(self.graph.inputs(step).into_iter().map(|(_, input)| input));
            }
        }
        needed
    }

    /// The changed files that steps behind images read.
    fn files_read(&self, images: &[&ImageTarget], changes: &Changes) -> Vec<String> {
        let mut reasons = Vec::new();
        let mut named: BTreeSet<&Path> = BTreeSet::new();
        let mut more = 0;
        for step in self.needed(images) {
            for (input, source) in self.graph.inputs(step) {
                let Op::Context(context) = self.graph.op(source) else { continue };
                let Some((root, ignore)) = self.project.roots.get(&context.name) else { continue };
                let real = real_folder(root);
                for path in &changes.paths {
                    let is_ignored =
                        |inside: &str| ignore.as_ref().is_some_and(|ignore| ignore.matches(inside));
                    let is_read = match path.strip_prefix(&real) {
                        // The folder itself may be a link, or in a repository of its own.
                        Err(_) => root.starts_with(path) || real.starts_with(path),
                        Ok(inside) => {
                            let inside = inside.to_string_lossy();
                            !is_ignored(&inside) && reads(self.graph.op(step), input, &inside, root)
                        }
                    };
                    if !is_read || named.contains(path.as_path()) {
                        continue;
                    }
                    named.insert(path);
                    if named.len() > NAMED {
                        more += 1;
                        continue;
                    }
                    let origins = self.graph.origins.get(&step);
                    let line = origins.and_then(|origins| origins.first());
                    let line = line.map_or_else(String::new, |line| {
                        format!(", which `{}` of `{}` reads", line.text, line.stage)
                    });
                    reasons.push(format!("`{}` changed{line}", shown(path)));
                }
            }
        }
        if more > 0 {
            reasons.push(format!("and {more} more files"));
        }
        reasons
    }
}

/// A folder with the folders that its links lead to.
fn real_folder(folder: &Path) -> PathBuf {
    folder.canonicalize().unwrap_or_else(|_| real(folder))
}

/// Whether a step reads a file of one of its inputs; a name that is part of what it reads counts as well.
fn reads(op: &Op, input: Input, path: &str, root: &Path) -> bool {
    match (op, input) {
        (Op::Copy(copy), Input::Source(place)) => copy
            .sources
            .iter()
            .filter(|source| source.input == place)
            .any(|source| copies(copy, source, path, root)),
        (Op::Run(run), Input::Mount(place)) => {
            match run.mounts.get(usize::from(place)).map(|mount| &mount.kind) {
                Some(MountKind::Bind { source, .. } | MountKind::Cache { source, .. }) => {
                    below(source, path, root).is_some()
                }
                _ => true,
            }
        }
        _ => true,
    }
}

fn copies(copy: &CopyOp, source: &CopySource, path: &str, root: &Path) -> bool {
    let Some(rest) = below(&source.path, path, root) else { return false };
    if rest.is_empty() || copy.excludes.is_empty() {
        return true;
    }
    let excludes = IgnoreFile::of_patterns(copy.excludes.iter().map(String::as_str));
    !excludes.is_ok_and(|excludes| excludes.matches(&rest))
}

/// What is left of a path behind what a pattern matches; nothing where it does not.
fn below(pattern: &str, path: &str, root: &Path) -> Option<String> {
    if pattern == "." || pattern.is_empty() {
        return Some(path.to_owned());
    }
    let Ok(glob) = Glob::parse(pattern) else { return Some(path.to_owned()) };
    let parts: Vec<&str> = path.split('/').collect();
    let wanted = glob.components();
    let fits = wanted.iter().zip(&parts).all(|(wanted, part)| wanted.matches(part));
    if fits {
        return Some(parts.get(wanted.len()..).unwrap_or_default().join("/"));
    }
    // A name of the pattern may be a link to where the file is.
    let literal = glob.literal()?;
    let real = root.join(&literal).canonicalize().ok()?;
    let inside = real.strip_prefix(root.canonicalize().ok()?).ok()?.to_path_buf();
    let rest = Path::new(path).strip_prefix(&inside).ok()?;
    (inside != Path::new(&literal)).then(|| rest.to_string_lossy().into_owned())
}

/// A path as the user would name it from here.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let real = real(path);
    real.strip_prefix(&here).unwrap_or(&real).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::below;

    #[test]
    fn patterns_cover_what_is_below_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        std::fs::create_dir(root.join("real")).expect("a folder");
        std::os::unix::fs::symlink("real", root.join("link")).expect("a link");
        for (pattern, path, rest) in [
            (".", "a/b", Some("a/b")),
            ("a", "a/b/c", Some("b/c")),
            ("a/b", "a/b", Some("")),
            ("a/*.c", "a/x.c", Some("")),
            ("a/*.c", "a/x.h", None),
            ("a*", "ab/c", Some("c")),
            ("a/b/c", "a", Some("")),
            ("b", "a/b", None),
            ("link", "real/f", Some("f")),
            ("link/f", "real/f", None),
            ("real", "link", None),
        ] {
            assert_eq!(below(pattern, path, root).as_deref(), rest, "{pattern} {path}");
        }
        std::fs::write(root.join("real/f"), "").expect("a file");
        assert_eq!(below("link/f", "real/f", root).as_deref(), Some(""));
    }
}
