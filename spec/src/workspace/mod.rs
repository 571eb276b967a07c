//! kairn.toml: many images, with all that they have in common said once.
//!
//! In: the text of the file, of those that it includes, values of variables. Out: a [`Workspace`]: every image with all its
//! options, inherited, expanded and checked, every value with its place. Absent: what the images are made of; reading of
//! files and of the environment, which the caller does.
//!
//! Reading order: [`types`] (what may stand in a file), `node` (TOML with places), `de` (the tree to types), `schema` (the
//! JSON Schema, and a tree held against it), `expression` (`${..}`), `variables`, `merge` (inheritance), `matrix`, `load`,
//! `select` (names of images), `stages`, `instructions` and `words` (stages that are written in TOML), `reference` (the page for people).

mod de;
mod expression;
mod instructions;
mod load;
mod matrix;
mod merge;
mod node;
mod reference;
mod schema;
mod select;
mod stages;
pub mod steps;
pub mod types;
pub mod values;
mod variables;
mod words;

pub use de::{At, Pairs};
pub use load::{Loaded, Loader, SourceText, load};
pub use node::Place;
pub use reference::reference;
pub use schema::schema;
pub use select::{Selection, UnknownName};

use std::collections::BTreeMap;
use std::path::PathBuf;

use types::{BuildOptions, ImageOptions, SharedStage};

/// A kairn.toml with everything that it includes.
#[derive(Clone, Debug, Default)]
pub struct Workspace {
    /// The images, in the order of the text, those of a matrix one by one.
    pub images: Vec<Image>,
    /// The stages that all images can name.
    pub stages: Vec<Shared>,
    /// Names for several images.
    pub groups: Vec<Group>,
    /// How to build.
    pub build: BuildOptions,
    /// The folders of the files, by their numbers.
    pub(crate) folders: Vec<PathBuf>,
}

/// An image.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its name, and the key of its table.
    pub name: At<String>,
    /// The name of its table, which several images of a matrix share.
    pub table: String,
    /// Its options.
    pub options: ImageOptions,
    /// The variables that it sees, as text.
    pub variables: BTreeMap<String, String>,
}

/// A stage that all images can name.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Its name, and the key of its table.
    pub name: At<String>,
    /// What it is.
    pub stage: SharedStage,
    /// The variables that it sees, as text.
    pub variables: BTreeMap<String, String>,
}

/// A name for several images.
#[derive(Clone, Debug)]
pub struct Group {
    /// The name.
    pub name: At<String>,
    /// Names of images and groups, with `*`, and with `!` for those that are left out.
    pub members: Vec<At<String>>,
}

impl Workspace {
    /// Returns the folder that the paths of a place count from.
    pub fn folder_of(&self, place: Place) -> &std::path::Path {
        self.folders.get(place.file.0 as usize).map_or(std::path::Path::new(""), PathBuf::as_path)
    }
}
