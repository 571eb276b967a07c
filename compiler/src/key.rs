//! Step keys: what a step's result depends on, and nothing else.
//!
//! A key is a digest over named parts in order: the op, fully resolved, and the content digests of its inputs. The
//! parts are kept with a cached result, so that two keys can be compared part by part. Names of stages and images,
//! spans, proxies and labels are in no part.

use std::fmt;

use kairn_image::{Digest, Platform};

use crate::graph::{
    Archives, CopyOp, CopySource, GitOp, HttpOp, ImageOp, InlineFile, InlineOp, Input, Network, Op,
    Ownership, Parents, RunOp, Security, WorkdirOp,
};

/// Version of the meaning of the parts: raised when a step of the same parts would give another result.
const VERSION: &str = "3";

/// Identifies what a step makes: equal keys, equal results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepKey(pub Digest);

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The named parts of a key, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyParts {
    /// Name and value of each part (`args[0]`, `env.PATH`, `input.root`); no name occurs twice.
    pub parts: Vec<(String, String)>,
    /// Values of hidden parts, each framed by its length.
    pub(crate) hidden: Vec<u8>,
}

impl KeyParts {
    /// Takes parts as they are.
    pub fn of(parts: Vec<(String, String)>) -> Self {
        Self { parts, hidden: Vec::new() }
    }

    /// Adds a part that is kept from whoever looks at the parts: the key depends on it, and nothing tells it.
    #[must_use]
    pub fn with_hidden(mut self, name: &str, value: &[u8]) -> Self {
        self.push(name, "hidden");
        self.hidden.extend_from_slice(&(value.len() as u64).to_le_bytes());
        self.hidden.extend_from_slice(value);
        self
    }

    /// Digests the parts: each name and each value framed by its length in bytes, 64 bits little-endian.
    pub fn key(&self) -> StepKey {
        let mut bytes = b"kairn step key\0".to_vec();
        for text in self.parts.iter().flat_map(|(name, value)| [name, value]) {
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes.extend_from_slice(&self.hidden);
        StepKey(Digest::of(&bytes))
    }

    fn push(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.parts.push((name.into(), value.into()));
    }

    fn push_list(&mut self, name: &str, values: &[String]) {
        for (index, value) in values.iter().enumerate() {
            self.push(format!("{name}[{index}]"), value);
        }
    }
}

/// Returns the parts of a step's key: its op and the content digests of its inputs.
///
/// The key of a [`Op::Context`] says only which context it is; its content has a digest of its own, and that is what
/// the steps that read it take part with.
pub fn key_parts(op: &Op, inputs: &[(Input, Digest)]) -> KeyParts {
    let mut parts = KeyParts::default();
    parts.push("version", VERSION);
    match op {
        Op::Scratch => parts.push("op", "scratch"),
        Op::Image(image) => push_image(&mut parts, image),
        Op::Context(context) => {
            parts.push("op", "context");
            parts.push("name", &context.name);
        }
        Op::Http(http) => push_http(&mut parts, http),
        Op::Git(git) => push_git(&mut parts, git),
        Op::Inline(inline) => push_inline(&mut parts, inline),
        Op::Run(run) => push_run(&mut parts, run),
        Op::Copy(copy) => push_copy(&mut parts, copy),
        Op::Workdir(workdir) => push_workdir(&mut parts, workdir),
        Op::Link => parts.push("op", "link"),
    }
    let mut inputs = inputs.to_vec();
    inputs.sort_unstable();
    for (input, digest) in inputs {
        parts.push(format!("input.{input}"), digest.to_string());
    }
    parts
}

fn push_image(parts: &mut KeyParts, image: &ImageOp) {
    let ImageOp { reference: _, manifest_digest: _, diff_ids } = image;
    parts.push("op", "image");
    for (index, diff_id) in diff_ids.iter().enumerate() {
        parts.push(format!("diff_ids[{index}]"), diff_id.to_string());
    }
}

fn push_http(parts: &mut KeyParts, http: &HttpOp) {
    let HttpOp { url, name, checksum } = http;
    parts.push("op", "http");
    parts.push("url", url);
    parts.push("name", name);
    if let Some(checksum) = checksum {
        parts.push("checksum", checksum.to_string());
    }
}

fn push_git(parts: &mut KeyParts, git: &GitOp) {
    let GitOp {
        remote,
        reference,
        subdir,
        checksum,
        keep_git_dir,
        submodules,
        commit_mtime,
        fetch_by_commit,
    } = git;
    parts.push("op", "git");
    parts.push("remote", remote);
    for (name, value) in [("reference", reference), ("subdir", subdir), ("checksum", checksum)] {
        if let Some(value) = value {
            parts.push(name, value);
        }
    }
    for (name, value) in [
        ("keep_git_dir", keep_git_dir),
        ("submodules", submodules),
        ("commit_mtime", commit_mtime),
        ("fetch_by_commit", fetch_by_commit),
    ] {
        parts.push(name, value.to_string());
    }
}

fn push_inline(parts: &mut KeyParts, inline: &InlineOp) {
    parts.push("op", "inline");
    for (index, InlineFile { path, mode, content }) in inline.files.iter().enumerate() {
        parts.push(format!("files[{index}].path"), path);
        parts.push(format!("files[{index}].mode"), format!("{mode:04o}"));
        parts.push(format!("files[{index}].content"), content);
    }
}

fn push_run(parts: &mut KeyParts, run: &RunOp) {
    let RunOp { args, env, proxy_env: _, arg_names: _, cwd, user, platform, mounts, network, security } = run;
    parts.push("op", "run");
    parts.push_list("args", args);
    for (name, value) in env.pairs() {
        parts.push(format!("env.{name}"), value);
    }
    parts.push("cwd", cwd);
    parts.push("user", user);
    push_platform(parts, platform);
    for (index, mount) in mounts.iter().enumerate() {
        parts.push(format!("mounts[{index}]"), mount.key_text());
    }
    match network {
        Network::Default => {}
        Network::None => parts.push("network", "none"),
        Network::Host => parts.push("network", "host"),
    }
    match security {
        Security::Sandbox => {}
        Security::Insecure => parts.push("security", "insecure"),
    }
}

fn push_platform(parts: &mut KeyParts, platform: &Platform) {
    let Platform { architecture, os, variant, os_version } = platform;
    parts.push("platform.os", os);
    parts.push("platform.architecture", architecture);
    for (name, value) in [("platform.variant", variant), ("platform.os_version", os_version)] {
        if let Some(value) = value {
            parts.push(name, value);
        }
    }
}

fn push_copy(parts: &mut KeyParts, copy: &CopyOp) {
    let CopyOp { sources, dest, chown, mode, excludes } = copy;
    parts.push("op", "copy");
    for (index, source) in sources.iter().enumerate() {
        let CopySource { input, path, parents, ownership, archives } = source;
        parts.push(format!("sources[{index}]"), path);
        parts.push(format!("sources[{index}].input"), input.to_string());
        if let Some(Parents { pattern, required: _ }) = parents {
            parts.push(format!("sources[{index}].parents"), pattern);
        }
        match (chown, ownership) {
            // Whoever owned the sources, the owner is now another one.
            (Some(_), _) => {}
            (None, Ownership::Keep) => parts.push(format!("sources[{index}].ownership"), "keep"),
            (None, Ownership::Root) => parts.push(format!("sources[{index}].ownership"), "root"),
        }
        match archives {
            Archives::Copy => {}
            Archives::Unpack => parts.push(format!("sources[{index}].archives"), "unpack"),
        }
    }
    parts.push("dest", dest);
    if let Some(chown) = chown {
        parts.push("chown", chown);
    }
    if let Some(mode) = mode {
        parts.push("mode", mode.to_string());
    }
    parts.push_list("excludes", excludes);
}

fn push_workdir(parts: &mut KeyParts, workdir: &WorkdirOp) {
    let WorkdirOp { path, user } = workdir;
    parts.push("op", "workdir");
    parts.push("path", path);
    parts.push("user", user);
}
