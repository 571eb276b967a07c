//! Names of images.

use std::fmt;
use std::str::FromStr;

use oci_spec::distribution::{ParseError, Reference as OciReference};

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
        let (ipv6, rest) = split_ipv6(text).map_or((None, text), |(host, rest)| (Some(host), rest));
        // An address in brackets is none of oci-spec's hosts; any other host stands in for it.
        let to_parse = if ipv6.is_some() { format!("localhost/{rest}") } else { rest.to_owned() };
        let parsed = OciReference::try_from(to_parse.as_str()).map_err(|e| fail(&explain(rest, &e)))?;
        if parsed.repository().bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(fail("the repository must be in lower case"));
        }
        let digest =
            parsed.digest().map(str::parse).transpose().map_err(|_| fail("its digest is not a SHA-256"))?;
        Ok(Self {
            registry: ipv6.map_or_else(|| parsed.registry().to_owned(), str::to_owned),
            repository: parsed.repository().to_owned(),
            tag: parsed.tag().map(str::to_owned),
            digest,
        })
    }
}

/// Cuts `[::1]:5000/rest` after the host.
fn split_ipv6(text: &str) -> Option<(&str, &str)> {
    let (host, rest) = text.split_once('/')?;
    let (address, port) = host.strip_prefix('[')?.split_once(']')?;
    address.parse::<std::net::Ipv6Addr>().ok()?;
    let port_is_one = port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.parse::<u16>().is_ok());
    port_is_one.then_some((host, rest))
}

fn explain(text: &str, error: &ParseError) -> String {
    let name = text.split_once('@').map_or(text, |(name, _)| name);
    let path = name.split_once('/').map_or(name, |(_, path)| path);
    let repository = path.split_once(':').map_or(path, |(repository, _)| repository);
    match error {
        _ if text.is_empty() => "it is empty".to_owned(),
        ParseError::ReferenceInvalidFormat if repository.bytes().any(|b| b.is_ascii_uppercase()) => {
            "the repository must be in lower case".to_owned()
        }
        ParseError::ReferenceInvalidFormat if text.contains("://") => {
            "leave out the scheme, as in `example.com/app:1`".to_owned()
        }
        ParseError::ReferenceInvalidFormat if text.contains(char::is_whitespace) => {
            "it has blanks".to_owned()
        }
        ParseError::ReferenceInvalidFormat => {
            "expected `[HOST[:PORT]/]REPOSITORY[:TAG][@sha256:DIGEST]`".to_owned()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
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
}
