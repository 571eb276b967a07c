//! What builds did: a record of each, by which the next one says what changed.

use std::path::PathBuf;

use kairn_image::Digest;
use serde::{Deserialize, Serialize};

use super::{Place, Store, now_s};
use crate::error::Error;
use crate::explain::Cause;

/// Version of the records: others are not read.
const VERSION: u32 = 1;

/// Most records that are kept of one project.
const PER_PROJECT: usize = 20;

/// What a build did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildRecord {
    version: u32,
    /// What was built: the same text for the same Dockerfile, context and target on this machine.
    pub project: String,
    /// When it began, in seconds from the Unix epoch.
    pub started_s: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Why it failed, where it did.
    pub failure: Option<String>,
    /// The images that were made.
    pub images: Vec<ImageReport>,
    /// The steps, each after its inputs.
    pub steps: Vec<StepReport>,
}

/// An image of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageReport {
    /// Name of the target.
    pub name: String,
    /// The tags that were written for it.
    pub tags: Vec<String>,
    /// Its manifest.
    pub digest: Digest,
    /// Keys of the steps whose layers it has.
    pub keys: Vec<Digest>,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReport {
    /// What `kairn graph` calls it.
    pub label: String,
    /// Where it stands.
    pub place: Place,
    /// All stages that asked for it.
    pub stages: Vec<String>,
    /// Number of steps of its stage.
    pub total: usize,
    /// What it does: `image`, `run`, `copy` and so on.
    pub op: String,
    /// Its key, where its inputs were known.
    pub key: Option<Digest>,
    /// The content of the state that it gave.
    pub content: Option<Digest>,
    /// Name and digest of a base image.
    pub image: Option<(String, Digest)>,
    /// What became of it.
    pub verdict: Verdict,
    /// Why it had to work; the first is the one that counts.
    pub causes: Vec<Cause>,
    /// How long it worked, in milliseconds; for a hit, how long it once took.
    pub duration_ms: u64,
    /// Bytes of its layer.
    pub size_bytes: u64,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is a source, which is read and not made.
    Source,
    /// Its result was known.
    Hit {
        /// The shared cache that knew it; the store if none.
        from: Option<String>,
    },
    /// It had to work.
    Miss,
    /// Whether it has to work shows only when others have worked.
    Open,
    /// Its work failed.
    Failed,
    /// It was not begun.
    NotReached,
}

impl BuildRecord {
    /// Makes the record of a build that begins now.
    pub fn new(project: String) -> Self {
        Self {
            version: VERSION,
            project,
            started_s: now_s(),
            duration_ms: 0,
            failure: None,
            images: Vec::new(),
            steps: Vec::new(),
        }
    }
}

impl Store {
    /// The last build of a project; else of the same context, with another Dockerfile or target.
    pub fn last_build(&self, project: &str) -> Option<BuildRecord> {
        let newest = |among: Option<&str>, is_meant: &dyn Fn(&str) -> bool| {
            let mut paths = self.builds(among);
            paths.sort_by(|a, b| b.0.cmp(&a.0));
            paths.into_iter().find_map(|(_, path)| {
                let record: BuildRecord = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
                (record.version == VERSION && is_meant(&record.project)).then_some(record)
            })
        };
        let context = |project: &str| project.lines().next().map(str::to_owned);
        newest(Some(project), &|other| other == project)
            .or_else(|| newest(None, &|other| context(other) == context(project)))
    }

    /// All builds that are remembered, in no order.
    pub fn all_builds(&self) -> Vec<BuildRecord> {
        let paths = self.builds(None).into_iter();
        let records = paths.filter_map(|(_, path)| serde_json::from_slice(&std::fs::read(path).ok()?).ok());
        records.filter(|record: &BuildRecord| record.version == VERSION).collect()
    }

    /// Keeps what a build did.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn put_build(&self, record: &BuildRecord) -> Result<(), Error> {
        let bytes =
            serde_json::to_vec(record).map_err(|e| Error::world("cannot encode a build's record", e))?;
        let nanoseconds = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |time| time.as_nanos());
        let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), nanoseconds);
        let name = format!("{}-{nanoseconds:020}-{random:016x}", prefix(&record.project));
        self.write_file(&self.root().join("builds").join(name), &bytes)?;
        let mut all = self.builds(Some(&record.project));
        all.sort_by(|a, b| b.0.cmp(&a.0));
        for (_, old) in all.into_iter().skip(PER_PROJECT) {
            let _ = std::fs::remove_file(old);
        }
        Ok(())
    }

    /// The records, with what orders them by time.
    fn builds(&self, project: Option<&str>) -> Vec<(String, PathBuf)> {
        let wanted = project.map(prefix);
        let entries = std::fs::read_dir(self.root().join("builds")).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let (of, time) = name.split_once('-')?;
                wanted.as_ref().is_none_or(|wanted| of == wanted).then(|| (time.to_owned(), entry.path()))
            })
            .collect()
    }
}

/// What the names of a project's records begin with.
fn prefix(project: &str) -> String {
    Digest::of(project.as_bytes()).hex()[..16].to_owned()
}
