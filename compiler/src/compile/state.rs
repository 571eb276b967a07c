//! What a stage has come to: file-system state, environment, config.

use std::collections::BTreeMap;
use std::sync::Arc;

use kairn_image::config::ContainerConfig;
use kairn_image::{ImageConfig, Platform};
use kairn_spec::Span;

use super::lower::BuiltImage;
use super::paths;
use super::source::ResolvedImage;
use super::variables::Variables;
use crate::Environment;
use crate::graph::{StepId, TargetHistory};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];
/// Fields of a base's config beside the known ones that describe its platform.
const PLATFORM_FIELDS: [&str; 2] = ["os.version", "os.features"];

/// The state of a stage after some of its instructions.
#[derive(Clone, Debug)]
pub(crate) struct StageState {
    pub(crate) step: StepId,
    /// What commands run on.
    pub(crate) platform: Platform,
    /// ENV and ARG together: the last writer wins.
    pub(crate) env: Variables,
    /// The same, as commands take it.
    pub(crate) environment: Environment,
    /// Declared ARGs in the order of their first declaration; one without a value is empty.
    pub(crate) args: Variables,
    /// The config without its environment.
    pub(crate) config: ImageConfig,
    /// The config's environment.
    pub(crate) config_env: Variables,
    /// The image at the bottom, with the step that stands for it.
    pub(crate) base: Option<(StepId, Arc<ResolvedImage>)>,
    /// History of this stage alone.
    pub(crate) history: Vec<TargetHistory>,
    /// What this stage has said so far.
    pub(crate) places: Places,
    /// Whether this stage or one below it has had a WORKDIR.
    pub(crate) has_workdir: bool,
}

/// Where a stage has its last instruction of each kind that counts once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Places {
    pub(crate) cmd: Option<Span>,
    pub(crate) entrypoint: Option<Span>,
    pub(crate) healthcheck: Option<Span>,
}

impl StageState {
    /// Starts from nothing. The platform is the target's, also after a `--platform`.
    pub(crate) fn scratch(step: StepId, platform: &Platform) -> Self {
        let config = ImageConfig {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            config: ContainerConfig { working_dir: "/".to_owned(), ..ContainerConfig::default() },
            ..ImageConfig::default()
        };
        Self::with_config(step, platform, config, None)
    }

    /// Starts from an image.
    pub(crate) fn image(step: StepId, platform: &Platform, image: &Arc<ResolvedImage>) -> Self {
        Self::with_config(step, platform, inherited(&image.config), Some((step, Arc::clone(image))))
    }

    /// Starts from another image of the build, as from one of a registry.
    pub(crate) fn sibling(built: &BuiltImage) -> Self {
        let config = inherited(&built.target.config);
        Self::with_config(built.target.step, &built.platform, config, built.base.clone())
    }

    /// Starts from a stage that is done.
    pub(crate) fn child(parent: &Self) -> Self {
        let mut state = Self { history: Vec::new(), places: Places::default(), ..parent.clone() };
        state.config.config.on_build.clear();
        // The config's environment is set anew, so an ARG of the parent that hid an ENV hides it no longer.
        state.take_config_env();
        state
    }

    fn with_config(
        step: StepId,
        platform: &Platform,
        mut config: ImageConfig,
        base: Option<(StepId, Arc<ResolvedImage>)>,
    ) -> Self {
        let mut config_env = Variables::default();
        for line in std::mem::take(&mut config.config.env) {
            let (name, value) = line.split_once('=').unwrap_or((&line, ""));
            config_env.set_in_place(name, value);
        }
        if !config_env.contains("PATH") {
            config_env.set_in_place("PATH", DEFAULT_PATH);
        }
        let mut state = Self {
            step,
            platform: platform.clone(),
            env: Variables::default(),
            environment: Environment::default(),
            args: Variables::default(),
            config,
            config_env,
            base,
            history: Vec::new(),
            places: Places::default(),
            has_workdir: false,
        };
        state.take_config_env();
        state
    }

    fn take_config_env(&mut self) {
        let config_env = std::mem::take(&mut self.config_env);
        for (name, value) in config_env.iter() {
            self.set(name, value);
        }
        self.config_env = config_env;
    }

    /// Sets a variable of the environment.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment = self.environment.with(name, value, self.env.get(name));
        self.env.set_last(name, value);
    }

    /// Returns the working directory, absolute and clean.
    pub(crate) fn workdir(&self) -> String {
        paths::clean(&self.config.config.working_dir)
    }

    /// Puts the stage's shell before a command in shell form.
    pub(crate) fn with_shell(&self, text: &str) -> Vec<String> {
        let shell = &self.config.config.shell;
        let mut args =
            if shell.is_empty() { DEFAULT_SHELL.map(str::to_owned).to_vec() } else { shell.clone() };
        args.push(text.to_owned());
        args
    }

    /// Returns the config of the image that this state makes.
    pub(crate) fn finish(&self) -> ImageConfig {
        let mut config = self.config.clone();
        config.config.env = self.config_env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        config
    }
}

/// Returns what an image hands down to images that are built on it; its triggers have fired.
fn inherited(base: &ImageConfig) -> ImageConfig {
    let working_dir = match base.config.working_dir.as_str() {
        "" => String::new(),
        path => paths::workdir("/", path),
    };
    ImageConfig {
        author: base.author.clone(),
        architecture: base.architecture.clone(),
        variant: base.variant.clone(),
        os: base.os.clone(),
        config: ContainerConfig {
            working_dir,
            on_build: Vec::new(),
            extra: BTreeMap::new(),
            ..base.config.clone()
        },
        extra: (base.extra.iter())
            .filter(|(field, _)| PLATFORM_FIELDS.contains(&field.as_str()))
            .map(|(field, value)| (field.clone(), value.clone()))
            .collect(),
        ..ImageConfig::default()
    }
}
