//! What the images of a build are compiled from.

use std::path::PathBuf;
use std::sync::Arc;

use kairn_image::Platform;
use kairn_spec::dockerfile::Dockerfile;
use kairn_spec::{FileId, Span};

use super::CompileOptions;
use crate::graph::Demand;

/// An image of a build.
#[derive(Clone, Debug)]
pub struct Unit {
    /// What it is called; empty where the build has one image, of a Dockerfile alone.
    pub name: String,
    /// Its tags, by which other images of the build find it.
    pub tags: Vec<String>,
    /// Its stages, parsed without errors.
    pub dockerfile: Arc<Dockerfile>,
    /// Whether they were read: those of an image that nobody needs do not have to be.
    pub is_read: bool,
    /// The file that they stand in.
    pub file: FileId,
    /// How it is compiled; the platform counts where `platforms` is empty.
    pub options: CompileOptions,
    /// The platforms that somebody asked for.
    pub platforms: Vec<Platform>,
    /// Where the target is named, if it is.
    pub target_at: Option<(FileId, Span)>,
    /// What has to be well before it is published.
    pub requires: Vec<Requirement>,
    /// Files that are copied out of its stages.
    pub artifacts: Vec<ArtifactWish>,
    /// What its commands need of the machine.
    pub demand: Demand,
    /// What the commands of single stages need.
    pub stage_demands: Vec<StageDemand>,
}

/// Something that has to be well before an image is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// What.
    pub what: Required,
    /// Where that is said.
    pub file: FileId,
    /// The bytes.
    pub span: Span,
}

/// What an image can require.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Required {
    /// A stage of its own, by name or number.
    Stage(String),
    /// Another image of the build.
    Image(String),
}

/// Files that are to be copied out of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactWish {
    /// The stage, by name or number; the target if none.
    pub stage: Option<String>,
    /// File or directory in it; a relative path counts from its working directory.
    pub path: String,
    /// Where they go on the machine.
    pub dest: PathBuf,
    /// Where that is said.
    pub file: FileId,
    /// The bytes.
    pub span: Span,
}

/// What the commands of a stage need of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageDemand {
    /// The stage, by name or number.
    pub stage: String,
    /// What they need; what is not said is as for the image.
    pub demand: Demand,
    /// Where that is said.
    pub file: FileId,
    /// The bytes.
    pub span: Span,
}

impl Unit {
    /// Makes the unit of a build of nothing but a Dockerfile.
    pub fn new(dockerfile: Arc<Dockerfile>, options: CompileOptions) -> Self {
        Self {
            name: String::new(),
            tags: Vec::new(),
            dockerfile,
            is_read: true,
            file: FileId::default(),
            options,
            platforms: Vec::new(),
            target_at: None,
            requires: Vec::new(),
            artifacts: Vec::new(),
            demand: Demand::default(),
            stage_demands: Vec::new(),
        }
    }

    /// Returns what the commands of a stage need.
    pub(super) fn demand(&self, stage: &str) -> Demand {
        let own = self.stage_demands.iter().find(|own| own.stage.eq_ignore_ascii_case(stage));
        let Some(Demand { cpu, memory_bytes, timeout, retries }) = own.map(|own| own.demand) else {
            return self.demand;
        };
        Demand {
            cpu: cpu.or(self.demand.cpu),
            memory_bytes: memory_bytes.or(self.demand.memory_bytes),
            timeout: timeout.or(self.demand.timeout),
            retries: retries.or(self.demand.retries),
        }
    }

    /// Returns the platforms that it is built for.
    pub fn build_platforms(&self) -> Vec<Platform> {
        if self.platforms.is_empty() { vec![self.options.platform.clone()] } else { self.platforms.clone() }
    }
}
