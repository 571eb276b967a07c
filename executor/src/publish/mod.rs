//! Assembled images to where they were asked for: tags of the store, OCI layouts, registries.
//!
//! In two phases over all that a run delivers. First everything goes to its place without a name that anybody uses:
//! blobs and manifests by digest, archives under temporary names. Then, when all of it is there, the names: tags and
//! files. Reading order: [`Delivery`], `parcel` (what is delivered), `registry`, `places` (files and the store).

mod parcel;
mod places;
mod registry;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use kairn_image::reference::Reference;

pub use self::parcel::Parcel;
use crate::build::Settings;
use crate::error::{Error, chain};
use crate::events::Events;
use crate::parallel::each;

/// What is delivered under some names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// For people.
    pub name: String,
    /// Which of the graph's images: one, or one for each platform.
    pub images: Vec<usize>,
    /// Whether one image is delivered as it is.
    pub form: Form,
    /// Notes that go with it.
    pub annotations: Annotations,
    /// Its names.
    pub tags: Vec<Reference>,
    /// Where it goes.
    pub sinks: Vec<Sink>,
}

/// What is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// A manifest where there is one image, else an index.
    #[default]
    Fitting,
    /// An index, also of one image.
    Index,
}

/// Free-form notes of what is delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// Of each manifest.
    pub manifest: BTreeMap<String, String>,
    /// Of the index, where there is one.
    pub index: BTreeMap<String, String>,
}

/// Where an image is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// The store, under each tag.
    Store,
    /// The registries that the tags name.
    Registry,
    /// An OCI layout in a folder.
    LayoutFolder(PathBuf),
    /// An OCI layout in a tar file; several deliveries into one file are one layout.
    LayoutArchive(PathBuf),
}

/// What a failed delivery means to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unity {
    /// None gets its names.
    All,
    /// They get theirs.
    Each,
}

/// Delivers parcels, and gives those that could not be, by their places.
///
/// # Errors
/// [`Error::Lost`] where a layer cannot be had; and with [`Unity::All`] the first failure, before which no name was
/// written unless it is the writing of a name that failed.
pub fn publish(
    parcels: &[Parcel<'_>],
    unity: Unity,
    settings: &Settings,
    events: &Events,
) -> Result<BTreeMap<usize, Error>, Error> {
    let run = Run { parcels, unity, settings, events, failures: Mutex::default() };
    registry::send(&run)?;
    places::fetch_missing(&run)?;
    let folders = places::write_folders(&run)?;
    let archives = places::write_archives(&run)?;
    registry::tag(&run)?;
    places::name(&run, &folders, archives)?;
    Ok(run.failures.into_inner().expect("no holder of this lock panics"))
}

/// The parcels of one run on their way.
struct Run<'a> {
    parcels: &'a [Parcel<'a>],
    unity: Unity,
    settings: &'a Settings,
    events: &'a Events,
    failures: Mutex<BTreeMap<usize, Error>>,
}

impl Run<'_> {
    /// Does something for each item, which is of some parcels, unless all of those have failed.
    fn each<I: Sync, T: Send>(
        &self,
        items: &[I],
        of: &(dyn Fn(&I) -> Vec<usize> + Sync),
        work: &(dyn Fn(&I) -> Result<T, Error> + Sync),
    ) -> Result<Vec<T>, Error> {
        let done = each(items, &|item| {
            let parcels = of(item);
            if parcels.iter().all(|&at| self.has_failed(at)) {
                return Ok(None);
            }
            match work(item) {
                Ok(value) => Ok(Some(value)),
                Err(error) if self.unity == Unity::All || matches!(error, Error::Lost { .. }) => Err(error),
                Err(error) => {
                    self.fail(&parcels, error);
                    Ok(None)
                }
            }
        })?;
        Ok(done.into_iter().flatten().collect())
    }

    fn has_failed(&self, at: usize) -> bool {
        self.failures.lock().expect("no holder of this lock panics").contains_key(&at)
    }

    fn fail(&self, parcels: &[usize], error: Error) {
        let mut failures = self.failures.lock().expect("no holder of this lock panics");
        let Some((first, others)) = parcels.split_first() else { return };
        for at in others {
            let text = format!("`{}` is not delivered: {}", self.parcels[*at].delivery.name, chain(&error));
            failures.entry(*at).or_insert_with(|| Error::world(text.clone(), std::io::Error::other(text)));
        }
        failures.entry(*first).or_insert(error);
    }

    /// The parcels that have not failed and want to go to some place, with their places in the run.
    fn bound_for<'s>(
        &'s self,
        wants: &'s (dyn Fn(&Sink) -> bool + Sync),
    ) -> impl Iterator<Item = (usize, &'s Parcel<'s>)> {
        let all = self.parcels.iter().enumerate();
        all.filter(move |(at, parcel)| !self.has_failed(*at) && parcel.delivery.sinks.iter().any(wants))
    }
}

/// The parcels that go to each place of one kind.
type Grouped = BTreeMap<PathBuf, Vec<usize>>;
