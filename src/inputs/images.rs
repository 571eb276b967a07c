//! The images of a kairn.toml, as the compiler takes them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kairn_compiler::CompileOptions;
use kairn_compiler::compile::contexts::NamedContext;
use kairn_compiler::compile::{ArtifactWish, Required, Requirement, StageDemand, Unit, needed};
use kairn_compiler::graph::{Demand, Network};
use kairn_image::Platform;
use kairn_image::reference::Reference;
use kairn_spec::dockerfile::{Dockerfile, InstructionKind, Parsed, parse};
use kairn_spec::workspace::types::{self, Artifact, ImageOptions, Stage};
use kairn_spec::workspace::{At, Image, Place, Shared, Workspace};
use kairn_spec::{Diagnostic, FileId};

use super::chosen::{Spec, from_here};
use super::contexts::{Contexts, Root};
use super::dockerfile::{checks, of_fetched, of_path, usual};
use super::files::SourceFile;
use super::named::{self, absolute};
use super::{CHECK_ARGUMENT, ImagePlan, Project, build_args, choice, labels, platform, platforms};
use crate::args::Input;
use crate::failure::Failure;

/// Reads the Dockerfiles of all images, and finds their contexts.
pub fn load(input: &Input, spec: Spec, contexts: &mut Contexts<'_>) -> Result<Project, Failure> {
    let name = spec.name();
    let Spec { path, workspace, files, selected } = spec;
    let specs = files.0.len();
    let mut project = Project { specs, ..Project::empty(name, files) };
    if let (Some(target), [_, _, ..]) = (&input.target, &selected[..]) {
        let text =
            format!("`--target {target}` names a stage of one image, and there are {}", selected.len());
        return Err(Failure::user(text).with_help("name the image that is to be built as well"));
    }
    project.build = workspace.build.clone();
    let mut gather = Gather {
        input,
        contexts,
        folder: path.parent().unwrap_or(Path::new("")).to_owned(),
        spec: &workspace,
        project: &mut project,
        read: BTreeMap::new(),
        build_args: build_args(input),
        labels: labels(input)?,
        platforms: platforms(input)?,
    };
    gather.all(&selected)?;
    project.refuse_equal_tags(&selected, &workspace)?;
    project.selected = selected;
    Ok(project)
}

struct Gather<'a, 's> {
    input: &'a Input,
    contexts: &'a mut Contexts<'s>,
    folder: PathBuf,
    spec: &'a Workspace,
    project: &'a mut Project,
    /// Dockerfiles that were read.
    read: BTreeMap<PathBuf, (FileId, Arc<Dockerfile>)>,
    build_args: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    platforms: Vec<Platform>,
}

impl Gather<'_, '_> {
    /// Reads the images that are asked for, and those that they need.
    fn all(&mut self, selected: &[usize]) -> Result<(), Failure> {
        let Workspace { images, stages, .. } = self.spec;
        for image in images {
            let unit = self.blank(&image.name.value, &image.options)?;
            self.project.units.push(unit);
            self.project.images.push(plan(image, self.spec));
        }
        for stage in stages {
            let unit = self.blank(&stage.name.value, &ImageOptions::default())?;
            self.project.units.push(unit);
            self.project.images.push(ImagePlan::default());
        }
        loop {
            let needed = needed(&self.project.units, selected);
            let unread: Vec<usize> =
                needed.into_iter().filter(|number| !self.project.units[*number].is_read).collect();
            if unread.is_empty() {
                break;
            }
            for number in unread {
                match images.get(number) {
                    Some(image) => self.image(number, image, selected.contains(&number))?,
                    None => self.shared(number, &stages[number - images.len()])?,
                }
            }
        }
        Ok(())
    }

    /// An image that is not read: what others have to know of it.
    fn blank(&self, name: &str, options: &ImageOptions) -> Result<Unit, Failure> {
        let platforms = if self.platforms.is_empty() {
            let parse = |at: &At<String>| {
                platform(&at.value).map_err(|e| self.wrong(at.place, "invalid-platform", format!("{e}")))
            };
            options.platforms.iter().map(parse).collect::<Result<Vec<Platform>, _>>()?
        } else {
            self.platforms.clone()
        };
        let nothing = parse("").dockerfile;
        Ok(Unit {
            name: name.to_owned(),
            tags: options.tags.iter().map(|tag| tag.value.clone()).collect(),
            is_read: false,
            platforms,
            ..Unit::new(Arc::new(nothing), CompileOptions::new(Platform::host()))
        })
    }

    fn wrong(&self, place: Place, code: &'static str, message: impl Into<String>) -> Failure {
        Failure::diagnostics(self.project.files.render(&[place.error(code, message)]))
    }

    /// The same failure, where the kairn.toml says what it is about.
    fn at(&self, place: Place, failure: Failure) -> Failure {
        match failure.message {
            None => failure,
            Some(message) => {
                let mut error = place.error("not-found", message);
                error.help = failure.help;
                let rendered = self.project.files.render(&[error]);
                Failure { rendered, message: None, help: None, ..failure }
            }
        }
    }

    fn image(&mut self, number: usize, image: &Image, is_selected: bool) -> Result<(), Failure> {
        let options = &image.options;
        let folder = options.context.as_ref().map_or(image.name.place, |context| context.place);
        let root = self.root(options.context.as_ref(), image.name.place)?;
        let stages =
            image.stages().map_err(|error| Failure::diagnostics(self.project.files.render(&[error])))?;
        let (file, dockerfile, path) = match stages {
            Some((parsed, file)) => (file, self.native(parsed, file), None),
            None => self.dockerfile(image, &root, folder)?,
        };
        let found = self.found(&root, path.as_deref(), options.context.as_ref())?;
        let mut unit = self.project.units[number].clone();
        unit.options = CompileOptions {
            target: options.target.as_ref().map(|target| target.value.clone()),
            build_args: self.arguments(options, &dockerfile),
            labels: options
                .labels
                .0
                .iter()
                .map(|(name, value)| (name.value.clone(), value.0.clone()))
                .collect(),
            platform_choice: choice(&unit.platforms),
            context: found.name,
            named_contexts: self.contexts_of(options)?,
            ignore: found.ignore,
            network: match options.network {
                None => super::network(self.input.network),
                Some(types::Network::Default) => Network::Default,
                Some(types::Network::None) => Network::None,
                Some(types::Network::Host) => Network::Host,
            },
            ..unit.options
        };
        unit.target_at = options.target.as_ref().map(|target| (target.place.file, target.place.span));
        if is_selected {
            unit.options.labels.extend(self.labels.clone());
            if let Some(target) = &self.input.target {
                (unit.options.target, unit.target_at) = (Some(target.clone()), None);
            }
        }
        unit.options.named_contexts.extend(named::read(&self.input.build_context, self.contexts)?);
        (unit.dockerfile, unit.file, unit.is_read) = (dockerfile, file, true);
        self.gates(&mut unit, options)?;
        self.artifacts(&mut unit, options);
        demands(&mut unit, options);
        self.project.units[number] = unit;
        Ok(())
    }

    fn shared(&mut self, number: usize, shared: &Shared) -> Result<(), Failure> {
        let context = shared.stage.context.as_ref();
        let root = self.root(context, shared.name.place)?;
        let found = self.found(&root, None, context)?;
        let (parsed, file) = shared.stages();
        let stage = &shared.stage.stage;
        let dockerfile = self.native(parsed, file);
        let mut unit = self.project.units[number].clone();
        unit.options.build_args = taken(&self.build_args, &dockerfile);
        (unit.options.context, unit.options.ignore) = (found.name, found.ignore);
        unit.options.network = super::network(self.input.network);
        unit.demand = demand_of(stage);
        // It is built for whoever needs it.
        unit.platforms.clear();
        (unit.dockerfile, unit.file, unit.is_read) = (dockerfile, file, true);
        self.project.units[number] = unit;
        Ok(())
    }

    /// Finds the folder of a context; a path counts from the file that says it.
    fn root(&mut self, context: Option<&At<String>>, at: Place) -> Result<Root, Failure> {
        let Some(context) = context else {
            let path = absolute(self.spec.folder_of(at))?;
            return Ok(Root { path, is_local: true, file: None });
        };
        let is_path = kairn_spec::remote::RemoteSource::parse(&context.value).is_none();
        let text = if is_path {
            self.spec.folder_of(context.place).join(&context.value).display().to_string()
        } else {
            context.value.clone()
        };
        if context.value == "-" {
            return Err(self.wrong(
                context.place,
                "invalid-context",
                "a context of a kairn.toml is no standard input",
            ));
        }
        self.contexts.locate(&text).map_err(|failure| self.at(context.place, failure))
    }

    /// Notes a context under the name that people know it by: its path from the kairn.toml.
    fn found(
        &mut self,
        root: &Root,
        dockerfile: Option<&Path>,
        context: Option<&At<String>>,
    ) -> Result<super::contexts::Found, Failure> {
        let base = absolute(&self.folder)?;
        let name = match root.path.strip_prefix(&base) {
            Ok(inside) if root.is_local && inside.as_os_str().is_empty() => ".".to_owned(),
            Ok(inside) if root.is_local => inside.display().to_string(),
            _ => context.map_or_else(|| root.path.display().to_string(), |context| context.value.clone()),
        };
        self.contexts.root(root, dockerfile, &name)
    }

    fn native(&mut self, parsed: Parsed, file: FileId) -> Arc<Dockerfile> {
        let found = parsed.diagnostics.into_iter().map(|found| found.in_file(file));
        self.project.diagnostics.extend(found);
        Arc::new(parsed.dockerfile)
    }

    fn dockerfile(
        &mut self,
        image: &Image,
        root: &Root,
        context: Place,
    ) -> Result<(FileId, Arc<Dockerfile>, Option<PathBuf>), Failure> {
        let options = &image.options;
        if let Some(inline) = &options.dockerfile_inline {
            let spec = &self.project.files.get(inline.place.file).path;
            let path = PathBuf::from(format!("{} ({})", spec.display(), image.name.value));
            let file = SourceFile { path, text: inline.value.clone() };
            let (file, dockerfile) = self.parsed(file)?;
            return Ok((file, dockerfile, None));
        }
        let place = options.dockerfile.as_ref().map_or(context, |name| name.place);
        let name = options.dockerfile.as_ref().map(|name| name.value.as_str());
        if !root.is_local {
            let file = of_fetched(name, &root.path).map_err(|failure| self.at(place, failure))?;
            let path = PathBuf::from(format!("{} ({})", file.path.display(), image.name.value));
            let (file, dockerfile) = self.parsed(SourceFile { path, ..file })?;
            return Ok((file, dockerfile, None));
        }
        // As the user would name it from here.
        let shown = match &options.context {
            Some(context) => self.spec.folder_of(context.place).join(&context.value),
            None => self.spec.folder_of(image.name.place).to_owned(),
        };
        let path = name.map_or_else(|| usual(&shown, self.contexts.tree), |name| shown.join(name));
        if let Some((file, dockerfile)) = self.read.get(&path) {
            return Ok((*file, Arc::clone(dockerfile), Some(path)));
        }
        let file = of_path(path.clone(), self.contexts.tree).map_err(|failure| {
            let help = "name it with `dockerfile`, relative to the context, or write stages: `[image.NAME.stage.STAGE]`";
            self.at(place, Failure { help: None, ..failure }.with_help(help))
        })?;
        let (file, dockerfile) = self.parsed(file)?;
        self.read.insert(path.clone(), (file, Arc::clone(&dockerfile)));
        Ok((file, dockerfile, Some(path)))
    }

    fn parsed(&mut self, source: SourceFile) -> Result<(FileId, Arc<Dockerfile>), Failure> {
        let parsed = parse(&source.text);
        let file = self.project.files.add(source);
        let argument = self.build_args.get(CHECK_ARGUMENT).map(String::as_str);
        self.project.checks.insert(file, checks(&parsed.dockerfile, argument)?);
        let found = parsed.diagnostics.into_iter().map(|found| found.in_file(file));
        self.project.diagnostics.extend(found);
        Ok((file, Arc::new(parsed.dockerfile)))
    }

    /// Values of ARGs: the image's, and those of the command line that the Dockerfile has an ARG for.
    fn arguments(&self, options: &ImageOptions, dockerfile: &Dockerfile) -> BTreeMap<String, String> {
        let mut args: BTreeMap<String, String> =
            options.args.0.iter().map(|(name, value)| (name.value.clone(), value.0.clone())).collect();
        args.extend(taken(&self.build_args, dockerfile));
        args
    }

    fn contexts_of(&mut self, options: &ImageOptions) -> Result<BTreeMap<String, NamedContext>, Failure> {
        let mut named = BTreeMap::new();
        for (name, At { value, place }) in &options.contexts.0 {
            let context = if let Some(image) = value.strip_prefix("image:") {
                if !self.project.units.iter().any(|unit| unit.name.eq_ignore_ascii_case(image)) {
                    return Err(self.wrong(*place, "unknown-image", format!("there is no image `{image}`")));
                }
                NamedContext::Sibling(image.to_owned())
            } else if let Some(stage) = value.strip_prefix("stage:") {
                NamedContext::Stage(stage.to_owned())
            } else {
                let folder = self.spec.folder_of(*place).to_owned();
                named::context(value, &folder, &name.value, self.contexts).map_err(|failure| {
                    let help = "a context is a folder, a URL, `docker-image://REF`, `oci-layout://PATH`, `image:NAME` or `stage:NAME`";
                    self.at(*place, failure.with_help(help))
                })?
            };
            named.insert(name.value.clone(), context);
        }
        Ok(named)
    }

    fn gates(&self, unit: &mut Unit, options: &ImageOptions) -> Result<(), Failure> {
        for At { value, place: Place { file, span } } in &options.requires {
            let what = match value.split_once(':') {
                Some(("stage", name)) => Required::Stage(name.to_owned()),
                Some(("image", name)) => {
                    // The name of a matrix, or one with `*`, is that of several.
                    let found = self.spec.select(&[name.to_owned()]).unwrap_or_default();
                    let others = found.iter().map(|at| &self.spec.images[*at].name.value);
                    let others: Vec<&String> = others.filter(|other| **other != unit.name).collect();
                    for other in &others {
                        let what = Required::Image((*other).clone());
                        unit.requires.push(Requirement { what, file: *file, span: *span });
                    }
                    if !others.is_empty() {
                        continue;
                    }
                    Required::Image(name.to_owned())
                }
                _ => {
                    let place = Place { file: *file, span: *span };
                    let error = place
                        .error("invalid-requirement", format!("`{value}` is neither a stage nor an image"));
                    let error = error.with_help("write `stage:NAME` or `image:NAME`");
                    return Err(Failure::diagnostics(self.project.files.render(&[error])));
                }
            };
            unit.requires.push(Requirement { what, file: *file, span: *span });
        }
        Ok(())
    }

    fn artifacts(&self, unit: &mut Unit, options: &ImageOptions) {
        for Artifact { stage, path, dest } in &options.artifacts {
            let place = stage.as_ref().map_or(path.place, |stage| stage.place);
            let mut to = self.spec.folder_of(dest.place).join(&dest.value).into_os_string();
            // Joining keeps a final slash, which says that it is a folder; `.` and `..` say so without one.
            if dest.value.ends_with("..") || dest.value == "." {
                to.push("/");
            }
            unit.artifacts.push(ArtifactWish {
                stage: stage.as_ref().map(|stage| stage.value.clone()),
                path: path.value.clone(),
                dest: PathBuf::from(to),
                file: place.file,
                span: place.span,
            });
        }
    }
}

/// The build arguments that a Dockerfile has an ARG for.
fn taken(build_args: &BTreeMap<String, String>, dockerfile: &Dockerfile) -> BTreeMap<String, String> {
    let instructions =
        dockerfile.stages.iter().flat_map(|stage| &stage.instructions).chain(&dockerfile.global_args);
    let mut names: Vec<&str> = Vec::new();
    for instruction in instructions {
        if let InstructionKind::Arg(declarations) = &instruction.kind {
            names.extend(declarations.iter().map(|declaration| declaration.name.raw.as_str()));
        }
    }
    let is_taken = |name: &str| {
        let lower = name.to_ascii_lowercase();
        names.contains(&name)
            || lower.ends_with("_proxy")
            || name.starts_with("TARGET")
            || name.starts_with("BUILDKIT_")
            || (name.starts_with("BUILD") && !name.starts_with("BUILDKIT"))
            || name == "SOURCE_DATE_EPOCH"
    };
    let taken = build_args.iter().filter(|(name, _)| *name != CHECK_ARGUMENT && is_taken(name));
    taken.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn demands(unit: &mut Unit, options: &ImageOptions) {
    unit.demand = Demand {
        cpu: options.cpu.as_ref().map(|cpu| cpu.value),
        memory_bytes: options.memory.as_ref().map(|memory| memory.value.0),
        timeout: options.timeout.as_ref().map(|timeout| timeout.value.0),
        retries: options.retries.as_ref().map(|retries| retries.value),
    };
    for (name, stage) in &options.stage.0 {
        let (file, span) = (name.place.file, name.place.span);
        let demand = demand_of(stage);
        unit.stage_demands.push(StageDemand { stage: name.value.clone(), demand, file, span });
    }
}

fn demand_of(stage: &Stage) -> Demand {
    Demand {
        cpu: stage.cpu.as_ref().map(|cpu| cpu.value),
        memory_bytes: stage.memory.as_ref().map(|memory| memory.value.0),
        timeout: stage.timeout.as_ref().map(|timeout| timeout.value.0),
        retries: stage.retries.as_ref().map(|retries| retries.value),
    }
}

fn plan(image: &Image, spec: &Workspace) -> ImagePlan {
    let options = &image.options;
    ImagePlan {
        tags: options.tags.iter().map(|tag| tag.value.clone()).collect(),
        outputs: (options.outputs.iter())
            .map(|output| from_here(&output.value, spec.folder_of(output.place)))
            .collect(),
        push: options.push == Some(true),
        secrets: (options.secrets.iter())
            .map(|secret| from_here(&secret.value, spec.folder_of(secret.place)))
            .collect(),
        ssh: options.ssh.iter().map(|agent| agent.value.clone()).collect(),
        allow: options.allow.clone(),
        annotations: options
            .annotations
            .0
            .iter()
            .map(|(name, value)| (name.value.clone(), value.0.clone()))
            .collect(),
        no_cache: options.no_cache == Some(true),
        no_cache_filter: options.no_cache_filter.iter().map(|stage| stage.value.clone()).collect(),
    }
}

impl Project {
    /// Two images that are built together have different tags.
    fn refuse_equal_tags(&self, selected: &[usize], spec: &Workspace) -> Result<(), Failure> {
        let mut known: BTreeMap<String, (&str, Place)> = BTreeMap::new();
        let mut found: Vec<Diagnostic> = Vec::new();
        for image in selected.iter().map(|number| &spec.images[*number]) {
            for tag in &image.options.tags {
                let reference = match tag.value.parse::<Reference>() {
                    Ok(reference) if reference.digest().is_none() => reference,
                    Ok(_) => {
                        let text =
                            format!("the tag `{}` has a digest, and the build makes its own", tag.value);
                        found.push(tag.place.error("invalid-tag", text));
                        continue;
                    }
                    Err(error) => {
                        let text = format!("`{}` is no tag: {error}", tag.value);
                        found.push(tag.place.error("invalid-tag", text));
                        continue;
                    }
                };
                let name = image.name.value.as_str();
                let Some((other, place)) = known.insert(reference.to_string(), (name, tag.place)) else {
                    continue;
                };
                if other == name {
                    continue;
                }
                let text = format!("the images `{other}` and `{name}` have the same tag `{reference}`");
                let error = tag.place.error("duplicate-tag", text);
                found.push(if place.file == tag.place.file && place.span != tag.place.span {
                    error.with_related(place.span, format!("that of `{other}`"))
                } else {
                    error.with_help("in a matrix, put its values into the tag")
                });
            }
        }
        if found.is_empty() { Ok(()) } else { Err(Failure::diagnostics(self.files.render(&found))) }
    }
}
