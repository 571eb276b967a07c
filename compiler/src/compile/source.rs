//! The one question that the compiler asks: what is behind the name of an image?

use std::error::Error;

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

/// Resolves all wishes, up to 16 at a time; answers in the order of the wishes.
pub(crate) fn resolve_all(
    wishes: &[Wish],
    source: &dyn ImageSource,
) -> Vec<Result<ResolvedImage, Box<dyn Error + Send + Sync>>> {
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
