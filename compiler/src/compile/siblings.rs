//! The images of one build, and the names by which one finds another.

use std::collections::{BTreeMap, BTreeSet};

use kairn_image::Platform;
use kairn_image::reference::Reference;

use super::Unit;
use super::contexts::familiar;

/// An image of the build for a platform, and how it was found.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) image: usize,
    pub(crate) platform: Platform,
    /// What the name is: `its tag`, for people.
    pub(crate) how: String,
}

impl Key {
    /// What tells it from others: how it was found does not.
    pub(crate) fn id(&self) -> (usize, Platform) {
        (self.image, self.platform.clone())
    }
}

/// An image that a name was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) image: usize,
    pub(crate) how: String,
}

/// What is known of the images of a build.
#[derive(Debug, Default)]
pub(crate) struct Siblings {
    images: Vec<Sibling>,
    /// Images by their names in lower case.
    by_name: BTreeMap<String, usize>,
    /// Images by what a FROM can call them, with what that is.
    by_reference: BTreeMap<String, BTreeMap<usize, String>>,
}

#[derive(Debug)]
struct Sibling {
    name: String,
    platforms: Vec<Platform>,
}

impl Siblings {
    /// Learns the names and tags of all images.
    pub(crate) fn new(units: &[Unit]) -> Self {
        let mut siblings = Self::default();
        for (image, unit) in units.iter().enumerate() {
            siblings.images.push(Sibling { name: unit.name.clone(), platforms: unit.platforms.clone() });
            if !unit.name.is_empty() {
                siblings.by_name.insert(unit.name.to_lowercase(), image);
            }
            for tag in unit.tags.iter().filter_map(|tag| tag.parse::<Reference>().ok()) {
                siblings.tag(&tag, image);
            }
        }
        siblings
    }

    /// Notes what a tag can be written as: with and without its registry, and the repository alone.
    fn tag(&mut self, tag: &Reference, image: usize) {
        self.note(&familiar(tag), image, || format!("its tag `{tag}`"));
        let repository = tag.repository();
        let short = match tag.tag() {
            None | Some("latest") => repository.to_owned(),
            Some(name) => format!("{repository}:{name}"),
        };
        let short = short.parse::<Reference>().map_or(short, |reference| familiar(&reference));
        self.note(&short, image, || format!("its tag `{tag}` without the registry"));
        let registry = tag.registry();
        for text in [format!("{registry}/{repository}"), repository.to_owned()] {
            let name = text.parse::<Reference>().map_or(text, |reference| familiar(&reference));
            self.note(&name, image, || format!("the repository of its tag `{tag}`"));
        }
    }

    fn note(&mut self, name: &str, image: usize, how: impl FnOnce() -> String) {
        self.by_reference.entry(name.to_owned()).or_default().entry(image).or_insert_with(how);
    }

    pub(crate) fn name(&self, image: usize) -> &str {
        &self.images[image].name
    }

    /// The platforms that an image is built for; none means any.
    pub(crate) fn platforms(&self, image: usize) -> &[Platform] {
        &self.images[image].platforms
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<usize> {
        self.by_name.get(&name.to_lowercase()).copied()
    }

    /// Finds the image that a FROM or `from` of another image names: by its name as it is, or by what its tag can be
    /// written as. Its own name is somebody else's.
    ///
    /// # Errors
    /// Several can be meant; their names.
    pub(crate) fn find(&self, name: &str, own: usize) -> Result<Option<Found>, Vec<String>> {
        let plain = name.strip_suffix(":latest").unwrap_or(name);
        if let Some(image) = self.by_name(plain).filter(|image| *image != own) {
            return Ok(Some(Found { image, how: "its name".to_owned() }));
        }
        if self.by_reference.is_empty() {
            return Ok(None);
        }
        let reference = name.parse::<Reference>().ok().filter(|reference| reference.digest().is_none());
        let Some(images) = reference.and_then(|reference| self.by_reference.get(&familiar(&reference)))
        else {
            return Ok(None);
        };
        let others: Vec<(&usize, &String)> = images.iter().filter(|(image, _)| **image != own).collect();
        match others[..] {
            [] => Ok(None),
            [(image, how)] => Ok(Some(Found { image: *image, how: how.clone() })),
            _ => {
                let names: BTreeSet<String> =
                    others.iter().map(|(image, _)| format!("`{}`", self.name(**image))).collect();
                Err(names.into_iter().collect())
            }
        }
    }
}
