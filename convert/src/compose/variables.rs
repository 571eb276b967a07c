//! The variables of compose files, that become those of `kairn.toml`.

use std::collections::BTreeMap;

use super::Fatal;
use super::interpolation::{Form, Segment, segments};
use crate::place::Place;
use crate::report::Report;
use crate::say::{Say, choose, default, join_pieces, pieces};
use crate::spec::{Spec, Var};
use crate::term::{Kind, Term};
use crate::yaml::{Node, NodeKind};

/// How a variable is used.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Use {
    place: Place,
    form: Form,
}

/// All variables.
pub(super) struct Variables<'a> {
    environment: &'a dyn Fn(&str) -> Option<String>,
    order: Vec<String>,
    uses: BTreeMap<String, Vec<Use>>,
    common: BTreeMap<String, Common>,
    notes: Vec<(Place, String)>,
}

/// What all uses of a variable come to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Common {
    /// The same default in all.
    Default(Vec<Segment>),
    /// It has to be given.
    Required(String),
    /// Each use says by itself what is done without it.
    Various,
}

impl<'a> Variables<'a> {
    /// Starts with none.
    pub(super) fn new(environment: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            environment,
            order: Vec::new(),
            uses: BTreeMap::new(),
            common: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    /// Finds all variables in the texts of a node.
    ///
    /// # Errors
    /// The first text that is wrong.
    pub(super) fn collect(&mut self, node: &Node) -> Result<(), Fatal> {
        match &node.kind {
            NodeKind::Null => {}
            NodeKind::Text(text) => {
                let segments = segments(text).map_err(|what| (node.place, what))?;
                self.collect_segments(&segments, node.place);
            }
            NodeKind::List(items) => items.iter().try_for_each(|item| self.collect(item))?,
            NodeKind::Map(pairs) => pairs.iter().try_for_each(|(_, value)| self.collect(value))?,
        }
        Ok(())
    }

    fn collect_segments(&mut self, segments: &[Segment], place: Place) {
        for segment in segments {
            let Segment::Variable { name, form } = segment else { continue };
            // A default sees the variables before it.
            if let Form::Default(inner) | Form::Alternative(inner) = form {
                self.collect_segments(inner, place);
            }
            self.add(name, Use { place, form: form.clone() });
        }
    }

    fn add(&mut self, name: &str, used: Use) {
        if !self.uses.contains_key(name) {
            self.order.push(name.to_owned());
        }
        self.uses.entry(name.to_owned()).or_default().push(used);
    }

    /// Takes note of an argument that is taken from the environment.
    pub(super) fn collect_inherited(&mut self, name: &str, place: Place) {
        self.add(name, Use { place, form: Form::Plain });
    }

    /// Says whether the environment gives a variable.
    pub(super) fn is_given(&self, name: &str) -> bool {
        (self.environment)(name).is_some()
    }

    /// Returns what all uses of a variable come to.
    fn common(&mut self, name: &str) -> Common {
        if let Some(known) = self.common.get(name) {
            return known.clone();
        }
        let common = self.common_of(name);
        self.common.insert(name.to_owned(), common.clone());
        common
    }

    fn common_of(&self, name: &str) -> Common {
        let forms: Vec<&Form> = self.uses.get(name).into_iter().flatten().map(|used| &used.form).collect();
        let required = forms.iter().find_map(|form| match form {
            Form::Required(message) => Some(message.clone()),
            _ => None,
        });
        if let Some(message) = required
            && forms.iter().all(|form| matches!(form, Form::Required(_) | Form::Plain))
        {
            return Common::Required(message);
        }
        let default = |form: &&Form| match form {
            Form::Plain => Some(Vec::new()),
            Form::Default(inner) => Some(inner.clone()),
            Form::Required(_) | Form::Alternative(_) => None,
        };
        let mut defaults = forms.iter().map(default);
        match defaults.next().flatten() {
            Some(first) if defaults.all(|other| other.as_ref() == Some(&first)) => Common::Default(first),
            _ => Common::Various,
        }
    }

    /// Returns a variable by itself.
    pub(super) fn symbol(&mut self, name: &str, place: Place) -> Term {
        let now = match ((self.environment)(name), self.common(name)) {
            (Some(given), _) => Term::Text(given),
            (None, Common::Default(segments)) => {
                self.joined(&segments, place).now().unwrap_or_else(|| Term::text(""))
            }
            (None, Common::Required(_) | Common::Various) => Term::text(""),
        };
        Term::symbol(Say::Var(written(name)), Kind::Text, Some(now))
    }

    /// Computes a text; of what is none, an empty one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn term(&mut self, node: &Node) -> Result<Term, Fatal> {
        let text = node.text().unwrap_or_default();
        let segments = segments(text).map_err(|what| (node.place, what))?;
        Ok(self.joined(&segments, node.place))
    }

    fn joined(&mut self, segments: &[Segment], place: Place) -> Term {
        let mut all = Vec::new();
        let mut now = String::new();
        for segment in segments {
            let term = match segment {
                Segment::Text(text) => Term::text(text),
                Segment::Variable { name, form } => self.segment(name, form, place),
            };
            now.push_str(&term.now().and_then(|term| term.as_text()).unwrap_or_default());
            all.extend(pieces(&term).unwrap_or_default());
        }
        let now = Term::Text(now);
        match join_pieces(all, Some(now.clone())) {
            Some(term) => term,
            None => self.fixed(now, place),
        }
    }

    fn fixed(&mut self, now: Term, place: Place) -> Term {
        self.notes.push((place, "the text is as it is with the variables' values of now".to_owned()));
        now
    }

    fn segment(&mut self, name: &str, form: &Form, place: Place) -> Term {
        let variable = self.symbol(name, place);
        let is_various = matches!(self.common(name), Common::Various);
        let result = match form {
            Form::Default(inner) if is_various => {
                let inner = self.joined(inner, place);
                default(&variable, &inner)
            }
            Form::Alternative(inner) => {
                let inner = self.joined(inner, place);
                let empty = Term::text("");
                crate::say::equal(&variable, &empty).and_then(|is_empty| choose(&is_empty, &empty, &inner))
            }
            Form::Required(_) if is_various => {
                self.notes
                    .push((place, format!("`{name}` has to be given here, which is no longer checked")));
                Some(variable)
            }
            Form::Plain | Form::Default(_) | Form::Required(_) => Some(variable),
        };
        result.unwrap_or_else(|| {
            let now = (self.environment)(name).unwrap_or_default();
            self.fixed(Term::Text(now), place)
        })
    }

    /// Writes the variables.
    pub(super) fn finish(mut self, spec: &mut Spec, report: &mut Report) {
        for name in self.order.clone() {
            let place = self.uses.get(&name).and_then(|uses| uses.first()).map(|used| used.place);
            let (default, description) = match (self.common(&name), place) {
                (Common::Default(segments), Some(place)) => (Some(self.joined(&segments, place)), None),
                (Common::Required(message), _) => (None, Some(message).filter(|message| !message.is_empty())),
                _ => (Some(Term::text("")), None),
            };
            spec.vars.push(Var {
                name: written(&name),
                env: Some(name),
                kind: None,
                default,
                description,
                values: Vec::new(),
                place: place.unwrap_or(Place::start(0)),
                is_null: false,
            });
        }
        for (place, what) in self.notes {
            report.note(place, what);
        }
    }
}

/// Returns a name that `kairn.toml` allows for a variable.
fn written(name: &str) -> String {
    if name == "image" { "image_".to_owned() } else { name.to_owned() }
}
