//! A cache in GitHub's service for the caches of Actions.
//!
//! What is written there is never changed. Documents are `kairn-SCOPE-index-000001` and so on: the newest has all, and who
//! writes the next one has merged it. Blobs are `kairn-blob-sha256-HEX`, with more behind it where another job took that name
//! and never finished. GitHub lets a job read what its own branch and the default branch have, and write its own branch's.

mod service;

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use service::{Found, Service};

use crate::backend::receive::receive;
use crate::backend::{Backend, BackendError, MAX_DOCUMENT_BYTES, Merge, Moment, Removed, artifact};
use crate::layout::Layout;
use crate::{Descriptor, Digest};

const OPTIONS: [&str; 6] = ["url", "url_v2", "token", "scope", "version", "timeout"];
/// Times that the next document is written when others write it too.
const ROUNDS: u32 = 10;
/// Rounds in which a name that is taken may still be that of a document on its way; then the next one is tried.
const PATIENCE: u32 = 4;
/// Wait before another round.
const PAUSE: Duration = Duration::from_secs(1);
/// Least time between two documents while the writer goes on: each is an entry of its own.
const MIDWAY: Duration = Duration::from_mins(5);
/// Documents behind the newest that are looked for: such as were begun before it and ended after it.
const BEHIND: u64 = 8;
/// Tries at fetching a blob.
const FETCHES: u32 = 3;

/// A cache in GitHub Actions.
#[derive(Debug)]
pub struct GhaBackend {
    service: Service,
    scope: String,
    /// When a document was last written, or the backend was made.
    written: Mutex<Instant>,
}

/// A document and its number.
struct Numbered {
    number: u64,
    bytes: Option<Vec<u8>>,
}

impl GhaBackend {
    /// Opens the cache of a job; nothing is sent yet.
    ///
    /// `url_v2` (or `url`) and `token` are else those of the variables `ACTIONS_RESULTS_URL` and `ACTIONS_RUNTIME_TOKEN`,
    /// which GitHub gives to actions and not to shell steps. `scope` tells caches of one repository apart, `kairn` by default.
    /// `timeout` is the longest that the service's wish to be left alone is obeyed, `60s` by default.
    ///
    /// # Errors
    /// [`BackendError::Options`] where an option is unknown, missing or wrong.
    pub fn new(
        given: &BTreeMap<String, String>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, BackendError> {
        if let Some(key) = given.keys().find(|key| !OPTIONS.contains(&key.as_str())) {
            let known = OPTIONS.map(|name| format!("`{name}`")).join(", ");
            return Err(refuse(format!("a cache of type `gha` has no option `{key}`, but {known}")));
        }
        let get = |key: &str| given.get(key).filter(|value| !value.is_empty()).cloned();
        let variable = |name: &str| env(name).filter(|value| !value.is_empty());
        if get("version").is_some_and(|version| version != "2") {
            return Err(refuse("GitHub's cache has version 2 only".to_owned()));
        }
        let lacks = |option: &str, name: &str| {
            refuse(format!(
                "a cache of type `gha` needs the option `{option}` or the variable `{name}`, which GitHub gives to actions only"
            ))
        };
        let url = get("url_v2").or_else(|| get("url")).or_else(|| variable("ACTIONS_RESULTS_URL"));
        let url = url.ok_or_else(|| lacks("url_v2", "ACTIONS_RESULTS_URL"))?;
        let token = get("token").or_else(|| variable("ACTIONS_RUNTIME_TOKEN"));
        let token = token.ok_or_else(|| lacks("token", "ACTIONS_RUNTIME_TOKEN"))?;
        let scope = get("scope").unwrap_or_else(|| "kairn".to_owned());
        // A key must not begin with what another scope's keys begin with.
        if scope.len() > 200 || scope.contains(',') || scope.contains("-index") {
            return Err(refuse("`scope` has at most 200 bytes, no comma and no `-index`".to_owned()));
        }
        let timeout = get("timeout").map_or(Ok(Duration::from_mins(1)), |text| {
            duration(&text)
                .ok_or_else(|| refuse(format!("`timeout={text}` is not a time like `30s` or `10m`")))
        })?;
        let service = Service::new(&url, &token, timeout, env)?;
        Ok(Self { service, scope, written: Mutex::new(Instant::now()) })
    }

    fn prefix(&self) -> String {
        format!("kairn-{}-index-", self.scope)
    }

    fn fail(&self, operation: &'static str) -> impl Fn(service::Failure) -> BackendError {
        let place = self.name();
        move |error| BackendError::place(operation, place.as_str(), error)
    }

    /// Reads what was found. A document that cannot be read has a number all the same.
    fn read(&self, found: &Found) -> Result<Option<Numbered>, BackendError> {
        let number = found.key.strip_prefix(&self.prefix()).and_then(|digits| digits.parse().ok());
        let Some(number) = number else { return Ok(None) };
        let compressed = self.service.small(&found.url, MAX_DOCUMENT_BYTES).map_err(self.fail("read"))?;
        Ok(Some(Numbered { number, bytes: compressed.and_then(|bytes| artifact::decompress(&bytes)) }))
    }

    /// Reads the newest document, and those after it, which should not be there.
    fn newest(&self) -> Result<Vec<Numbered>, BackendError> {
        let prefix = self.prefix();
        let found = self.service.find(&prefix).map_err(self.fail("read"))?;
        let mut all = Vec::new();
        all.extend(found.map(|found| self.read(&found)).transpose()?.flatten());
        for _ in 0..BEHIND {
            let next = all.iter().map(|one: &Numbered| one.number).max().unwrap_or(0) + 1;
            let key = format!("{prefix}{next:06}");
            let found = self.service.find(&key).map_err(self.fail("read"))?;
            let Some(found) = found.filter(|found| found.key == key) else { break };
            all.extend(self.read(&found)?);
        }
        Ok(all)
    }

    /// Writes the next document, made of the newest, until it is the newest.
    fn write(&self, merge: Merge<'_>) -> Result<(), BackendError> {
        let prefix = self.prefix();
        let mut taken = 0;
        let mut tries_at_it = 0;
        for round in 0..ROUNDS {
            let all = self.newest()?;
            let newest = all.iter().map(|one| one.number).max().unwrap_or(0);
            let documents: Vec<_> = all.into_iter().filter_map(|one| one.bytes).collect();
            let mut next = newest + 1;
            if next <= taken {
                tries_at_it += 1;
                if tries_at_it >= PATIENCE {
                    next = taken + 1;
                }
            }
            let document = merge(&documents);
            let compressed = artifact::compress(&document.bytes)
                .map_err(|reason| BackendError::place("write", self.name(), reason))?;
            let key = format!("{prefix}{next:06}");
            if self
                .service
                .put(&key, &mut compressed.as_slice(), compressed.len() as u64)
                .map_err(self.fail("write"))?
            {
                // One that took the same newest for a start, and a later number, may have ended first.
                let later = self.newest()?.into_iter().map(|one| one.number).max().unwrap_or(0);
                if later <= next {
                    return Ok(());
                }
            } else if next > taken {
                (taken, tries_at_it) = (next, 0);
            }
            std::thread::sleep(PAUSE.mul_f64(jitter() * f64::from(round.min(3) + 1)));
        }
        Err(BackendError::place("write", self.name(), "too many jobs write to it at once"))
    }
}

impl Backend for GhaBackend {
    fn name(&self) -> String {
        format!("gha:{}", self.scope)
    }

    fn load(&self) -> Result<Vec<Vec<u8>>, BackendError> {
        Ok(self.newest()?.into_iter().filter_map(|one| one.bytes).collect())
    }

    /// Writes the next document; midway only every few minutes.
    ///
    /// Whether the blobs are still there is not looked at: there may be thousands, and the service limits requests.
    fn publish(&self, merge: Merge<'_>, moment: Moment) -> Result<(), BackendError> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if moment == Moment::Midway && written.elapsed() < MIDWAY {
            return Ok(());
        }
        self.write(merge)?;
        *written = Instant::now();
        Ok(())
    }

    fn rewrite(&self, _rewrite: Merge<'_>) -> Result<Removed, BackendError> {
        Err(refuse("GitHub's cache removes entries by itself; use its own settings".to_owned()))
    }

    fn has_blob(&self, blob: &Descriptor) -> Result<bool, BackendError> {
        Ok(self.service.find(&key(&blob.digest)).map_err(self.fail("ask"))?.is_some())
    }

    fn fetch_blob(&self, blob: &Descriptor, layout: &Layout) -> Result<(), BackendError> {
        if layout.has_blob(&blob.digest) {
            return Ok(());
        }
        let fail = self.fail("fetch a blob from");
        let mut tries = 1;
        loop {
            let missing = || BackendError::MissingBlob { place: self.name(), digest: blob.digest };
            let found = self.service.find(&key(&blob.digest)).map_err(&fail)?.ok_or_else(missing)?;
            let answer = self.service.get(&found.url).map_err(&fail)?.ok_or_else(missing)?;
            match receive(answer, blob, layout, &self.name()) {
                Err(BackendError::Place { .. }) if tries < FETCHES => tries += 1,
                result => return result,
            }
        }
    }

    fn put_blob(&self, blob: &Descriptor, layout: &Layout) -> Result<bool, BackendError> {
        let fail = self.fail("write");
        let key = key(&blob.digest);
        if self.service.find(&key).map_err(&fail)?.is_some() {
            return Ok(false);
        }
        // Where the name is taken and nothing is there, another job is at work, or died at it.
        let second = format!("{key}-{:016x}", RandomState::new().hash_one(()));
        for key in [key, second] {
            let file = layout.open_verified(blob).map_err(|error| fail(error.into()))?;
            if self.service.put(&key, &mut { file }, blob.size).map_err(&fail)? {
                return Ok(true);
            }
        }
        Err(BackendError::place("write", self.name(), "it takes no entry under any name"))
    }
}

fn key(digest: &Digest) -> String {
    format!("kairn-blob-sha256-{}", digest.hex())
}

fn refuse(reason: String) -> BackendError {
    BackendError::Options(reason)
}

/// Reads `30s`, `10m`, `1h`, or seconds without a unit.
fn duration(text: &str) -> Option<Duration> {
    let (digits, seconds) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(digits) if text.ends_with('m') => (digits, 60),
        Some(digits) if text.ends_with('h') => (digits, 3600),
        Some(digits) => (digits, 1),
        None => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(seconds).map(Duration::from_secs)
}

/// A number between a half and one and a half, so that those who wait do not all end at once.
fn jitter() -> f64 {
    let random = u16::try_from(RandomState::new().hash_one(()) & 0xffff).unwrap_or(0);
    0.5 + f64::from(random) / 65536.0
}
