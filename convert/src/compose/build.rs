//! The build of a service.

use super::lists::add;
use super::{Fatal, Project};
use crate::ConvertError;
use crate::bake::context;
use crate::place::Place;
use crate::report::Report;
use crate::say::{join_pieces, pieces};
use crate::spec::Image;
use crate::term::Term;
use crate::words;
use crate::yaml::{Node, NodeKind};

/// What `kairn.toml` has no word for.
const UNKNOWN: &str = "is left out: `kairn.toml` has no word for it";

/// Converts a build.
///
/// # Errors
/// A mistake that leaves no sense in it.
pub(super) fn convert(
    project: &mut Project<'_>,
    image: &mut Image,
    service: &Node,
    build: &Node,
    project_name: &Term,
    report: &mut Report,
) -> Result<(), ConvertError> {
    if !matches!(build.kind, NodeKind::Map(_)) {
        return Err(report.error(build.place, format!("`build` of service `{}` is a map", image.name)));
    }
    let mut reader = Reader { project, image, report };
    reader.read(service, build, project_name).map_err(|(place, what)| report.error(place, what))
}

struct Reader<'r, 'p> {
    project: &'r mut Project<'p>,
    image: &'r mut Image,
    report: &'r mut Report,
}

impl Reader<'_, '_> {
    fn read(&mut self, service: &Node, build: &Node, project_name: &Term) -> Result<(), Fatal> {
        let first = match service.get("image").filter(|image| image.kind != NodeKind::Null) {
            Some(image) => self.project.variables.term(image)?,
            None => self.default_tag(project_name),
        };
        self.set("tags", Term::List(vec![first]));
        for (key, value) in build.pairs().iter().filter(|(key, _)| key.name != "x-bake") {
            self.option(&key.name, key.place, value)?;
        }
        if !self.image.options.contains_key("platforms")
            && let Some(platform) = service.get("platform").filter(|platform| platform.text().is_some())
        {
            let platform = self.project.variables.term(platform)?;
            self.set("platforms", Term::List(vec![platform]));
        }
        match build.get("x-bake") {
            Some(extension) => self.extension(extension),
            None => Ok(()),
        }
    }

    /// Returns the name that compose gives an image without one.
    fn default_tag(&self, project: &Term) -> Term {
        let behind = format!("-{}", self.image.name);
        let now = project.now().and_then(|name| name.as_text()).unwrap_or_default();
        let now = Term::Text(now + &behind);
        let mut all = pieces(project).unwrap_or_default();
        all.push(crate::say::Piece::Text(behind));
        join_pieces(all, Some(now.clone())).unwrap_or(now)
    }

    fn set(&mut self, option: &'static str, value: Term) {
        self.image.options.insert(option, value);
    }

    fn add(&mut self, option: &'static str, more: Vec<Term>) {
        let list = self.image.options.entry(option).or_insert_with(|| Term::List(Vec::new()));
        if let Term::List(list) = list {
            add(list, more);
        }
    }

    fn note(&mut self, place: Place, key: &str, what: &str) {
        self.report.note(place, format!("`{key}` of service `{}` {what}", self.image.name));
    }

    fn option(&mut self, name: &str, place: Place, value: &Node) -> Result<(), Fatal> {
        match name {
            "context" => self.text("context", value),
            "dockerfile" => self.text("dockerfile", value),
            "dockerfile_inline" => self.text("dockerfile-inline", value),
            "target" => self.text("target", value),
            "network" => self.network(place, value),
            "no_cache" => self.boolean("no-cache", place, value),
            "pull" => self.boolean("pull", place, value),
            "args" => self.args(value),
            "labels" => {
                let pairs = self.project.map(value)?;
                self.set("labels", Term::Map(pairs));
                Ok(())
            }
            "additional_contexts" => self.contexts(value),
            "tags" => {
                let tags = self.project.texts(value)?;
                self.add("tags", tags);
                Ok(())
            }
            "platforms" => {
                let platforms = self.project.texts(value)?;
                self.add("platforms", platforms);
                Ok(())
            }
            "cache_from" => self.caches("cache-from", value),
            "cache_to" => self.caches("cache-to", value),
            "no_cache_filter" => {
                let stages = self.project.texts(value)?;
                self.add("no-cache-filter", stages);
                Ok(())
            }
            "secrets" => self.secrets(value),
            "ssh" => {
                let agents = self.project.ssh(value)?;
                self.add("ssh", agents);
                Ok(())
            }
            "entitlements" => self.entitlements(value),
            name if name.starts_with("x-") => Ok(()),
            name => {
                self.note(place, &format!("build.{name}"), UNKNOWN);
                Ok(())
            }
        }
    }

    fn text(&mut self, option: &'static str, value: &Node) -> Result<(), Fatal> {
        if value.text().is_some() {
            let text = self.project.variables.term(value)?;
            self.set(option, text);
        }
        Ok(())
    }

    fn boolean(&mut self, option: &'static str, place: Place, value: &Node) -> Result<(), Fatal> {
        let term = self.project.variables.term(value)?;
        if term.is_symbolic() {
            self.note(place, option, "is as it is with the variables' values of now");
        }
        let text = term.now().and_then(|term| term.as_text()).unwrap_or_default();
        match text.to_lowercase().as_str() {
            "true" | "yes" | "on" | "y" | "1" => self.set(option, Term::Bool(true)),
            "false" | "no" | "off" | "n" | "0" => self.set(option, Term::Bool(false)),
            "" => {}
            other => self.note(place, option, &format!("is left out: `{other}` is not a boolean")),
        }
        Ok(())
    }

    fn network(&mut self, place: Place, value: &Node) -> Result<(), Fatal> {
        match self.project.variables.term(value)? {
            Term::Text(mode) if !matches!(mode.as_str(), "default" | "none" | "host") => {
                self.note(place, "network", &format!("is left out: there is no network `{mode}`"));
            }
            mode => self.set("network", mode),
        }
        Ok(())
    }

    fn args(&mut self, value: &Node) -> Result<(), Fatal> {
        let mut pairs = Vec::new();
        for (key, value) in value.pairs() {
            if value.kind == NodeKind::Null && !self.project.variables.is_given(&key.name) {
                let what = "is left out: it has no value where nothing sets it";
                self.note(key.place, &format!("args.{}", key.name), what);
                continue;
            }
            let term = if value.kind == NodeKind::Null {
                self.project.variables.symbol(&key.name, key.place)
            } else {
                self.project.variables.term(value)?
            };
            pairs.push((key.name.clone(), term));
        }
        if !pairs.is_empty() {
            self.set("args", Term::Map(pairs));
        }
        Ok(())
    }

    fn contexts(&mut self, value: &Node) -> Result<(), Fatal> {
        let mut pairs = match self.image.options.remove("contexts") {
            Some(Term::Map(pairs)) => pairs,
            _ => Vec::new(),
        };
        for (key, value) in value.pairs() {
            let source = self.project.variables.term(value)?;
            if source == Term::text("") {
                continue;
            }
            let source = context(source);
            if let Term::Text(text) = &source
                && let Some(name) = text.strip_prefix("image:")
                && self.project.services.get(name).is_none_or(|service| service.get("build").is_none())
            {
                let what = format!("is left out: service `{name}` has no build");
                self.note(key.place, &format!("additional_contexts.{}", key.name), &what);
                continue;
            }
            crate::eval::put(&mut pairs, key.name.clone(), source);
        }
        if !pairs.is_empty() {
            self.set("contexts", Term::Map(pairs));
        }
        Ok(())
    }

    fn caches(&mut self, option: &'static str, value: &Node) -> Result<(), Fatal> {
        let caches = self.project.texts(value)?;
        self.add(option, caches.into_iter().map(words::cache).collect());
        Ok(())
    }

    fn secrets(&mut self, value: &Node) -> Result<(), Fatal> {
        let (secrets, notes) = self.project.secrets(value)?;
        for (place, what) in notes {
            self.note(place, "secrets", &what);
        }
        if !secrets.is_empty() {
            self.add("secrets", secrets);
        }
        Ok(())
    }

    fn entitlements(&mut self, value: &Node) -> Result<(), Fatal> {
        for item in self.project.texts(value)? {
            match item.as_text().as_deref() {
                Some("network.host" | "security.insecure") => self.add("allow", vec![item]),
                other => {
                    let what = format!("has an item that is left out: `{}`", other.unwrap_or("a variable"));
                    self.note(value.place, "entitlements", &what);
                }
            }
        }
        Ok(())
    }

    /// Reads what compose has no words for and bake has.
    fn extension(&mut self, extension: &Node) -> Result<(), Fatal> {
        for (key, value) in extension.pairs() {
            let words = self.project.words(value)?;
            match key.name.as_str() {
                "tags" => self.add("tags", words),
                "platforms" => self.add("platforms", words),
                "cache-from" => self.add("cache-from", words.into_iter().map(words::cache).collect()),
                "cache-to" => self.add("cache-to", words.into_iter().map(words::cache).collect()),
                "secret" => self.add("secrets", words),
                "ssh" => self.add("ssh", words),
                "output" => self.add("outputs", words.into_iter().map(words::output).collect()),
                "no-cache-filter" => self.add("no-cache-filter", words),
                "pull" => self.boolean("pull", key.place, value)?,
                "no-cache" => self.boolean("no-cache", key.place, value)?,
                "contexts" => self.contexts(value)?,
                name => self.note(key.place, &format!("x-bake.{name}"), "is left out: it is unknown"),
            }
        }
        Ok(())
    }
}
