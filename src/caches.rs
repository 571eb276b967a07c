//! `--cache-from` and `--cache-to`: places of shared caches.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kairn_executor::cache::{Mode, Target};
use kairn_image::Platform;
use kairn_image::backend::gha::GhaBackend;
use kairn_image::backend::inline::ImageBackend;
use kairn_image::backend::local::LocalBackend;
use kairn_image::backend::registry::RegistryBackend;
use kairn_image::backend::{Backend, BackendError};
use kairn_image::layer::Compression;
use kairn_image::reference::Reference;
use kairn_image::registry::{self, Client};

use crate::args::Registries;
use crate::failure::{Failure, chain};
use crate::machine;

/// Longest wait for a cache's server to take a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Longest wait for more of what a cache's server says.
const READ: Duration = Duration::from_secs(10);

/// Times that a cache's server is asked.
const TRIES: u32 = 3;

/// Where a build's results are written besides its images.
#[derive(Default)]
pub struct Exports {
    /// Places.
    pub targets: Vec<Target>,
    /// Whether the images themselves say how they were made.
    pub inline: bool,
}

/// A type and its options, as the user wrote them.
struct Spec<'a> {
    flag: &'static str,
    text: &'a str,
    kind: String,
    options: BTreeMap<String, String>,
}

/// What is known of the surroundings.
struct Ground<'a> {
    registries: &'a Registries,
    offline: bool,
}

/// Reads `--cache-from`.
pub fn sources(
    texts: &[String],
    registries: &Registries,
    offline: bool,
) -> Result<Vec<Arc<dyn Backend>>, Failure> {
    let ground = Ground { registries, offline };
    texts.iter().map(|text| source(Spec::parse("--cache-from", text)?, &ground)).collect()
}

/// Reads `--cache-to`.
pub fn exports(texts: &[String], registries: &Registries, offline: bool) -> Result<Exports, Failure> {
    let ground = Ground { registries, offline };
    let mut exports = Exports::default();
    for text in texts {
        let spec = Spec::parse("--cache-to", text)?;
        if spec.kind == "inline" {
            spec.end(&["type"])?;
            exports.inline = true;
            continue;
        }
        exports.targets.push(target(spec, &ground)?);
    }
    Ok(exports)
}

fn source(mut spec: Spec<'_>, ground: &Ground<'_>) -> Result<Arc<dyn Backend>, Failure> {
    spec.check_offline(ground)?;
    match spec.kind.as_str() {
        "registry" => {
            let (client, reference) = spec.registry(ground)?;
            spec.end(&["ref", "registry.insecure"])?;
            Ok(Arc::new(ImageBackend::new(client, reference, Platform::host())))
        }
        "local" => {
            let folder = spec.need("src")?;
            let tag = spec.take("tag").unwrap_or_else(|| "latest".to_owned());
            spec.end(&["src", "tag"])?;
            Ok(Arc::new(LocalBackend::new(Path::new(&folder).to_owned(), tag)))
        }
        "inline" => Err(spec.wrong("an image with an inline cache is `type=registry,ref=IMAGE`")),
        _ => spec.remote(),
    }
}

fn target(mut spec: Spec<'_>, ground: &Ground<'_>) -> Result<Target, Failure> {
    spec.check_offline(ground)?;
    let mode = match spec.take("mode").as_deref() {
        None | Some("min") => Mode::Min,
        Some("max") => Mode::Max,
        Some(other) => return Err(spec.wrong(format!("`mode={other}` is neither `min` nor `max`"))),
    };
    let compression = spec.compression()?;
    let is_required = !spec.flag("ignore-error", true)?;
    let mounts = spec.flag("mounts", false)?;
    for (option, only) in [("oci-mediatypes", true), ("image-manifest", true)] {
        if spec.flag(option, only)? != only {
            return Err(spec.wrong(format!("`{option}=false` is not supported")));
        }
    }
    let backend: Arc<dyn Backend> = match spec.kind.as_str() {
        "registry" => {
            let (client, reference) = spec.registry(ground)?;
            spec.end(&["ref", "registry.insecure"])?;
            Arc::new(RegistryBackend::new(client, reference))
        }
        "local" => {
            let folder = spec.need("dest")?;
            let tag = spec.take("tag").unwrap_or_else(|| "latest".to_owned());
            let reset = spec.flag("reset", false)?;
            spec.end(&["dest", "tag", "reset"])?;
            let backend = LocalBackend::new(Path::new(&folder).to_owned(), tag);
            if reset {
                let empty = kairn_executor::cache::CacheIndex::default().to_document();
                backend.rewrite(&|_| empty.clone()).map_err(|e| spec.of_backend(&e))?;
            }
            Arc::new(backend)
        }
        _ => spec.remote()?,
    };
    Ok(Target { backend, mode, compression, mounts, is_required })
}

impl<'a> Spec<'a> {
    fn parse(flag: &'static str, text: &'a str) -> Result<Self, Failure> {
        let mut spec = Self { flag, text, kind: String::new(), options: BTreeMap::new() };
        // As Docker has it, a bare name is an image of a registry.
        if !text.contains('=') && !text.is_empty() {
            "registry".clone_into(&mut spec.kind);
            spec.options.insert("ref".to_owned(), text.to_owned());
            return Ok(spec);
        }
        for field in text.split(',') {
            let (key, value) =
                field.split_once('=').ok_or_else(|| spec.wrong(format!("`{field}` has no `=`")))?;
            let key = key.trim().to_ascii_lowercase();
            if spec.options.insert(key.clone(), value.to_owned()).is_some() {
                return Err(spec.wrong(format!("`{key}` is given twice")));
            }
        }
        spec.kind = spec.need("type")?;
        Ok(spec)
    }

    fn wrong(&self, what: impl std::fmt::Display) -> Failure {
        Failure::user(format!("`{} {}`: {what}", self.flag, self.text)).with_help(
            "write `type=registry,ref=REF`, `type=local,dest=DIR` (`src=DIR` to read), `type=inline`, `type=gha`, \
             `type=s3,bucket=..`, `type=gcs,bucket=..` or `type=azblob,container=..`",
        )
    }

    fn of_backend(&self, error: &BackendError) -> Failure {
        match error {
            BackendError::Options(what) => self.wrong(what),
            other => Failure::environment(format!("`{} {}`: {}", self.flag, self.text, chain(other))),
        }
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.options.remove(name)
    }

    fn need(&mut self, name: &str) -> Result<String, Failure> {
        let value = self.take(name).filter(|value| !value.is_empty());
        value.ok_or_else(|| self.wrong(format!("`{name}=` is missing")))
    }

    fn flag(&mut self, name: &str, default: bool) -> Result<bool, Failure> {
        match self.take(name).as_deref() {
            None => Ok(default),
            Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(self.wrong(format!("`{name}={other}` is neither `true` nor `false`"))),
        }
    }

    /// Refuses what is left.
    fn end(&self, known: &[&str]) -> Result<(), Failure> {
        match self.options.keys().next() {
            None => Ok(()),
            Some(key) => Err(self.wrong(format!(
                "there is no `{key}` with `type={}`; it has {}",
                self.kind,
                known.join(", ")
            ))),
        }
    }

    fn check_offline(&self, ground: &Ground<'_>) -> Result<(), Failure> {
        if ground.offline && self.kind != "local" {
            return Err(self.wrong("with `--offline` only `type=local` can be used"));
        }
        Ok(())
    }

    fn compression(&mut self) -> Result<Option<Compression>, Failure> {
        let kind = self.take("compression");
        let level = self.take("compression-level");
        // All that a cache has was made by a build, and is compressed as the option says.
        self.flag("force-compression", false)?;
        let number = |most: i32| -> Result<Option<i32>, Failure> {
            let Some(text) = &level else { return Ok(None) };
            let value: Option<i32> = text.parse().ok().filter(|value| (0..=most).contains(value));
            value.map(Some).ok_or_else(|| {
                self.wrong(format!("`compression-level={text}` is no number from 0 to {most}"))
            })
        };
        Ok(match kind.as_deref() {
            None if level.is_none() => None,
            None | Some("gzip") => {
                number(9)?.map(|level| Compression::Gzip { level: u32::try_from(level).unwrap_or(5) })
            }
            Some("zstd") => Some(Compression::Zstd { level: number(22)?.unwrap_or(3) }),
            Some("uncompressed") => Some(Compression::None),
            Some(other) => return Err(self.wrong(format!("`compression={other}` is not supported"))),
        })
    }

    fn registry(&mut self, ground: &Ground<'_>) -> Result<(Arc<Client>, Reference), Failure> {
        let text = self.need("ref")?;
        let reference: Reference = text.parse().map_err(|e| self.wrong(chain(&e)))?;
        let mut insecure = ground.registries.insecure_registry.clone();
        if self.flag("registry.insecure", false)? {
            insecure.push(reference.registry().to_owned());
        }
        let config = machine::registry_config(&Registries {
            registry_mirror: Vec::new(),
            insecure_registry: insecure,
        })?;
        let config = registry::Config {
            connect_timeout: CONNECT,
            read_timeout: READ,
            retry_after_limit: READ,
            tries: TRIES,
            ..config
        };
        Ok((Arc::new(Client::new(config)), reference))
    }

    /// A place that is reached by a service's own protocol.
    fn remote(&mut self) -> Result<Arc<dyn Backend>, Failure> {
        let options = std::mem::take(&mut self.options);
        let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        match self.kind.as_str() {
            "gha" => GhaBackend::new(&options, &env)
                .map(|backend| Arc::new(backend) as Arc<dyn Backend>)
                .map_err(|e| self.of_backend(&e)),
            "s3" | "gcs" | "azblob" => self.object(&options, &env),
            other => Err(self.wrong(format!("there is no type `{other}`"))),
        }
    }

    #[cfg(feature = "object-store")]
    fn object(
        &self,
        options: &BTreeMap<String, String>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Arc<dyn Backend>, Failure> {
        use kairn_image::backend::object::ObjectBackend;
        let backend = match self.kind.as_str() {
            "s3" => ObjectBackend::s3(options, env),
            "gcs" => ObjectBackend::gcs(options, env),
            _ => ObjectBackend::azblob(options, env),
        };
        backend.map(|backend| Arc::new(backend) as Arc<dyn Backend>).map_err(|e| self.of_backend(&e))
    }

    #[cfg(not(feature = "object-store"))]
    #[expect(clippy::unnecessary_wraps, reason = "with the feature it can be had")]
    fn object(
        &self,
        _: &BTreeMap<String, String>,
        _: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Arc<dyn Backend>, Failure> {
        Err(self
            .wrong(format!("this kairn was built without `type={}`", self.kind))
            .with_help("build it with `--features object-store`, as the released ones are"))
    }
}
