//! What a kairn.toml may hold. The JSON Schema and the reference page are made of these types and their words.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::de::{At, Pairs};
use super::steps::Step;
use super::values::{ArgNames, Command, Duration, Healthcheck, Scalar, Size, Words};

/// A kairn.toml: many images, one graph.
#[derive(Debug, Default, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields, rename = "kairn.toml")]
#[expect(dead_code, reason = "its parts are read one by one; the schema is made of the whole")]
pub(super) struct Document {
    /// Where an editor finds the schema of this file.
    #[schemars(rename = "$schema")]
    schema: Option<String>,
    /// Other files whose vars, templates, images, stages and groups are used as if they stood here; `*` stands for any part
    /// of a name. Paths in a file count from its own folder.
    include: Option<Words>,
    /// Values for `${name}`. A default may name other variables.
    vars: Option<Pairs<Variable>>,
    /// Options of every image.
    defaults: Option<ImageOptions>,
    /// Options to be inherited by name; never built.
    template: Option<Pairs<ImageOptions>>,
    /// The images.
    image: Option<Pairs<ImageOptions>>,
    /// Stages that all images can name.
    stage: Option<Pairs<SharedStage>>,
    /// Names for several images. `default` is what is built when nothing is named; without such a group or image, all images are. An element is
    /// the name of an image or a group, perhaps with `*`; after a `!` it is left out.
    group: Option<Pairs<Words>>,
    /// How to build.
    build: Option<BuildOptions>,
}

/// A variable: its default, or more.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "read by kind; the schema is made of this")]
pub(super) enum Variable {
    /// The default.
    Text(Scalar),
    /// The default.
    List(Vec<Scalar>),
    /// The default, and what is to be known of it.
    Table(VariableOptions),
}

/// What is to be known of a variable.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct VariableOptions {
    /// Its value where nobody gives one. Without a default, somebody has to.
    #[schemars(with = "Option<DefaultValue>")]
    #[expect(dead_code, reason = "read as it stands")]
    pub(super) default: Option<IgnoredAny>,
    /// What it is for.
    #[expect(dead_code, reason = "for readers of the file")]
    pub(super) description: Option<String>,
    /// The environment variable that gives its value.
    pub(super) env: Option<String>,
    /// What it is; where this is not said, what its default is, else a string. A list is given as `a,b,c`.
    #[serde(rename = "type")]
    pub(super) kind: Option<VariableType>,
    /// The values that it may have.
    pub(super) values: Option<Vec<Scalar>>,
}

/// A default.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "the schema is made of it")]
enum DefaultValue {
    Text(Scalar),
    List(Vec<Scalar>),
}

/// What a variable is.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum VariableType {
    /// Text.
    String,
    /// A number.
    Number,
    /// `true` or `false`.
    Bool,
    /// Several.
    List,
}

/// Options of an image.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ImageOptions {
    /// What it is for.
    pub description: Option<String>,
    /// Templates and images whose options this one has as well: of two, the later counts, and its own before all.
    /// `args`, `labels`, `annotations`, `contexts` and `stage` are joined; `allow`, `cache-from`, `secrets`, `ssh`,
    /// `no-cache-filter`, `requires` and `artifacts` are added up; all others are replaced.
    pub inherits: Vec<At<String>>,
    /// The build context: a folder, or a Git or other URL [default: the file's folder].
    pub context: Option<At<String>>,
    /// The Dockerfile: relative to the context where that is a folder [default: `Dockerfile`].
    pub dockerfile: Option<At<String>>,
    /// The Dockerfile's text.
    pub dockerfile_inline: Option<At<String>>,
    /// Stage to build, by name or number [default: the last].
    pub target: Option<At<String>>,
    /// Values of ARGs.
    pub args: Pairs<Scalar>,
    /// What stands for a stage, an image or a name of `from`: a folder, a URL, `docker-image://REF`, `oci-layout://PATH`,
    /// `image:NAME` for another image of the file, or `stage:NAME` for a stage of the same image.
    pub contexts: Pairs<At<String>>,
    /// Labels of the image.
    pub labels: Pairs<Scalar>,
    /// Annotations of the manifest; after `index:` of the index, after `manifest,index:` of both.
    pub annotations: Pairs<Scalar>,
    /// Names to give the image.
    pub tags: Vec<At<String>>,
    /// What it is built for, as `linux/arm64`, or `local` for the platform of this machine; several make an index.
    pub platforms: Vec<At<String>>,
    /// Where the image goes: as `--output`, `type=oci,dest=PATH`.
    pub outputs: Vec<At<String>>,
    /// Whether it is pushed under its tags.
    pub push: Option<bool>,
    /// Secrets that commands may mount: as `--secret`, `id=ID,src=FILE`.
    pub secrets: Vec<At<String>>,
    /// SSH agents that commands may mount: as `--ssh`.
    pub ssh: Vec<At<String>>,
    /// Shared caches that are read: as `--cache-from`.
    pub cache_from: Vec<At<String>>,
    /// Shared caches that are written: as `--cache-to`.
    pub cache_to: Vec<At<String>>,
    /// Whether everything is done again.
    pub no_cache: Option<bool>,
    /// Whether registries are asked for bases also where one of that name was built here.
    pub pull: Option<bool>,
    /// Stages whose RUN, COPY and ADD are done again.
    pub no_cache_filter: Vec<At<String>>,
    /// Network of RUNs that do not choose one.
    pub network: Option<Network>,
    /// What RUNs of this image are allowed, where the command line allows it as well.
    pub allow: Vec<At<Allow>>,
    /// The image once for every combination of these values, which are variables of it. `include` adds combinations, or values
    /// to those that it does not contradict; `exclude` takes combinations out.
    #[schemars(with = "Option<Matrix>")]
    pub(super) matrix: Option<IgnoredAny>,
    /// Name of each image of a matrix [default: the table's name and the values, joined by `-`].
    #[schemars(with = "Option<String>")]
    pub(super) name: Option<IgnoredAny>,
    /// What has to be well before this image is published, though nothing of it may be in the image: `stage:NAME` for a stage
    /// of its own, `image:NAME` for another image, or those of a matrix, perhaps with `*`.
    pub requires: Vec<At<String>>,
    /// Files that are copied out of stages to this machine, also where a command of the stage fails.
    pub artifacts: Vec<Artifact>,
    /// How many steps' room each RUN takes [default: 1].
    pub cpu: Option<At<u16>>,
    /// How much memory each RUN may come to, as `4GB`.
    pub memory: Option<At<Size>>,
    /// How long each RUN may take, as `10m`.
    pub timeout: Option<At<Duration>>,
    /// How often a RUN that fails is tried again.
    pub retries: Option<At<u16>>,
    /// Stages: written here where there is no Dockerfile; of a Dockerfile, only what they need (`cpu`, `memory`, `timeout`,
    /// `retries`).
    pub stage: Pairs<Stage>,
}

/// The combinations of a matrix.
#[derive(Debug)]
pub(super) struct Matrix;

impl JsonSchema for Matrix {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Matrix".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The values of each variable, in lists.",
            "type": "object",
            "properties": {
                "include": { "type": "array", "items": { "type": "object" },
                    "description": "Combinations to add." },
                "exclude": { "type": "array", "items": { "type": "object" },
                    "description": "Combinations to leave out: those that have all these values." },
            },
            "additionalProperties": { "type": "array" },
        })
    }
}

/// Network of a RUN.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// That of the place that kairn runs in.
    Default,
    /// None.
    None,
    /// The machine's.
    Host,
}

/// What a RUN may do.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Security {
    /// What the sandbox allows.
    Sandbox,
    /// Everything.
    Insecure,
}

/// What RUNs may be allowed.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum Allow {
    /// The machine's network.
    #[serde(rename = "network.host")]
    NetworkHost,
    /// To leave the sandbox.
    #[serde(rename = "security.insecure")]
    SecurityInsecure,
}

/// A file or folder that is copied out of a stage.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Artifact {
    /// The stage [default: that of the image].
    pub stage: Option<At<String>>,
    /// File or folder in it.
    pub path: At<String>,
    /// Where it goes: into a folder where that ends with a slash.
    pub dest: At<String>,
}

/// A stage that all images can name.
#[derive(Clone, Debug)]
pub struct SharedStage {
    /// What its COPYs take files of.
    pub context: Option<At<String>>,
    /// The stage.
    pub stage: Stage,
}

impl JsonSchema for SharedStage {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SharedStage".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = Stage::json_schema(generator);
        let context = serde_json::json!({
            "description": "What its COPYs take files of: a folder, or a Git or other URL [default: the file's folder].",
            "type": "string",
        });
        if let Some(properties) = schema.get_mut("properties").and_then(serde_json::Value::as_object_mut) {
            properties.insert("context".to_owned(), context);
        }
        schema.insert("description".to_owned(), "A stage that all images can name.".into());
        schema
    }
}

/// A stage: what a Dockerfile says from one FROM to the next. Strings are as in a Dockerfile: `$NAME` is an ARG or ENV of the
/// stage, `\$` a dollar; but quotes and other backslashes are what they are. FROM sees the file's `vars` as ARGs before the first
/// FROM.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Stage {
    /// FROM: an image, a stage or `scratch`.
    pub from: Option<At<String>>,
    /// `FROM --platform`.
    pub platform: Option<At<String>>,
    /// How many steps' room each of its RUNs takes [default: the image's].
    pub cpu: Option<At<u16>>,
    /// How much memory each of its RUNs may come to [default: the image's].
    pub memory: Option<At<Size>>,
    /// How long each of its RUNs may take [default: the image's].
    pub timeout: Option<At<Duration>>,
    /// How often a RUN that fails is tried again [default: the image's].
    pub retries: Option<At<u16>>,
    /// SHELL, before the steps.
    pub shell: Option<Vec<At<String>>>,
    /// ARG, before the steps: names, some of them with a default.
    pub args: Option<At<ArgNames>>,
    /// ENV, before the steps.
    pub env: Option<At<Pairs<At<Scalar>>>>,
    /// WORKDIR, before the steps.
    pub workdir: Option<At<String>>,
    /// The instructions.
    pub steps: Vec<At<Step>>,
    /// LABEL, after the steps.
    pub labels: Option<At<Pairs<At<Scalar>>>>,
    /// EXPOSE, after the steps.
    pub expose: Option<Vec<At<Scalar>>>,
    /// VOLUME, after the steps.
    pub volumes: Option<Vec<At<String>>>,
    /// USER, after the steps.
    pub user: Option<At<String>>,
    /// STOPSIGNAL, after the steps.
    pub stopsignal: Option<At<Scalar>>,
    /// HEALTHCHECK, after the steps.
    pub healthcheck: Option<At<Healthcheck>>,
    /// ENTRYPOINT, after the steps.
    pub entrypoint: Option<At<Command>>,
    /// CMD, after the steps.
    pub cmd: Option<At<Command>>,
    /// ONBUILD, after the steps.
    pub onbuild: Option<Vec<At<String>>>,
}

/// How to build.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct BuildOptions {
    /// Steps that may run at a time: as `--jobs`.
    pub jobs: Option<At<u16>>,
    /// How much memory all RUNs of a moment may come to together: as `--memory`.
    pub memory: Option<At<Size>>,
    /// Mirrors of registries: as `--registry-mirror`, `HOST=MIRROR`.
    pub registry_mirrors: Vec<At<String>>,
    /// Registries of any certificate, or none: as `--insecure-registry`.
    pub insecure_registries: Vec<At<String>>,
}
