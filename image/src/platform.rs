//! The machine an image runs on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Operating system, architecture and variant.
///
/// Spec: OCI image-spec, image-index.md, `platform`. Text form: `os/architecture[/variant]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// CPU architecture in Go's words (`amd64`, `arm64`).
    #[serde(default)]
    pub architecture: String,
    /// Operating system in Go's words (`linux`).
    #[serde(default)]
    pub os: String,
    /// Variant of the architecture (`v7`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Version of the operating system (Windows only).
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
}

/// The text is not a platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a platform of the form `os/architecture[/variant]`")]
pub struct ParsePlatformError(String);

impl Platform {
    /// Returns the platform of this machine, with Linux as its system.
    pub fn host() -> Self {
        Self::normalised("linux", std::env::consts::ARCH, None)
    }

    /// Says whether an image for `offered` is an image for this platform.
    ///
    /// A variant that is not said is the architecture's usual one (`arm` is `arm/v7`, `arm64` is `arm64/v8`, `amd64` is
    /// `amd64/v1`). The version of the operating system counts only where this platform has one.
    pub fn matches(&self, offered: &Self) -> bool {
        self.rank(offered) == Some(0)
    }

    /// Chooses the best of several platforms: the same one, or else the highest older variant that runs on it.
    ///
    /// Returns its position; the first of equals. Spec: as containerd, `platforms.Only`.
    pub fn choose<'a>(&self, offers: impl IntoIterator<Item = &'a Self>) -> Option<usize> {
        let ranked = offers.into_iter().enumerate().filter_map(|(at, offer)| Some((self.rank(offer)?, at)));
        ranked.min().map(|(_, at)| at)
    }

    /// How far below this platform an offered one is: 0 for the same, `None` where it does not run.
    fn rank(&self, offered: &Self) -> Option<usize> {
        let (wanted, offer) = (self.usual(), offered.usual());
        if wanted.os != offer.os || self.os_version.is_some() && self.os_version != offered.os_version {
            return None;
        }
        let (wanted, offer) = ((wanted.architecture, wanted.variant), (offer.architecture, offer.variant));
        if wanted == offer {
            return Some(0);
        }
        runs(&wanted.0, wanted.1.as_deref().unwrap_or_default())
            .iter()
            .position(|(architecture, variant)| {
                offer.0 == *architecture && offer.1.as_deref() == Some(variant)
            })
            .map(|position| position + 1)
    }

    /// Spells out the variant that is meant where none is said.
    fn usual(&self) -> Self {
        let mut usual = Self::normalised(&self.os, &self.architecture, self.variant.as_deref());
        if usual.variant.is_none() {
            usual.variant = match usual.architecture.as_str() {
                "amd64" => Some("v1".to_owned()),
                "arm64" => Some("v8".to_owned()),
                _ => None,
            };
        }
        usual
    }

    /// Maps other names of architectures to Go's.
    ///
    /// Spec: containerd, platforms/database.go.
    fn normalised(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let (architecture, variant) =
            (architecture.to_ascii_lowercase(), variant.map(str::to_ascii_lowercase));
        let (architecture, variant): (&str, Option<&str>) = match (architecture.as_str(), variant.as_deref())
        {
            ("i386" | "x86" | "i686", _) => ("386", None),
            ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant.filter(|v| *v != "v1")),
            ("aarch64" | "arm64", variant) => ("arm64", variant.filter(|v| !matches!(*v, "8" | "v8"))),
            ("armhf", _) | ("arm", None | Some("" | "7")) => ("arm", Some("v7")),
            ("armel", _) | ("arm", Some("6")) => ("arm", Some("v6")),
            ("arm", Some("5")) => ("arm", Some("v5")),
            ("arm", Some("8")) => ("arm", Some("v8")),
            ("powerpc64le", variant) => ("ppc64le", variant),
            (other, variant) => (other, variant),
        };
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            os => os.to_owned(),
        };
        let variant = variant.filter(|v| !v.is_empty()).map(str::to_owned);
        Self { architecture: architecture.to_owned(), os, variant, os_version: None }
    }
}

/// Lists what a machine runs besides its own variant, best first.
fn runs(architecture: &str, variant: &str) -> &'static [(&'static str, &'static str)] {
    const ARM: [(&str, &str); 4] = [("arm", "v8"), ("arm", "v7"), ("arm", "v6"), ("arm", "v5")];
    const AMD64: [(&str, &str); 3] = [("amd64", "v3"), ("amd64", "v2"), ("amd64", "v1")];
    match (architecture, variant) {
        ("arm64", _) => &ARM,
        ("arm", "v8") => &ARM[1..],
        ("arm", "v7") => &ARM[2..],
        ("arm", "v6") => &ARM[3..],
        ("amd64", "v4") => &AMD64,
        ("amd64", "v3") => &AMD64[1..],
        ("amd64", "v2") => &AMD64[2..],
        _ => &[],
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    /// Reads `os/architecture[/variant]`, or one of them alone as Docker does, and normalises it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || ParsePlatformError(text.to_owned());
        let is_word = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        let parts: Vec<_> = text.split('/').collect();
        if !parts.iter().all(is_word) {
            return Err(fail());
        }
        match parts[..] {
            ["linux" | "windows" | "darwin" | "freebsd"] => Ok(Self { os: text.to_owned(), ..Self::host() }),
            [architecture] if is_architecture(architecture) => {
                Ok(Self::normalised("linux", architecture, None))
            }
            [os, architecture] => Ok(Self::normalised(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::normalised(os, architecture, Some(variant))),
            _ => Err(fail()),
        }
    }
}

fn is_architecture(text: &str) -> bool {
    const KNOWN: [&str; 12] = [
        "386", "amd64", "arm", "arm64", "loong64", "mips64", "mips64le", "ppc64", "ppc64le", "riscv64",
        "s390x", "wasm",
    ];
    KNOWN.contains(&Platform::normalised("linux", text, None).architecture.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_normalised() {
        for (text, expected) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("Linux/AARCH64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/i386", "linux/386"),
            ("macos/arm64", "darwin/arm64"),
            ("arm64", "linux/arm64"),
            ("linux/s390x", "linux/s390x"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), expected, "{text}");
        }
        for wrong in ["", "/", "linux/", "a/b/c/d", "pentium", "linux/a b", "linux//v7"] {
            assert!(wrong.parse::<Platform>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_best_offer_is_chosen() {
        for (wanted, offers, chosen) in [
            ("linux/amd64", &["linux/arm64", "linux/amd64"][..], Some(1)),
            ("linux/amd64", &["windows/amd64", "linux/386"], None),
            ("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], Some(1)),
            ("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6", "linux/arm/v8"], Some(1)),
            ("linux/arm64", &["linux/arm/v7", "linux/arm64/v8"], Some(1)),
            ("linux/arm64", &["linux/arm/v6", "linux/arm/v7"], Some(1)),
            ("linux/arm", &["linux/arm/v6", "linux/arm/v7"], Some(1)),
            ("linux/riscv64", &["linux/riscv64"], Some(0)),
        ] {
            let offers: Vec<Platform> = offers.iter().map(|o| o.parse().unwrap()).collect();
            assert_eq!(wanted.parse::<Platform>().unwrap().choose(&offers), chosen, "{wanted}");
        }
        let raw = Platform { variant: Some("v8".to_owned()), ..Platform::normalised("linux", "arm64", None) };
        assert!("linux/arm64".parse::<Platform>().unwrap().matches(&raw));
        assert!(raw.matches(&"linux/arm64".parse().unwrap()));
    }
}
