//! What can go wrong with a registry, in words that say what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::layout::LayoutError;
use crate::{Digest, Platform};

/// A registry did not do what it was asked to. No secret is ever part of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer came.
    #[error("cannot reach `{host}`; check {check}")]
    Unreachable {
        /// The host, with its port if it has one.
        host: String,
        /// What to look at.
        check: &'static str,
        /// What happened.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The registry wants credentials, or others.
    #[error(
        "the registry `{host}` refuses access to `{repository}`{}: {credentials}; \
         run `docker login {host}`, or check the name",
        colon(message)
    )]
    Unauthorized {
        /// The registry, by the name to log in to.
        host: String,
        /// The repository on it.
        repository: String,
        /// The registry's own words, or nothing.
        message: String,
        /// Which credentials were sent, and where they were looked for.
        credentials: String,
    },
    /// The image or blob is not there.
    #[error("`{host}` has no {what}")]
    NotFound {
        /// The host.
        host: String,
        /// Which.
        what: String,
    },
    /// The registry's bytes are not those that were asked for.
    #[error("the registry `{host}` sent wrong bytes for {what}: expected digest `{expected}`, got `{got}`")]
    DigestMismatch {
        /// The host.
        host: String,
        /// Of what.
        what: String,
        /// What was asked for.
        expected: Digest,
        /// What came.
        got: Digest,
    },
    /// The registry's bytes are too many or too few.
    #[error("the registry `{host}` sent {got} bytes for {what} instead of {expected}")]
    SizeMismatch {
        /// The host.
        host: String,
        /// Of what.
        what: String,
        /// What was asked for.
        expected: u64,
        /// What came, or as much as was read of it.
        got: u64,
    },
    /// A document is larger than kairn reads into memory.
    #[error("the registry `{host}` has more than {limit} bytes for {what}, which is too large")]
    TooLarge {
        /// The host.
        host: String,
        /// Which.
        what: String,
        /// Most bytes it may have.
        limit: u64,
    },
    /// The connection broke off while bytes came, time and again.
    #[error("the registry `{host}` stopped sending {what}")]
    Interrupted {
        /// The host.
        host: String,
        /// What.
        what: String,
        /// What happened last.
        source: io::Error,
    },
    /// Any other answer that is not success.
    #[error("the registry `{host}` answered {status} to {request}{}", colon(message))]
    Status {
        /// The host.
        host: String,
        /// Method and path.
        request: String,
        /// HTTP status.
        status: u16,
        /// The registry's own words, or nothing.
        message: String,
    },
    /// A document is not what the specification says.
    #[error("the registry `{host}` has no valid document for {what}: {reason}")]
    Document {
        /// The host.
        host: String,
        /// Of what.
        what: String,
        /// Why not.
        reason: String,
    },
    /// The image exists, for other platforms.
    #[error("`{reference}` has no image for {wanted}, but for {}", Listed(available))]
    NoPlatform {
        /// The image.
        reference: String,
        /// What was asked for.
        wanted: Box<Platform>,
        /// What there is.
        available: Vec<Platform>,
    },
    /// Credentials could not be looked up.
    #[error(transparent)]
    Credentials(#[from] super::auth::CredentialError),
    /// The layout could not be read or written.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A file of certificates could not be used.
    #[error("cannot use the certificates of `{}`", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A mirror, proxy or host is written in a way that is none.
    #[error("`{text}` is not {expected}")]
    Setting {
        /// The text.
        text: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The HTTP client could not be set up.
    #[error("cannot set up the HTTP client")]
    Setup(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn colon(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(" ({message})") }
}

struct Listed<'a>(&'a [Platform]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, platform) in self.0.iter().enumerate() {
            write!(f, "{}{platform}", if n == 0 { "" } else { ", " })?;
        }
        if self.0.is_empty() { write!(f, "no platform at all") } else { Ok(()) }
    }
}
