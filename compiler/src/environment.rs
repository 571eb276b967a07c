//! The environment of a command, sharing what it has in common with that of other commands.
//!
//! Thousands of ENVs and RUNs in one file make as many environments of as many variables; as lists they would take more
//! time and memory than all the rest of the graph.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Variables in order; a variable that is set again is the last.
#[derive(Clone, Default)]
pub struct Environment {
    last: Option<Arc<Link>>,
    /// Sum over the variables in force, in any order.
    hash: u64,
}

/// A variable, and the environment that it was set in.
struct Link {
    name: String,
    value: String,
    before: Environment,
}

impl Environment {
    /// Returns this environment with one more variable; `old` is the value that the name had in it.
    #[must_use]
    pub fn with(&self, name: &str, value: &str, old: Option<&str>) -> Self {
        let removed = old.map_or(0, |old| hash_of(name, old));
        let hash = self.hash.wrapping_sub(removed).wrapping_add(hash_of(name, value));
        let link = Link { name: name.to_owned(), value: value.to_owned(), before: self.clone() };
        Self { last: Some(Arc::new(link)), hash }
    }

    /// Returns the variables in order.
    pub fn pairs(&self) -> Vec<(&str, &str)> {
        let mut seen = HashSet::new();
        let links = std::iter::successors(self.last.as_deref(), |link| link.before.last.as_deref());
        let mut pairs: Vec<_> = links
            .filter(|link| seen.insert(link.name.as_str()))
            .map(|link| (link.name.as_str(), link.value.as_str()))
            .collect();
        pairs.reverse();
        pairs
    }
}

fn hash_of(name: &str, value: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::new().hash_one((name, value))
}

impl Drop for Environment {
    /// Takes the links apart one by one: a chain of them may be longer than the stack is deep.
    fn drop(&mut self) {
        let mut next = self.last.take();
        while let Some(mut link) = next.and_then(Arc::into_inner) {
            next = link.before.last.take();
        }
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        pairs.into_iter().fold(Self::default(), |environment, (name, value)| {
            let old = environment
                .pairs()
                .iter()
                .find(|(known, _)| *known == name.as_ref())
                .map(|(_, old)| (*old).to_owned());
            environment.with(name.as_ref(), value.as_ref(), old.as_deref())
        })
    }
}

impl PartialEq for Environment {
    fn eq(&self, other: &Self) -> bool {
        let same = match (&self.last, &other.last) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        same || self.hash == other.hash && self.pairs() == other.pairs()
    }
}

impl Eq for Environment {}

impl Hash for Environment {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.pairs()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_set_again_is_the_last() {
        let environment = Environment::from_iter([("a", "1"), ("b", "2"), ("a", "3")]);
        assert_eq!(environment.pairs(), [("b", "2"), ("a", "3")]);
        assert_eq!(environment, Environment::from_iter([("b", "2"), ("a", "3")]));
        assert_ne!(environment, Environment::from_iter([("a", "3"), ("b", "2")]), "the order counts");
        assert_ne!(environment, Environment::default());
    }

    #[test]
    fn a_long_one_is_dropped() {
        let mut environment = Environment::default();
        for n in 0..1_000_000 {
            environment = environment.with("x", if n % 2 == 0 { "a" } else { "b" }, None);
        }
        assert_eq!(environment.pairs(), [("x", "b")]);
    }
}
