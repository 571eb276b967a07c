//! What is written: variables, images and groups.

mod settle;

use std::collections::BTreeMap;

use crate::place::Place;
use crate::report::Report;
use crate::term::Term;

/// A whole `kairn.toml`.
#[derive(Debug, Default)]
pub(crate) struct Spec {
    /// Its variables in order.
    pub(crate) vars: Vec<Var>,
    /// Its images in order.
    pub(crate) images: Vec<Image>,
    /// Its groups in order.
    pub(crate) groups: Vec<Group>,
}

/// A variable.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Var {
    /// Its name.
    pub(crate) name: String,
    /// The variable of the environment that sets it.
    pub(crate) env: Option<String>,
    /// The word for its type, where that is declared.
    pub(crate) kind: Option<&'static str>,
    /// Its value where nothing sets it; without one, something has to.
    pub(crate) default: Option<Term>,
    /// What it is for.
    pub(crate) description: Option<String>,
    /// Its only values, if they are not any.
    pub(crate) values: Vec<Term>,
    /// Where it is defined.
    pub(crate) place: Place,
    /// Whether it was null, and is left out where nothing uses it.
    pub(crate) is_null: bool,
}

/// An image, or a template of images.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// Its name.
    pub(crate) name: String,
    /// Where it is defined.
    pub(crate) place: Place,
    /// Whether it is never built.
    pub(crate) is_template: bool,
    /// The names of the images of its matrix, as they are now.
    pub(crate) combinations: Vec<String>,
    /// Its options, by the words of `kairn.toml`.
    pub(crate) options: BTreeMap<&'static str, Term>,
}

/// A group of images.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    /// Its name.
    pub(crate) name: String,
    /// Where it is defined.
    pub(crate) place: Place,
    /// What it is for.
    pub(crate) description: Option<String>,
    /// The names of images and groups in it.
    pub(crate) members: Vec<String>,
}

impl Image {
    /// Makes an image without options.
    pub(crate) fn new(name: impl Into<String>, place: Place) -> Self {
        Self {
            name: name.into(),
            place,
            is_template: false,
            combinations: Vec::new(),
            options: BTreeMap::new(),
        }
    }

    /// Sets the options that another definition of the same image has.
    fn merge(&mut self, other: Image) {
        if !other.combinations.is_empty() {
            self.combinations = other.combinations;
        }
        for (key, value) in other.options {
            match self.options.get_mut(key) {
                Some(old) => *old = merged(key, old, value),
                None => {
                    self.options.insert(key, value);
                }
            }
        }
    }
}

/// Merges an option as bake does it when a target is defined twice.
fn merged(key: &str, old: &Term, new: Term) -> Term {
    match (key, old, new) {
        ("args" | "labels" | "contexts" | "annotations", Term::Map(old), Term::Map(new)) => {
            let mut pairs = old.clone();
            for (name, value) in new {
                crate::eval::put(&mut pairs, name, value);
            }
            Term::Map(pairs)
        }
        (
            "inherits" | "cache-from" | "secrets" | "ssh" | "no-cache-filter" | "allow",
            Term::List(old),
            Term::List(new),
        ) => {
            let mut items = old.clone();
            items.extend(new.into_iter().filter(|item| !old.contains(item)));
            Term::List(items)
        }
        (_, _, new) => new,
    }
}

impl Spec {
    /// Adds a variable, unless there is one of its name.
    pub(crate) fn add_var(&mut self, var: Var, report: &mut Report) {
        match self.vars.iter().find(|known| known.name == var.name) {
            Some(known) if known.default != var.default => {
                let what =
                    format!("variable `{}` has another default in another file, which counts", var.name);
                report.note(var.place, what);
            }
            Some(_) => {}
            None => self.vars.push(var),
        }
    }

    /// Adds an image, or merges it into the one of its name.
    pub(crate) fn add_image(&mut self, image: Image) {
        match self.images.iter_mut().find(|known| known.name == image.name) {
            Some(known) => known.merge(image),
            None => self.images.push(image),
        }
    }

    /// Adds a group in the place of one of its name.
    pub(crate) fn add_group(&mut self, group: Group) {
        match self.groups.iter_mut().find(|known| known.name == group.name) {
            Some(known) => *known = group,
            None => self.groups.push(group),
        }
    }
}
