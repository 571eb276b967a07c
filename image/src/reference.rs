//! Names of images.

use std::fmt;
use std::str::FromStr;

use crate::Digest;

/// Name of an image: registry, repository, and a tag, a digest or both.
///
/// Text is read as Docker reads it: `debian` is `docker.io/library/debian:latest`. The registry is one if it has a dot
/// or a port, or is `localhost` or an IPv6 address in brackets. Printed in full.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// The text is not a reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an image reference: {reason}")]
pub struct ParseReferenceError {
    text: String,
    reason: String,
}

impl Reference {
    /// Returns the registry's host, with its port if it has one; `docker.io` for Docker Hub.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Returns the repository, with `library/` for Docker's own images.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Returns the tag; `latest` unless the text had another or a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest, which decides where there is a tag besides.
    pub const fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Returns the same name, pinned.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// Returns the same repository's image of that digest, without a tag.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// Returns the same repository's image of that tag, whatever its digest.
    ///
    /// # Errors
    /// Where the text is no tag: up to 128 letters, digits, `_`, `.` and `-`, not beginning with the last two.
    pub fn tagged(&self, tag: &str) -> Result<Self, ParseReferenceError> {
        format!("{}/{}:{tag}", self.registry, self.repository).parse()
    }

    /// Returns what a registry is asked for: the digest, or else the tag.
    pub(crate) fn selector(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => unreachable!("a reference has a tag or a digest"),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |reason: &str| ParseReferenceError { text: text.to_owned(), reason: reason.to_owned() };
        // An identifier alone names an image of a daemon's store, never a repository.
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(fail("64 hex digits are an image's id, not a name"));
        }
        let malformed = || fail(&explain(text));
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        let (registry, rest) = split_registry(name);
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        let is_well_formed = registry.is_none_or(is_registry)
            && path.split('/').all(is_component)
            && tag.is_none_or(is_tag)
            && digest.is_none_or(is_digest);
        if !is_well_formed {
            return Err(malformed());
        }
        if path.len() > NAME_LETTERS {
            return Err(fail(&format!("the repository has more than {NAME_LETTERS} letters")));
        }
        let digest = digest.map(str::parse).transpose().map_err(|_| fail("its digest is not a SHA-256"))?;
        let registry = match registry {
            None | Some("index.docker.io") => DOCKER_HUB,
            Some(registry) => registry,
        };
        let is_official = registry == DOCKER_HUB && !path.contains('/');
        let tag = tag.or_else(|| digest.is_none().then_some("latest"));
        Ok(Self {
            registry: registry.to_owned(),
            repository: if is_official { format!("library/{path}") } else { path.to_owned() },
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

/// Docker's registry, which names without one mean.
const DOCKER_HUB: &str = "docker.io";

/// Most letters of a repository.
const NAME_LETTERS: usize = 255;

/// Most letters of a tag.
const TAG_LETTERS: usize = 128;

/// Cuts a name after its registry, if it has one.
fn split_registry(name: &str) -> (Option<&str>, &str) {
    if let Some((host, rest)) = split_ipv6(name) {
        return (Some(host), rest);
    }
    match name.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (Some(host), rest),
        _ => (None, name),
    }
}

/// Says whether it is a host name or an address, with or without a port.
fn is_registry(text: &str) -> bool {
    if text.starts_with('[') {
        return split_ipv6(&format!("{text}/")).is_some();
    }
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let is_inner = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
        bytes.iter().all(is_inner)
            && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
    };
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

/// Says whether it is a part of a repository: small letters and digits, with single separators between them.
fn is_component(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_separator = |text: &str| matches!(text, "." | "_" | "__") || text.bytes().all(|byte| byte == b'-');
    let mut separators = text.split(|c: char| c.is_ascii() && is_letter(c as u8));
    let ends_well = |byte: Option<&u8>| byte.copied().is_some_and(is_letter);
    ends_well(text.as_bytes().first()) && ends_well(text.as_bytes().last()) && separators.all(is_separator)
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= TAG_LETTERS
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

/// Says whether it is a digest of whatever algorithm.
fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let is_part = |part: &str| {
        part.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    algorithm.split(['-', '_', '+', '.']).all(is_part)
        && hex.len() >= 32
        && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Cuts `[::1]:5000/rest` after the host.
fn split_ipv6(text: &str) -> Option<(&str, &str)> {
    let (host, rest) = text.split_once('/')?;
    let (address, port) = host.strip_prefix('[')?.split_once(']')?;
    address.parse::<std::net::Ipv6Addr>().ok()?;
    let port_is_one = port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.parse::<u16>().is_ok());
    port_is_one.then_some((host, rest))
}

/// Says what is wrong with a text that is no reference.
fn explain(text: &str) -> String {
    let name = text.split_once('@').map_or(text, |(name, _)| name);
    let path = name.split_once('/').map_or(name, |(_, path)| path);
    let repository = path.split_once(':').map_or(path, |(repository, _)| repository);
    let has_upper = |text: &str| text.bytes().any(|byte| byte.is_ascii_uppercase());
    let reason = if text.is_empty() {
        "it is empty"
    } else if text.contains("://") {
        "leave out the scheme, as in `example.com/app:1`"
    } else if has_upper(repository) || split_registry(name).0.is_none() && has_upper(name) {
        "the repository must be in lower case"
    } else if text.contains(char::is_whitespace) {
        "it has blanks"
    } else {
        "expected `[HOST[:PORT]/]REPOSITORY[:TAG][@sha256:DIGEST]`"
    };
    reason.to_owned()
}

#[cfg(test)]
mod tests {
    use oci_spec::distribution::Reference as OciReference;
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn text_is_read_as_docker_reads_it() {
        let pinned = format!("debian@{DIGEST}");
        let both = format!("example.com:5000/a/b:t@{DIGEST}");
        let pinned_whole = format!("docker.io/library/debian@{DIGEST}");
        for (text, whole) in [
            ("debian", "docker.io/library/debian:latest"),
            ("debian:12", "docker.io/library/debian:12"),
            ("acme/app", "docker.io/acme/app:latest"),
            ("docker.io/debian", "docker.io/library/debian:latest"),
            ("index.docker.io/acme/app:1", "docker.io/acme/app:1"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/app:1", "localhost:5000/app:1"),
            ("127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c:latest"),
            ("[::1]:5000/app", "[::1]:5000/app:latest"),
            ("[fe80::2]/app:1", "[fe80::2]/app:1"),
            ("Example.com/app", "Example.com/app:latest"),
            ("a__b/c-d.e", "docker.io/a__b/c-d.e:latest"),
            (pinned.as_str(), pinned_whole.as_str()),
            (both.as_str(), both.as_str()),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), whole, "{text}");
            assert_eq!(whole.parse(), Ok(reference), "{whole}");
        }
    }

    #[test]
    fn other_text_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "it is empty"),
            ("Debian", "lower case"),
            ("acme/App:1", "lower case"),
            ("UPPER/app", "lower case"),
            ("https://example.com/app", "leave out the scheme"),
            ("a b", "blanks"),
            ("a//b", "expected `[HOST"),
            ("app:", "expected `[HOST"),
            ("-app", "expected `[HOST"),
            ("app@sha256:abc", "expected `[HOST"),
            (&DIGEST[7..], "an image's id"),
            (&format!("app@sha512:{}", "0".repeat(128)), "not a SHA-256"),
            (&format!("app@{}", DIGEST.to_uppercase().replace("SHA", "sha")), "not a SHA-256"),
            (&"a".repeat(256), "255"),
            ("[::g]/app", "expected `[HOST"),
        ] {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    proptest! {
        /// oci-spec reads the same, but compiles an expression of 30 ms for it in every process.
        #[test]
        fn oci_spec_agrees(text in "(localhost/|[aA](\\.b)?(:[0-9]{1,2})?/)?[a-cA._-]{1,4}(/[a-c._-]{1,3})?(:[a-zA_.-]{0,3})?") {
            let theirs = OciReference::try_from(text.as_str())
                .ok()
                .filter(|known| !known.repository().bytes().any(|byte| byte.is_ascii_uppercase()));
            let ours = text.parse::<Reference>().ok();
            let theirs = theirs.map(|known| (known.registry().to_owned(), known.repository().to_owned(), known.tag().map(str::to_owned)));
            let ours = ours.map(|known| (known.registry, known.repository, known.tag));
            prop_assert_eq!(ours, theirs, "{}", text);
        }
    }
}
