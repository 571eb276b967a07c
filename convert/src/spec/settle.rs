//! What can be told only of the whole: templates, and names that lead nowhere or in a circle.

use std::collections::BTreeSet;

use super::Spec;
use crate::report::Report;
use crate::term::Term;

impl Spec {
    /// Makes templates of what is only inherited, and takes out what refers to nothing.
    pub(crate) fn settle(&mut self, report: &mut Report) {
        self.drop_unused_variables(report);
        self.allow_host_network();
        self.drop_unknown_parents(report);
        self.break_circles(report);
        self.hand_down_allowed();
        self.drop_unknown_members(report);
        self.rename_images(report);
        let built = self.built();
        for image in &mut self.images {
            image.is_template = image.name.starts_with('_')
                && !built.contains(&image.name)
                && !image.options.contains_key("matrix");
        }
    }

    /// Takes out variables without a value whose uses were left out.
    fn drop_unused_variables(&mut self, report: &mut Report) {
        let mut used = Vec::new();
        self.images
            .iter()
            .flat_map(|image| image.options.values())
            .for_each(|term| term.variables(&mut used));
        self.vars.iter().filter_map(|var| var.default.as_ref()).for_each(|term| term.variables(&mut used));
        self.vars.retain(|var| !var.is_null || used.contains(&var.name));
        for var in self.vars.iter().filter(|var| var.is_null) {
            let what = "is null where nothing sets it, and is an empty text here";
            report.note(var.place, format!("variable `{}` {what}", var.name));
        }
    }

    /// Asks for the machine's network where it is used, as bake does.
    fn allow_host_network(&mut self) {
        for image in &mut self.images {
            if image.options.get("network") == Some(&Term::text("host")) {
                let allowed = image.options.entry("allow").or_insert_with(|| Term::List(Vec::new()));
                let host = Term::text("network.host");
                if let Term::List(allowed) = allowed
                    && !allowed.contains(&host)
                {
                    allowed.push(host);
                }
            }
        }
    }

    /// Repeats what parents are allowed: there a list is handed down only where an image has none of its own.
    fn hand_down_allowed(&mut self) {
        for at in 0..self.images.len() {
            if !self.images[at].options.contains_key("allow") {
                continue;
            }
            let mut all = Vec::new();
            for parent in self.ancestors(at) {
                if let Some(Term::List(more)) = self.images[parent].options.get("allow") {
                    all.extend(more.iter().cloned());
                }
            }
            if let Some(Term::List(own)) = self.images[at].options.get_mut("allow") {
                all.retain(|item| !own.contains(item));
                for item in all {
                    if !own.contains(&item) {
                        own.push(item);
                    }
                }
            }
        }
    }

    /// Returns the places of all that an image inherits.
    fn ancestors(&self, at: usize) -> Vec<usize> {
        let mut found = Vec::new();
        let mut next = self.parents(at);
        while let Some(name) = next.pop() {
            if let Some(parent) = self.images.iter().position(|image| image.name == name)
                && !found.contains(&parent)
            {
                found.push(parent);
                next.extend(self.parents(parent));
            }
        }
        found
    }

    fn drop_unknown_parents(&mut self, report: &mut Report) {
        let names: BTreeSet<String> = self.images.iter().map(|image| image.name.clone()).collect();
        for image in &mut self.images {
            let Some(Term::List(parents)) = image.options.get_mut("inherits") else { continue };
            parents.retain(|parent| {
                let known = parent.as_text().is_none_or(|parent| names.contains(&parent));
                if !known {
                    let parent = parent.as_text().unwrap_or_default();
                    let what =
                        format!("`inherits` of `{}` is left out: there is no target `{parent}`", image.name);
                    report.note(image.place, what);
                }
                known
            });
            if parents.is_empty() {
                image.options.remove("inherits");
            }
        }
    }

    /// Takes out what makes a target inherit itself, as bake does.
    fn break_circles(&mut self, report: &mut Report) {
        for at in 0..self.images.len() {
            let name = self.images[at].name.clone();
            for parent in self.parents(at) {
                if !self.reaches(&parent, &name) {
                    continue;
                }
                let what = format!("`inherits` of `{name}` is left out: `{parent}` inherits `{name}`");
                report.note(self.images[at].place, what);
                if let Some(Term::List(parents)) = self.images[at].options.get_mut("inherits") {
                    parents.retain(|known| known.as_text().as_ref() != Some(&parent));
                    if parents.is_empty() {
                        self.images[at].options.remove("inherits");
                    }
                }
            }
        }
    }

    fn parents(&self, at: usize) -> Vec<String> {
        match self.images.get(at).and_then(|image| image.options.get("inherits")) {
            Some(Term::List(parents)) => parents.iter().filter_map(Term::as_text).collect(),
            _ => Vec::new(),
        }
    }

    fn reaches(&self, from: &str, wanted: &str) -> bool {
        let mut seen = BTreeSet::new();
        let mut next = vec![from.to_owned()];
        while let Some(name) = next.pop() {
            if name == wanted {
                return true;
            }
            if seen.insert(name.clone())
                && let Some(at) = self.images.iter().position(|image| image.name == name)
            {
                next.extend(self.parents(at));
            }
        }
        false
    }

    fn drop_unknown_members(&mut self, report: &mut Report) {
        let mut known: BTreeSet<String> = self.groups.iter().map(|group| group.name.clone()).collect();
        for image in &self.images {
            known.insert(image.name.clone());
            known.extend(image.combinations.iter().cloned());
        }
        for group in &mut self.groups {
            let place = group.place;
            let name = &group.name;
            group.members.retain(|member| {
                let is_known = known.contains(member);
                if !is_known {
                    let what = format!("`{member}` of group `{name}` is left out: it is not defined");
                    report.note(place, what);
                }
                is_known
            });
        }
    }

    /// Gives an image another name where a group has its own: it is the group that bake builds by that name.
    fn rename_images(&mut self, report: &mut Report) {
        for at in 0..self.groups.len() {
            let name = self.groups[at].name.clone();
            let Some(image) = self.images.iter().position(|image| image.name == name) else { continue };
            let mut new = format!("{name}-image");
            while self.images.iter().any(|image| image.name == new)
                || self.groups.iter().any(|group| group.name == new)
            {
                new.push('_');
            }
            let what = format!("target `{name}` is named `{new}`: a group has its name");
            report.note(self.images[image].place, what);
            self.images[image].name.clone_from(&new);
            self.groups[at].members.iter_mut().filter(|member| **member == name).for_each(|member| {
                member.clone_from(&new);
            });
            for image in &mut self.images {
                let (old_source, new_source) = (format!("image:{name}"), format!("image:{new}"));
                if let Some(parents) = image.options.get_mut("inherits") {
                    rename(parents, &name, &new);
                }
                if let Some(contexts) = image.options.get_mut("contexts") {
                    rename(contexts, &old_source, &new_source);
                }
            }
        }
    }

    /// Returns the names that a group or a context asks for.
    fn built(&self) -> BTreeSet<String> {
        let mut built: BTreeSet<String> =
            self.groups.iter().flat_map(|group| group.members.iter().cloned()).collect();
        for image in &self.images {
            if let Some(Term::Map(contexts)) = image.options.get("contexts") {
                let texts = contexts.iter().filter_map(|(_, value)| value.as_text());
                built.extend(texts.filter_map(|text| text.strip_prefix("image:").map(str::to_owned)));
            }
        }
        built
    }
}

/// Replaces a text wherever it is a whole element.
fn rename(term: &mut Term, old: &str, new: &str) {
    match term {
        Term::Text(text) if text == old => new.clone_into(text),
        Term::List(items) => items.iter_mut().for_each(|item| rename(item, old, new)),
        Term::Map(pairs) => pairs.iter_mut().for_each(|(_, value)| rename(value, old, new)),
        Term::Null | Term::Bool(_) | Term::Number(_) | Term::Text(_) | Term::Symbol(_) => {}
    }
}
