//! Named contexts: what stands for a stage, an image or a name of COPY --from instead.
//!
//! Spec: buildx, `--build-context`; the order of look-ups follows BuildKit's program.

use std::collections::BTreeMap;

use kairn_image::Platform;
use kairn_image::reference::Reference;
use kairn_spec::remote::GitSource;

/// What a named context is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedContext {
    /// A directory, by the name that the executor knows it by.
    Local(String),
    /// An image, by its name or as `oci-layout://PATH@DIGEST`.
    Image(String),
    /// A Git repository.
    Git(GitSource),
    /// A file of a web server, unpacked if it is an archive.
    Http(String),
    /// A stage of the Dockerfile.
    Stage(String),
    /// Another image of the same build, by its name.
    Sibling(String),
}

/// Named contexts by name: that of a stage, or of an image, perhaps with `::os/architecture` behind it.
pub type NamedContexts = BTreeMap<String, NamedContext>;

/// Finds the context that stands for a name on a platform, with the name it was given by.
pub(crate) fn find<'a>(
    contexts: &'a NamedContexts,
    name: &str,
    platform: &Platform,
) -> Option<(&'a str, &'a NamedContext)> {
    let lower = name.to_lowercase();
    if contexts.is_empty() || matches!(&*lower, "scratch" | "context") {
        return None;
    }
    let familiar = name.parse::<Reference>().ok().map(|reference| familiar(&reference));
    let names = familiar.iter().map(String::as_str).chain([name, &lower]);
    for name in names {
        for key in [format!("{name}::{platform}"), name.to_owned()] {
            let found = contexts.iter().find(|(given, _)| canonical(given) == canonical(&key));
            if let Some((given, context)) = found {
                return Some((given, context));
            }
        }
    }
    None
}

/// Writes a reference as people do: without the default registry, repository folder and tag.
pub(super) fn familiar(reference: &Reference) -> String {
    let text = reference.to_string();
    let text = text.strip_prefix("docker.io/").unwrap_or(&text);
    let text = text.strip_prefix("library/").unwrap_or(text);
    text.strip_suffix(":latest").unwrap_or(text).to_owned()
}

/// Brings a given name into the form that it is compared in.
fn canonical(name: &str) -> String {
    let (image, platform) = name.split_once("::").map_or((name, None), |(image, at)| (image, Some(at)));
    let image = image.parse::<Reference>().map_or_else(|_| image.to_lowercase(), |found| familiar(&found));
    platform.map_or_else(|| image.clone(), |platform| format!("{image}::{platform}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_stages_and_images_in_any_spelling() {
        let platform: Platform = "linux/amd64".parse().unwrap();
        let image = |name: &str| NamedContext::Image(name.to_owned());
        let contexts: NamedContexts = [
            ("base", image("stage")),
            ("alpine:3.20", image("tagged")),
            ("docker.io/library/debian", image("plain")),
            ("busybox::linux/arm64", image("arm")),
            ("scratch", image("never")),
        ]
        .map(|(name, context)| (name.to_owned(), context))
        .into();
        for (name, expected) in [
            ("base", Some("stage")),
            ("Base", Some("stage")),
            ("base:latest", Some("stage")),
            ("alpine:3.20", Some("tagged")),
            ("docker.io/library/alpine:3.20", Some("tagged")),
            ("alpine", None),
            ("debian", Some("plain")),
            ("debian:latest", Some("plain")),
            ("busybox", None),
            ("scratch", None),
        ] {
            let found = find(&contexts, name, &platform).map(|(_, context)| context.clone());
            assert_eq!(found, expected.map(image), "{name}");
        }
        let arm = "linux/arm64".parse().unwrap();
        assert_eq!(find(&contexts, "busybox", &arm).map(|(given, _)| given), Some("busybox::linux/arm64"));
    }
}
