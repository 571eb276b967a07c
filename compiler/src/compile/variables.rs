//! Ordered variables: the environment of the build, the environment in the config, and the declared ARGs.

use std::collections::HashMap;

/// Variables in order, looked up in constant time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variables {
    /// A variable that was moved to the end leaves a hole.
    entries: Vec<Option<(String, String)>>,
    places: HashMap<String, usize>,
}

impl Variables {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.places.get(name).and_then(|&place| self.entries[place].as_ref()).map(|(_, value)| value.as_str())
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Sets a variable and makes it the last: the order of a command's environment.
    pub(crate) fn set_last(&mut self, name: &str, value: impl Into<String>) {
        if let Some(place) = self.places.insert(name.to_owned(), self.entries.len()) {
            self.entries[place] = None;
        }
        self.entries.push(Some((name.to_owned(), value.into())));
        if self.entries.len() > 2 * self.places.len() + 16 {
            self.close_holes();
        }
    }

    /// Sets a variable where it stands, or at the end if it is new: the order of a config's environment.
    pub(crate) fn set_in_place(&mut self, name: &str, value: impl Into<String>) {
        match self.places.get(name) {
            Some(&place) => self.entries[place] = Some((name.to_owned(), value.into())),
            None => self.set_last(name, value),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().flatten().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(name, _)| name)
    }

    fn close_holes(&mut self) {
        self.entries.retain(Option::is_some);
        for (place, (name, _)) in self.entries.iter().flatten().enumerate() {
            if let Some(known) = self.places.get_mut(name) {
                *known = place;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(variables: &Variables) -> String {
        variables.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_last_writer_wins_and_order_is_kept() {
        let mut variables = Variables::default();
        for (name, value) in [("a", "1"), ("b", "2"), ("a", "3")] {
            variables.set_last(name, value);
        }
        assert_eq!(text(&variables), "b=2 a=3");
        variables.set_in_place("b", "4");
        variables.set_in_place("c", "5");
        assert_eq!(text(&variables), "b=4 a=3 c=5");
        assert_eq!(variables.get("a"), Some("3"));
        assert_eq!(variables.get("d"), None);
    }

    #[test]
    fn holes_are_closed() {
        let mut variables = Variables::default();
        for n in 0..1000 {
            variables.set_last(["x", "y", "z"][n % 3], n.to_string());
        }
        assert!(variables.entries.len() < 30);
        assert_eq!(text(&variables), "y=997 z=998 x=999");
        assert_eq!(variables.get("y"), Some("997"));
    }
}
