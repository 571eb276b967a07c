//! The instructions of stages that are written in TOML.

use schemars::JsonSchema;
use serde::Deserialize;

use super::de::{At, Pairs};
use super::types::{Network, Security};
use super::values::{ArgNames, Command, Healthcheck, Scalar, Words};

/// An instruction: the one key that names it, and its options.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(untagged)]
pub enum Step {
    /// RUN.
    Run(RunStep),
    /// COPY.
    Copy(CopyStep),
    /// COPY of files that are written here.
    Write(WriteStep),
    /// ADD.
    Add(AddStep),
    /// WORKDIR.
    Workdir(WorkdirStep),
    /// ENV.
    Env(EnvStep),
    /// ARG.
    Arg(ArgStep),
    /// LABEL.
    Label(LabelStep),
    /// USER.
    User(UserStep),
    /// EXPOSE.
    Expose(ExposeStep),
    /// VOLUME.
    Volume(VolumeStep),
    /// SHELL.
    Shell(ShellStep),
    /// STOPSIGNAL.
    Stopsignal(StopsignalStep),
    /// HEALTHCHECK.
    Healthcheck(HealthcheckStep),
    /// ENTRYPOINT.
    Entrypoint(EntrypointStep),
    /// CMD.
    Cmd(CmdStep),
    /// ONBUILD.
    Onbuild(OnbuildStep),
    /// MAINTAINER.
    Maintainer(MaintainerStep),
}

/// RUN.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RunStep {
    /// Text for the shell, or program and arguments. Text that begins with `#!` is a program of its own.
    pub run: Command,
    /// What the command finds beside its root file system: tables with the options of `RUN --mount`.
    #[serde(default)]
    pub mounts: Vec<At<Pairs<At<Scalar>>>>,
    /// `--network`.
    pub network: Option<At<Network>>,
    /// `--security`.
    pub security: Option<At<Security>>,
}

/// COPY.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CopyStep {
    /// What is copied.
    pub copy: Words,
    /// Where to.
    pub to: At<String>,
    /// Stage, image or context to copy from [default: the build context].
    pub from: Option<At<String>>,
    /// `--chown`.
    pub chown: Option<At<Scalar>>,
    /// `--chmod`.
    pub chmod: Option<At<Scalar>>,
    /// `--link`.
    #[serde(default)]
    pub link: bool,
    /// `--parents`.
    #[serde(default)]
    pub parents: bool,
    /// `--exclude`.
    #[serde(default)]
    pub exclude: Vec<At<String>>,
}

/// COPY of files that are written here.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WriteStep {
    /// The files: names and content.
    pub write: Pairs<At<String>>,
    /// Where to.
    pub to: At<String>,
    /// Whether variables in the content are replaced.
    #[serde(default)]
    pub expand: bool,
    /// `--chown`.
    pub chown: Option<At<Scalar>>,
    /// `--chmod`.
    pub chmod: Option<At<Scalar>>,
    /// `--link`.
    #[serde(default)]
    pub link: bool,
}

/// ADD.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AddStep {
    /// Files, archives, URLs and Git repositories.
    pub add: Words,
    /// Where to.
    pub to: At<String>,
    /// `--chown`.
    pub chown: Option<At<Scalar>>,
    /// `--chmod`.
    pub chmod: Option<At<Scalar>>,
    /// `--link`.
    #[serde(default)]
    pub link: bool,
    /// `--exclude`.
    #[serde(default)]
    pub exclude: Vec<At<String>>,
    /// `--checksum`.
    pub checksum: Option<At<String>>,
    /// `--keep-git-dir`.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`.
    pub unpack: Option<bool>,
}

/// WORKDIR.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkdirStep {
    /// The directory.
    pub workdir: At<String>,
}

/// ENV.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvStep {
    /// Names and values.
    pub env: Pairs<At<Scalar>>,
}

/// ARG.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArgStep {
    /// A name, several, or names with defaults.
    pub arg: ArgNames,
}

/// LABEL.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelStep {
    /// Names and values.
    pub label: Pairs<At<Scalar>>,
}

/// USER.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserStep {
    /// The user, perhaps with `:group`.
    pub user: At<Scalar>,
}

/// EXPOSE.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExposeStep {
    /// Ports, as `80` or `53/udp`.
    pub expose: Vec<At<Scalar>>,
}

/// VOLUME.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeStep {
    /// Directories.
    pub volume: Words,
}

/// SHELL.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShellStep {
    /// Program and arguments.
    pub shell: Vec<At<String>>,
}

/// STOPSIGNAL.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StopsignalStep {
    /// Name or number.
    pub stopsignal: At<Scalar>,
}

/// HEALTHCHECK.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthcheckStep {
    /// `none`, or the check.
    pub healthcheck: Healthcheck,
}

/// ENTRYPOINT.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EntrypointStep {
    /// Text for the shell, or program and arguments.
    pub entrypoint: Command,
}

/// CMD.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CmdStep {
    /// Text for the shell, or program and arguments.
    pub cmd: Command,
}

/// ONBUILD.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnbuildStep {
    /// The instruction, as in a Dockerfile.
    pub onbuild: At<String>,
}

/// MAINTAINER.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaintainerStep {
    /// The author.
    pub maintainer: At<String>,
}
