//! Names of images, on the command line and in groups.

use std::collections::{BTreeMap, BTreeSet};

use super::{At, Group, Workspace};
use crate::Diagnostic;
use crate::suggest::nearest;

/// Images that were asked for, by their places in [`Workspace::images`], in the order of the text.
pub type Selection = Vec<usize>;

/// A name is that of no image and no group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    /// The name.
    pub name: String,
    /// A name that may have been meant.
    pub suggestion: Option<String>,
    /// Whether it is a group that names itself.
    pub is_cycle: bool,
}

/// A walk through groups that name groups.
#[derive(Default)]
struct Walk<'n> {
    path: Vec<&'n str>,
    done: BTreeMap<&'n str, BTreeSet<usize>>,
}

impl Workspace {
    /// Returns the images that are meant by names: the group or image `default`, or all, where none is given.
    ///
    /// # Errors
    /// The first name that is nobody's.
    pub fn select(&self, names: &[String]) -> Result<Selection, UnknownName> {
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        if names.is_empty() {
            let has_default = self.groups.iter().any(|group| group.name.value == "default")
                || self.images.iter().any(|image| image.table == "default");
            names.push(if has_default { "default" } else { "*" });
        }
        self.set(&names, &mut Walk::default()).map(|set| set.into_iter().collect())
    }

    /// Finds the mistakes in the names of a group.
    pub(super) fn select_group(&self, group: &Group) -> Result<(), Diagnostic> {
        for At { value, place } in &group.members {
            let name = value.strip_prefix('!').unwrap_or(value);
            let mut walk = Walk { path: vec![group.name.value.as_str()], ..Walk::default() };
            self.set(&[name], &mut walk).map_err(|unknown| {
                if unknown.is_cycle {
                    return place.error("group-cycle", format!("the group `{}` names itself", unknown.name));
                }
                let error =
                    place.error("unknown-image", format!("there is no image or group `{}`", unknown.name));
                match unknown.suggestion {
                    Some(near) => error.with_help(format!("did you mean `{near}`?")),
                    None => error,
                }
            })?;
        }
        Ok(())
    }

    fn set<'n>(&'n self, names: &[&'n str], walk: &mut Walk<'n>) -> Result<BTreeSet<usize>, UnknownName> {
        let mut set = BTreeSet::new();
        let mut out = BTreeSet::new();
        // A list that only leaves out begins with all.
        if !names.is_empty() && names.iter().all(|name| name.starts_with('!')) {
            set.extend(0..self.images.len());
        }
        for name in names {
            match name.strip_prefix('!') {
                Some(name) => out.extend(self.one(name, walk)?),
                None => set.extend(self.one(name, walk)?),
            }
        }
        Ok(set.difference(&out).copied().collect())
    }

    fn one<'n>(&'n self, name: &'n str, walk: &mut Walk<'n>) -> Result<BTreeSet<usize>, UnknownName> {
        let unknown = |suggestion: Option<&str>, is_cycle| UnknownName {
            name: name.to_owned(),
            suggestion: suggestion.map(str::to_owned),
            is_cycle,
        };
        if let Some(group) = self.groups.iter().find(|group| group.name.value == name) {
            if walk.path.contains(&name) {
                return Err(unknown(None, true));
            }
            if let Some(done) = walk.done.get(name) {
                return Ok(done.clone());
            }
            walk.path.push(name);
            let members: Vec<&str> = group.members.iter().map(|member| member.value.as_str()).collect();
            let set = self.set(&members, walk);
            walk.path.pop();
            if let Ok(set) = &set {
                walk.done.insert(name, set.clone());
            }
            return set;
        }
        let is_meant = |known: &str| if name.contains('*') { matches(name, known) } else { known == name };
        let set: BTreeSet<usize> = (self.images.iter().enumerate())
            .filter(|(_, image)| is_meant(&image.name.value) || (image.table == name))
            .map(|(at, _)| at)
            .collect();
        if set.is_empty() {
            let images = self.images.iter().flat_map(|image| [image.name.value.as_str(), &image.table]);
            let known = images.chain(self.groups.iter().map(|group| group.name.value.as_str()));
            return Err(unknown(nearest(name, known), false));
        }
        Ok(set)
    }
}

/// Says whether a name is like a pattern, in which `*` stands for any letters.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("*", "api", true),
            ("api*", "api-3", true),
            ("*-3", "api-3", true),
            ("a*i*3", "api-3", true),
            ("a*b", "ab", true),
            ("a*a", "a", false),
            ("api", "api-3", false),
            ("*x*", "api", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
