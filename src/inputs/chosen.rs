//! What a command line asks for: a Dockerfile with its context, or images of a kairn.toml.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kairn_convert::{Kind, Options, convert};
use kairn_spec::Severity;
use kairn_spec::workspace::types::ImageOptions;
use kairn_spec::workspace::{At, Loaded, Loader, UnknownName, Workspace, load};

use super::context::read_text;
use super::dockerfile;
use super::files::{Files, SourceFile};
use super::tree::Tree;
use crate::args::{Input, Registries};
use crate::failure::Failure;

/// The file that is looked for.
const NAME: &str = "kairn.toml";

/// What is asked for.
pub enum Chosen {
    /// A Dockerfile, with this build context.
    Dockerfile(String),
    /// Images of a kairn.toml.
    Spec(Box<Spec>),
}

/// A kairn.toml that was read.
pub struct Spec {
    /// Where it is.
    pub path: PathBuf,
    /// What it says.
    pub workspace: Workspace,
    /// It and what it includes, by their numbers.
    pub files: Files,
    /// The images that are asked for.
    pub selected: Vec<usize>,
}

/// Finds out what is asked for; a kairn.toml is read, and what is to be said of it printed.
pub fn choose(input: &Input) -> Result<Chosen, Failure> {
    choose_in(input, &Tree::default(), Said::Aloud)
}

/// Whether warnings about a kairn.toml are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// They are.
    Aloud,
    /// They were before.
    Already,
}

/// As [`choose`], with files as they are in a tree.
pub fn choose_in(input: &Input, tree: &Tree, said: Said) -> Result<Chosen, Failure> {
    if let Some(path) = spec_path(input, tree)? {
        return spec(input, &path, tree, said).map(|spec| Chosen::Spec(Box::new(spec)));
    }
    if let Some(var) = input.var.first() {
        return Err(Failure::user(format!("`--var {var}`: only a kairn.toml has variables"))
            .with_help("an ARG of a Dockerfile is given with `--build-arg`"));
    }
    match &input.words[..] {
        [] => Ok(Chosen::Dockerfile(".".to_owned())),
        [context] => Ok(Chosen::Dockerfile(context.clone())),
        [_, other, ..] => Err(Failure::user(format!("there is one build context, and `{other}` is another"))
            .with_help("images are named where there is a kairn.toml: here, or given with `-f`")),
    }
}

/// The kairn.toml that is meant, if one is: that of `-f`, that of the folder that is given, or the one here.
fn spec_path(input: &Input, tree: &Tree) -> Result<Option<PathBuf>, Failure> {
    if let Some(file) = &input.file {
        let is_toml = Path::new(file).extension().is_some_and(|extension| extension == "toml");
        let is_url = file.contains("://");
        return Ok((!is_url && (is_toml || Kind::of_name(file).is_some())).then(|| PathBuf::from(file)));
    }
    let is_name = |word: &String| !word.contains('/') && !matches!(word.as_str(), "." | ".." | "-");
    if input.words.iter().all(is_name) && tree.is_file(Path::new(NAME)) {
        return Ok(Some(PathBuf::from(NAME)));
    }
    let [folder] = &input.words[..] else { return Ok(None) };
    let folder = Path::new(folder);
    let (spec, dockerfile) = (folder.join(NAME), folder.join("Dockerfile"));
    if !tree.is_file(&spec) {
        return Ok(None);
    }
    if tree.is_file(&dockerfile) {
        let text = format!("`{}` has a {NAME} as well as a Dockerfile", folder.display());
        return Err(Failure::user(text).with_help("say which with `-f`"));
    }
    Ok(Some(spec))
}

fn spec(input: &Input, path: &Path, tree: &Tree, said: Said) -> Result<Spec, Failure> {
    let mut vars = BTreeMap::new();
    for var in &input.var {
        let (name, value) = var
            .split_once('=')
            .ok_or_else(|| Failure::user(format!("`--var {var}` is not of the form NAME=VALUE")))?;
        vars.insert(name.to_owned(), value.to_owned());
    }
    let other = converted(path, &vars, tree, said)?;
    // Paths of a bake file count from here, wherever it is.
    let is_bake = matches!(Kind::of_name(&path.to_string_lossy()), Some(Kind::BakeHcl | Kind::BakeJson));
    let at = if is_bake { Path::new(path.file_name().unwrap_or_default()) } else { path };
    let read = |read: &Path| {
        if let (Some(text), true) = (&other, read == at) {
            return Ok(text.clone());
        }
        let path = read;
        let bytes = tree.read(path).map_err(|e| e.to_string())?;
        read_text(&bytes[..], &path.display().to_string())
            .map_err(|failure| failure.message.unwrap_or_default())
    };
    let environment = |name: &str| std::env::var(name).ok();
    let find = |pattern: &Path| tree.find(pattern);
    let loader = Loader { vars: &vars, environment: &environment, read: &read, find: &find };
    let loaded = load(at, &loader);
    let Loaded { workspace, files, diagnostics } =
        loaded.map_err(|error| Failure::user(format!("cannot read `{}`: {error}", path.display())))?;
    let mut files: Vec<SourceFile> =
        files.into_iter().map(|file| SourceFile { path: file.path, text: file.text }).collect();
    if other.is_some() {
        // What is shown of it are not the user's own lines.
        files[0].path = PathBuf::from(format!("{} (as a kairn.toml)", path.display()));
    }
    let files = Files(files);
    if diagnostics.iter().any(|found| found.severity == Severity::Error) {
        return Err(Failure::diagnostics(files.render(&diagnostics)));
    }
    if !diagnostics.is_empty() && said == Said::Aloud {
        eprintln!("{}", files.render(&diagnostics).trim_end());
    }
    // The folder of the kairn.toml is not a name in it.
    let is_folder =
        input.file.is_none() && input.words.len() == 1 && Path::new(&input.words[0]).join(NAME) == path;
    let names: &[String] = if is_folder { &[] } else { &input.words };
    let selected = if workspace.images.is_empty() {
        Vec::new()
    } else {
        workspace.select(names).map_err(|unknown| unknown_name(&unknown, &workspace))?
    };
    if selected.is_empty() {
        return Err(Failure::user(format!("`{}` has no images", path.display()))
            .with_help("`[image.NAME]` begins one; `kairn schema --format markdown` lists what it may say"));
    }
    Ok(Spec { path: path.to_owned(), workspace, files, selected })
}

/// The text of a kairn.toml that says what another tool's file says; nothing where it is a kairn.toml.
fn converted(
    path: &Path,
    vars: &BTreeMap<String, String>,
    tree: &Tree,
    said: Said,
) -> Result<Option<String>, Failure> {
    let name = path.display().to_string();
    let Some(kind) = Kind::of_name(&name) else { return Ok(None) };
    let bytes = tree.read(path).map_err(|error| Failure::user(format!("cannot read `{name}`: {error}")))?;
    let text = read_text(&bytes[..], &name)?;
    let environment = |name: &str| vars.get(name).cloned().or_else(|| std::env::var(name).ok());
    let project = project_of(path.parent().unwrap_or(Path::new("")));
    let options = Options { project: &project, environment: &environment };
    let inputs = [kairn_convert::Input { name, kind, text }];
    let converted = convert(&inputs, &options).map_err(|error| Failure::user(error.to_string()))?;
    if said == Said::Aloud {
        for note in &converted.notes {
            eprintln!("note: {note}");
        }
    }
    Ok(Some(converted.toml))
}

/// What compose calls a project: the name of its folder.
pub fn project_of(folder: &Path) -> String {
    let path = super::tree::clean(folder);
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().to_lowercase());
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect();
    name.trim_start_matches(['-', '_']).to_owned()
}

fn unknown_name(unknown: &UnknownName, workspace: &Workspace) -> Failure {
    let UnknownName { name, suggestion, is_cycle: _ } = unknown;
    let failure = Failure::user(format!("there is no image or group `{name}`"));
    let near = suggestion.as_ref().map_or_else(String::new, |near| format!("did you mean `{near}`? "));
    let mut names: Vec<&str> = workspace.images.iter().map(|image| image.name.value.as_str()).collect();
    names.extend(workspace.groups.iter().map(|group| group.name.value.as_str()));
    names.truncate(20);
    let folder = if Path::new(name).is_dir() {
        format!("; `./{name}` is a build context, and this a name because there is a {NAME} here")
    } else {
        String::new()
    };
    failure.with_help(format!("{near}there are {}{folder}", names.join(", ")))
}

impl Chosen {
    /// How registries are reached: as the command line says, and the kairn.toml.
    pub fn registries(&self, input: &Input) -> Registries {
        let mut registries = input.registries.clone();
        if let Self::Spec(spec) = self {
            let build = &spec.workspace.build;
            registries.registry_mirror.extend(build.registry_mirrors.iter().map(|at| at.value.clone()));
            registries.insecure_registry.extend(build.insecure_registries.iter().map(|at| at.value.clone()));
        }
        registries
    }

    /// Whether an image wants its bases asked for.
    pub fn wants_pull(&self) -> bool {
        self.options().any(|(_, options)| options.pull == Some(true))
    }

    /// The options of the images that are asked for.
    fn options(&self) -> impl Iterator<Item = (&Spec, &ImageOptions)> {
        let spec = match self {
            Self::Dockerfile(_) => None,
            Self::Spec(spec) => Some(&**spec),
        };
        spec.into_iter().flat_map(|spec| {
            spec.selected.iter().map(move |image| (spec, &spec.workspace.images[*image].options))
        })
    }

    /// What the images that are asked for say in one of their lists, each once; paths in it count from here.
    pub fn said(&self, list: fn(&ImageOptions) -> &[At<String>]) -> Vec<String> {
        let mut said: Vec<String> = Vec::new();
        for (spec, options) in self.options() {
            for At { value, place } in list(options) {
                let value = from_here(value, spec.workspace.folder_of(*place));
                if !said.contains(&value) {
                    said.push(value);
                }
            }
        }
        said
    }

    /// What is built, for the next build of it: the same text for the same files and target on this machine.
    pub fn name(&self, input: &Input) -> String {
        match self {
            Self::Dockerfile(context) => dockerfile::name(input, context),
            Self::Spec(spec) => spec.name(),
        }
    }
}

impl Spec {
    /// The file, as this machine knows it.
    pub fn name(&self) -> String {
        std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone()).display().to_string()
    }
}

/// Makes the paths of an option `key=value,..` count from here instead of a folder.
pub fn from_here(option: &str, folder: &Path) -> String {
    let fields = option.split(',').map(|field| match field.split_once('=') {
        Some((key @ ("src" | "source" | "dest"), path)) if !path.is_empty() && path != "-" => {
            format!("{key}={}", folder.join(path).display())
        }
        _ => field.to_owned(),
    });
    fields.collect::<Vec<_>>().join(",")
}
