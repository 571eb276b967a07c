//! The one question that the compiler asks: what is behind the name of an image?

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::sync::Arc;

use kairn_image::{Digest, ImageConfig, Manifest, Platform};

/// Finds images by name.
pub trait ImageSource: Sync {
    /// Resolves a canonical reference (`docker.io/library/debian:12`) to the image for one platform.
    ///
    /// # Errors
    /// Whatever keeps the image from being found; the compiler passes it on.
    fn resolve(
        &self,
        reference: &str,
        platform: &Platform,
    ) -> Result<ResolvedImage, Box<dyn Error + Send + Sync>>;
}

/// An image, pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedImage {
    /// Canonical name to fetch it by.
    pub reference: String,
    /// Digest of its manifest for the platform.
    pub manifest_digest: Digest,
    /// Its manifest.
    pub manifest: Manifest,
    /// Its config.
    pub config: ImageConfig,
}

/// Most images that are resolved at the same time.
const PARALLEL: usize = 16;

/// A wish: canonical reference and platform.
pub(crate) type Wish = (String, Platform);

/// Why an image cannot be resolved.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// The images that were asked for, each once.
pub(crate) struct Pool<'s> {
    source: &'s dyn ImageSource,
    known: HashMap<Wish, Result<Arc<ResolvedImage>, Option<Failure>>>,
}

impl<'s> Pool<'s> {
    pub(crate) fn new(source: &'s dyn ImageSource) -> Self {
        Self { source, known: HashMap::new() }
    }

    /// Asks for all wishes that nobody had before, up to 16 at a time.
    pub(crate) fn resolve(&mut self, wishes: impl IntoIterator<Item = Wish>) {
        let mut seen = HashSet::new();
        let new: Vec<Wish> = (wishes.into_iter())
            .filter(|wish| !self.known.contains_key(wish) && seen.insert(wish.clone()))
            .collect();
        let answers = resolve_all(&new, self.source);
        let answers = answers.into_iter().map(|answer| answer.map(Arc::new).map_err(Some));
        self.known.extend(new.into_iter().zip(answers));
    }

    /// Returns an image that was asked for.
    ///
    /// # Errors
    /// Why it cannot be had, for the first who asks; nothing for those after.
    pub(crate) fn take(&mut self, wish: &Wish) -> Result<Arc<ResolvedImage>, Option<Failure>> {
        match self.known.get_mut(wish) {
            Some(Ok(image)) => Ok(Arc::clone(image)),
            Some(Err(error)) => Err(error.take()),
            None => Err(None),
        }
    }
}

/// Resolves all wishes, up to 16 at a time; answers in the order of the wishes.
fn resolve_all(wishes: &[Wish], source: &dyn ImageSource) -> Vec<Result<ResolvedImage, Failure>> {
    if let [(reference, platform)] = wishes {
        return vec![source.resolve(reference, platform)];
    }
    let mut answers = Vec::with_capacity(wishes.len());
    for batch in wishes.chunks(PARALLEL) {
        std::thread::scope(|scope| {
            let threads: Vec<_> = batch
                .iter()
                .map(|(reference, platform)| scope.spawn(move || source.resolve(reference, platform)))
                .collect();
            answers.extend(
                threads.into_iter().map(|thread| thread.join().expect("an image source does not panic")),
            );
        });
    }
    answers
}
