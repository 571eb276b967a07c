//! Files to a workspace.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::expression::{Scope, text_of};
use super::merge::{self, Handed, Tables};
use super::node::{self, Key, Node, Place, Table, Value};
use super::schema::{self, Expressions};
use super::types::{ImageOptions, SharedStage, Stage};
use super::{At, Group, Image, Shared, Workspace, de, matrix, variables};
use crate::{Diagnostic, FileId, Severity};

/// What loading needs of the world.
pub struct Loader<'a> {
    /// Values of `--var`.
    pub vars: &'a BTreeMap<String, String>,
    /// Variables of the environment.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// Reads a file; a text says why it cannot.
    pub read: &'a dyn Fn(&Path) -> Result<String, String>,
    /// Finds the files that a path with `*` in it names, in order.
    pub find: &'a dyn Fn(&Path) -> Vec<PathBuf>,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceText {
    /// Where it is.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// What loading gave.
#[derive(Debug)]
pub struct Loaded {
    /// The workspace, as far as it could be read; it may be used only if no diagnostic is an error.
    pub workspace: Workspace,
    /// The files, by their numbers.
    pub files: Vec<SourceText>,
    /// All mistakes, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

/// Loads a file and all that it includes.
///
/// # Errors
/// The file itself cannot be read; all other mistakes are diagnostics.
pub fn load(path: &Path, loader: &Loader<'_>) -> Result<Loaded, String> {
    let text = (loader.read)(path)?;
    Ok(load_text(SourceText { path: path.to_owned(), text }, loader))
}

/// As [`load`], of a text that is already there.
fn load_text(first: SourceText, loader: &Loader<'_>) -> Loaded {
    let mut files = Files { loader, list: Vec::new(), diagnostics: Vec::new() };
    files.add(first);
    let Files { list, mut diagnostics, .. } = files;
    let (sources, documents): (Vec<SourceText>, Vec<Table>) = list.into_iter().unzip();
    let folders = sources.iter().map(|file| file.path.parent().unwrap_or(Path::new("")).to_owned()).collect();
    let mut workspace = Workspace { folders, ..Workspace::default() };
    Assembly { documents: &documents, loader, diagnostics: &mut diagnostics, workspace: &mut workspace }
        .run();
    let mut seen = BTreeSet::new();
    diagnostics.retain(|found| seen.insert((found.file, found.span, found.code, found.message.clone())));
    diagnostics.sort_by_key(|found| (found.file, found.span, found.severity));
    Loaded { workspace, files: sources, diagnostics }
}

struct Files<'l> {
    loader: &'l Loader<'l>,
    list: Vec<(SourceText, Table)>,
    diagnostics: Vec<Diagnostic>,
}

impl Files<'_> {
    fn add(&mut self, source: SourceText) {
        let file = FileId(u32::try_from(self.list.len()).unwrap_or(u32::MAX));
        let (table, mistakes) = node::parse(&source.text, file);
        // What is behind a mistake of the syntax may be read wrongly.
        if mistakes.is_empty() {
            let root = Node { place: Place { file, ..Place::default() }, value: Value::Table(table.clone()) };
            self.diagnostics.extend(schema::check(&root, None, Expressions::Open));
        }
        self.diagnostics.extend(mistakes);
        let folder = source.path.parent().unwrap_or(Path::new("")).to_owned();
        let includes = match table.get("include").map(|node| (node, &node.value)) {
            Some((node, Value::String(_))) => vec![node.clone()],
            Some((_, Value::Array(items))) => items.clone(),
            _ => Vec::new(),
        };
        self.list.push((source, table));
        for include in includes {
            if let Some(pattern) = include.text() {
                self.include(&clean(&folder.join(pattern)), pattern, include.place);
            }
        }
    }

    fn include(&mut self, path: &Path, pattern: &str, place: Place) {
        // `*/..` is no longer a part of the path.
        let is_pattern = clean(Path::new(pattern)).to_string_lossy().contains('*');
        let paths = if is_pattern { (self.loader.find)(path) } else { vec![path.to_owned()] };
        if paths.is_empty() {
            self.diagnostics.push(place.error("missing-file", format!("no file is named like `{pattern}`")));
        }
        for path in paths {
            if self.list.iter().any(|(known, _)| known.path == path) {
                continue;
            }
            match (self.loader.read)(&path) {
                Ok(text) => self.add(SourceText { path, text }),
                Err(error) => {
                    let text = format!("cannot read `{}`: {error}", path.display());
                    self.diagnostics.push(place.error("missing-file", text));
                }
            }
        }
    }
}

/// Takes `.` and `..` out of a path, as text.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(clean.components().next_back(), Some(Component::Normal(_))) => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean
}

struct Assembly<'a> {
    documents: &'a [Table],
    loader: &'a Loader<'a>,
    diagnostics: &'a mut Vec<Diagnostic>,
    workspace: &'a mut Workspace,
}

impl<'a> Assembly<'a> {
    fn run(&mut self) {
        let vars = self.all("vars", "variable");
        let templates = self.all("template", "template");
        let images = self.all("image", "image");
        let stages = self.all("stage", "stage");
        let groups = self.all("group", "group");
        let scope = variables::resolve(&vars, self.loader, self.diagnostics);
        let by_name = |list: &[(&'a Key, &'a Node)]| -> Tables<'a> {
            list.iter().map(|(key, node)| (key.name.as_str(), (*key, *node))).collect()
        };
        let (templates, tables) = (by_name(&templates), by_name(&images));
        for (key, node) in &images {
            self.image(key, node, &templates, &tables, &scope);
        }
        for (key, node) in stages {
            self.shared(key, node, &scope);
        }
        for (key, node) in groups {
            self.group(key, node, &scope);
        }
        if let Some(node) = self.documents.first().and_then(|root| root.get("build")) {
            let node = scope.expand(node, self.diagnostics);
            if let Some(options) = self.read(&node, "BuildOptions") {
                self.workspace.build = options;
            }
        }
        for document in &self.documents[1..] {
            if let Some(node) = document.get("build") {
                let text = "`[build]` counts only in the first file";
                self.diagnostics.push(node.place.error("misplaced-key", text));
            }
        }
        self.names();
        if self.diagnostics.iter().all(|found| found.severity != Severity::Error) {
            self.diagnostics.extend(variables::unused(&vars, &scope));
        }
    }

    /// Collects what stands below one key in all files; a name that stands twice is a mistake.
    fn all(&mut self, name: &str, what: &str) -> Vec<(&'a Key, &'a Node)> {
        let mut found: Vec<(&Key, &Node)> = Vec::new();
        for (key, node) in self.documents.iter().flat_map(|document| document.below(name)) {
            if let Some((known, _)) = found.iter().find(|(known, _)| known.name == key.name) {
                let error =
                    key.place.error("duplicate-name", format!("there are two {what}s `{}`", key.name));
                self.diagnostics.push(if known.place.file == key.place.file {
                    error.with_related(known.place.span, "the other one")
                } else {
                    error.with_help("the other one is in another file")
                });
                continue;
            }
            found.push((key, node));
        }
        found
    }

    /// Reads an expanded tree, unless it is not as the schema has it.
    fn read<T: serde::de::DeserializeOwned>(&mut self, node: &Node, definition: &str) -> Option<T> {
        let found = schema::check(node, Some(definition), Expressions::Done);
        if !found.is_empty() {
            self.diagnostics.extend(found);
            return None;
        }
        de::read(node).map_err(|error| self.diagnostics.push(error)).ok()
    }

    fn image(
        &mut self,
        key: &Key,
        node: &Node,
        templates: &Tables<'_>,
        images: &Tables<'_>,
        scope: &Scope<'_>,
    ) {
        let mut merged = Table::default();
        let root = self.documents.first();
        let own = self.documents.get(key.place.file.0 as usize).filter(|_| key.place.file.0 != 0);
        for defaults in root.into_iter().chain(own).filter_map(|document| document.get("defaults")?.table()) {
            merge::add(&mut merged, defaults.clone(), Handed::Down);
        }
        let inherited = merge::inherited(key, node, templates, images, self.diagnostics);
        merge::add(&mut merged, inherited, Handed::Own);
        merged.remove("inherits");
        let matrix = merged.remove("matrix").map(|(_, node)| node);
        let name = merged.remove("name").map(|(_, node)| node);
        let stages = merged.remove("stage");
        let combinations = match &matrix {
            None => vec![Vec::new()],
            Some(node) => matrix::combinations(node, scope, self.diagnostics),
        };
        if let (None, Some(name)) = (&matrix, &name) {
            let text = "`name` is for images of a matrix; any other has the name of its table";
            self.diagnostics.push(name.place.error("misplaced-key", text));
        }
        for combination in combinations {
            let mut inner = Scope::inside(scope);
            for (variable, value) in &combination {
                inner.set(variable.clone(), value.clone());
            }
            let default = || {
                let parts = combination
                    .iter()
                    .map(|(_, value)| text_of(value).replace([' ', ',', '/', ':', '='], "-"));
                std::iter::once(key.name.clone()).chain(parts).collect::<Vec<_>>().join("-")
            };
            let full_name = match &name {
                Some(template) if matrix.is_some() => {
                    text_of(&inner.expand(template, self.diagnostics).value)
                }
                _ => default(),
            };
            inner.set("image", Value::String(full_name.clone()));
            let mut table = inner.expand_table(&merged, self.diagnostics);
            let stage_table = stages.as_ref().and_then(|(_, node)| node.table());
            let variables = variables::for_stages(&inner, stage_table);
            table.0.extend(stages.clone());
            let Some(options) = self.read::<ImageOptions>(
                &Node { place: node.place, value: Value::Table(table) },
                "ImageOptions",
            ) else {
                continue;
            };
            let name = At::new(full_name, key.place);
            self.workspace.images.push(Image { name, table: key.name.clone(), options, variables });
        }
    }

    fn shared(&mut self, key: &Key, node: &Node, scope: &Scope<'_>) {
        let Some(table) = node.table() else { return };
        let variables = variables::for_stages(scope, Some(table));
        let mut table = table.clone();
        let context = table.remove("context").map(|(_, node)| scope.expand(&node, self.diagnostics));
        let context = match context.map(|node| de::read(&node)).transpose() {
            Ok(context) => context,
            Err(error) => return self.diagnostics.push(error),
        };
        let node = Node { place: node.place, value: Value::Table(table) };
        if let Some(stage) = self.read::<Stage>(&node, "Stage") {
            let name = At::new(key.name.clone(), key.place);
            self.workspace.stages.push(Shared { name, stage: SharedStage { context, stage }, variables });
        }
    }

    fn group(&mut self, key: &Key, node: &Node, scope: &Scope<'_>) {
        let node = scope.expand(node, self.diagnostics);
        match de::read::<super::values::Words>(&node) {
            Ok(words) => {
                let name = At::new(key.name.clone(), key.place);
                self.workspace.groups.push(Group { name, members: words.0 });
            }
            Err(error) => self.diagnostics.push(error),
        }
    }

    /// Finds names that are none, or stand for two things.
    fn names(&mut self) {
        let mut known: BTreeMap<String, Place> = BTreeMap::new();
        let images = self.workspace.images.iter().map(|image| &image.name);
        for name in images.chain(self.workspace.stages.iter().map(|stage| &stage.name)) {
            if name.value.is_empty()
                || name.value.contains(['*', '!', ' ', ','])
                || name.value.starts_with('-')
            {
                let text =
                    format!("`{}` cannot be a name: no blank, comma, `*` or `!`, and something", name.value);
                self.diagnostics.push(name.place.error("invalid-name", text));
            }
            if known.insert(name.value.to_lowercase(), name.place).is_some() {
                let error =
                    name.place.error("duplicate-name", format!("`{}` is the name of two", name.value));
                self.diagnostics.push(error.with_help("images and shared stages have different names, in any case; in a matrix, `name` makes them"));
            }
        }
        for group in &self.workspace.groups {
            let is_image = self
                .workspace
                .images
                .iter()
                .any(|image| image.table == group.name.value || image.name.value == group.name.value);
            if is_image {
                let text = format!("`{}` is the name of an image as well", group.name.value);
                self.diagnostics.push(group.name.place.error("duplicate-name", text));
            }
            if let Err(error) = self.workspace.select_group(group) {
                self.diagnostics.push(error);
            }
        }
    }
}
