//! Content digests.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest, written `sha256:<64 hex digits>`.
///
/// Spec: OCI image-spec, descriptor.md, Digests. Other algorithms are refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// The text is not a SHA-256 digest.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a digest of the form `sha256:<64 hex digits>`")]
pub struct ParseDigestError(String);

impl Digest {
    /// Digests bytes held in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Takes a finished SHA-256 state.
    pub fn from_sha256(state: Sha256) -> Self {
        Self(state.finalize().into())
    }

    /// Wraps the 32 bytes of a digest.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the 64 hex digits without the algorithm, as they name a blob's file.
    pub fn hex(&self) -> String {
        use fmt::Write as _;
        self.0.iter().fold(String::with_capacity(64), |mut s, b| {
            let _ = write!(s, "{b:02x}");
            s
        })
    }

    /// Returns the first 12 hex digits, for people.
    pub fn short(&self) -> String {
        self.hex()[..12].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || ParseDigestError(text.to_owned());
        let hex = text.strip_prefix("sha256:").ok_or_else(fail)?.as_bytes();
        if hex.len() != 64 {
            return Err(fail());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            let digit = |c: u8| match c {
                b'0'..=b'9' => Some(c - b'0'),
                b'a'..=b'f' => Some(c - b'a' + 10),
                _ => None,
            };
            *byte = digit(pair[0]).zip(digit(pair[1])).map(|(h, l)| h << 4 | l).ok_or_else(fail)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Passes bytes on to a writer, digesting and counting them.
pub struct DigestWriter<W: Write> {
    out: W,
    state: Sha256,
    bytes: u64,
}

impl<W: Write> DigestWriter<W> {
    /// Starts with nothing written.
    pub fn new(out: W) -> Self {
        Self { out, state: Sha256::new(), bytes: 0 }
    }

    /// Returns the number of bytes written so far.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the digest of what was written, its length, and the writer.
    pub fn finish(self) -> (Digest, u64, W) {
        (Digest::from_sha256(self.state), self.bytes, self.out)
    }
}

impl<W: Write> Write for DigestWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.state.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Passes bytes on from a reader and fails at its end unless they have the expected digest and length.
///
/// A reader that stops before the end has verified nothing.
pub struct VerifyReader<R: Read> {
    input: R,
    state: Option<Sha256>,
    expected: Digest,
    bytes_left: u64,
}

impl<R: Read> VerifyReader<R> {
    /// Expects exactly `size_bytes` bytes that digest to `expected`.
    pub fn new(input: R, expected: Digest, size_bytes: u64) -> Self {
        Self { input, state: Some(Sha256::new()), expected, bytes_left: size_bytes }
    }
}

impl<R: Read> Read for VerifyReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let fail = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        let Some(state) = &mut self.state else { return Ok(0) };
        if buffer.is_empty() {
            return Ok(0);
        }
        let read = self.input.read(buffer)?;
        state.update(&buffer[..read]);
        match self.bytes_left.checked_sub(read as u64) {
            None => {
                return fail(format!("content of `{}` is longer than its descriptor says", self.expected));
            }
            Some(left) => self.bytes_left = left,
        }
        if read == 0 {
            if self.bytes_left != 0 {
                return fail(format!("content of `{}` ends {} bytes early", self.expected, self.bytes_left));
            }
            let got = self.state.take().map(Digest::from_sha256);
            if got != Some(self.expected) {
                return fail(format!("content of `{}` has another digest", self.expected));
            }
        }
        Ok(read)
    }
}
