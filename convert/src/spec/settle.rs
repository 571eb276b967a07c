//! What can be told only of the whole: templates, and names that lead nowhere or in a circle.

use std::collections::BTreeSet;

use super::Spec;
use crate::report::Report;
use crate::term::Term;

impl Spec {
    /// Makes templates of what is only inherited, and takes out what refers to nothing.
    pub(crate) fn settle(&mut self, report: &mut Report) {
        self.drop_unknown_parents(report);
        self.break_circles(report);
        self.note_unknown_members(report);
        let built = self.built();
        for image in &mut self.images {
            image.is_template = image.name.starts_with('_')
                && !built.contains(&image.name)
                && !image.options.contains_key("matrix");
        }
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

    fn note_unknown_members(&self, report: &mut Report) {
        let matrices = self.images.iter().any(|image| image.options.contains_key("matrix"));
        for group in &self.groups {
            for member in &group.members {
                let known = self.images.iter().any(|image| image.name == *member)
                    || self.groups.iter().any(|group| group.name == *member);
                if !known && !matrices {
                    let what = format!("group `{}` names `{member}`, which is not defined", group.name);
                    report.note(group.place, what);
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
