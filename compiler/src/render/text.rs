//! The graph as lines of text.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use kairn_image::ImageConfig;
use serde_json::Value;

use super::View;
use crate::graph::{
    Archives, Artifact, CopyOp, CopySource, Demand, GitOp, Graph, HttpOp, ImageEdge, ImageOp, ImageTarget,
    Network, Op, Ownership, Parents, RunOp, Security, StepId, WorkdirOp,
};

pub(super) fn render(view: &View<'_>) -> String {
    let mut out = String::new();
    for &step in &view.order {
        out.push_str(&step_line(view, step));
        out.push('\n');
    }
    for image in &view.graph.images {
        out.push('\n');
        push_image(&mut out, view, image);
    }
    if !view.graph.edges.is_empty() {
        out.push('\n');
    }
    push_edges(&mut out, view.graph);
    for Artifact { stage, step, path, dest } in &view.graph.artifacts {
        let _ = writeln!(out, "artifact {path:?} of {stage:?} ({}) to {:?}", view.id(*step), dest.display());
    }
    out
}

/// Writes which images need which; what is said twice is written once.
pub(super) fn push_edges(out: &mut String, graph: &Graph) {
    let mut seen = BTreeSet::new();
    for ImageEdge { from, to, why, .. } in &graph.edges {
        if seen.insert((from, to, why)) {
            let _ = writeln!(out, "{from:?} needs {to:?}: {why}");
        }
    }
}

fn step_line(view: &View<'_>, step: StepId) -> String {
    let mut line = format!("{} {}", view.id(step), op_text(view.graph.op(step)));
    for (input, source) in view.graph.inputs(step) {
        let _ = write!(line, " {}={}", input, view.id(source));
    }
    for origin in view.graph.origins.get(&step).into_iter().flatten() {
        let _ = write!(line, " <- {:?} {}/{} {:?}", origin.stage, origin.position, origin.total, origin.text);
    }
    if let Some(Demand { cpu, memory_bytes, timeout, retries }) = view.graph.demands.get(&step) {
        let parts = [
            cpu.map(|cpu| format!("cpu={cpu}")),
            memory_bytes.map(|bytes| format!("memory={bytes}")),
            timeout.map(|timeout| format!("timeout={}s", timeout.as_secs_f64())),
            retries.map(|retries| format!("retries={retries}")),
        ];
        let _ = write!(line, " [{}]", parts.into_iter().flatten().collect::<Vec<_>>().join(" "));
    }
    if let Some(timing) = view.timing_text(step) {
        let _ = write!(line, " ({timing})");
    }
    line
}

fn op_text(op: &Op) -> String {
    match op {
        Op::Scratch => "scratch".to_owned(),
        Op::Image(ImageOp { reference, manifest_digest, diff_ids }) => {
            format!("image {reference} {} layers={}", manifest_digest.short(), diff_ids.len())
        }
        Op::Context(context) => format!("context {}", context.name),
        Op::Http(http) => http_text(http),
        Op::Git(git) => git_text(git),
        Op::Inline(inline) => {
            let files: Vec<String> = inline
                .files
                .iter()
                .map(|file| format!("{} {:04o} {:?}", file.path, file.mode, file.content))
                .collect();
            format!("inline [{}]", files.join(", "))
        }
        Op::Run(run) => run_text(run),
        Op::Copy(copy) => copy_text(copy),
        Op::Workdir(WorkdirOp { path, user }) => format!("workdir {path:?}{}", user_text(user)),
        Op::Link => "link".to_owned(),
    }
}

fn http_text(http: &HttpOp) -> String {
    let HttpOp { url, name, checksum } = http;
    let mut text = format!("http {url} as={name:?}");
    if let Some(checksum) = checksum {
        let _ = write!(text, " checksum={checksum}");
    }
    text
}

fn git_text(git: &GitOp) -> String {
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
    let mut text = format!("git {remote}");
    for (name, value) in [("reference", reference), ("subdir", subdir), ("checksum", checksum)] {
        if let Some(value) = value {
            let _ = write!(text, " {name}={value:?}");
        }
    }
    for (name, is_set) in [
        ("keep-git-dir", *keep_git_dir),
        ("no-submodules", !submodules),
        ("commit-mtime", *commit_mtime),
        ("fetch-by-commit", *fetch_by_commit),
    ] {
        if is_set {
            let _ = write!(text, " {name}");
        }
    }
    text
}

fn run_text(run: &RunOp) -> String {
    let RunOp { args, env, proxy_env, arg_names: _, cwd, user, platform, mounts, network, security } = run;
    let env: Vec<String> = env.pairs().iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut text = format!("run {args:?} env={env:?} cwd={cwd:?}{} on={platform}", user_text(user));
    if !proxy_env.is_empty() {
        let names: Vec<&str> = proxy_env.iter().map(|(name, _)| name.as_str()).collect();
        let _ = write!(text, " proxies={names:?}");
    }
    for mount in mounts {
        let _ = write!(text, " mount={:?}", mount.to_string());
    }
    text.push_str(match network {
        Network::Default => "",
        Network::None => " network=none",
        Network::Host => " network=host",
    });
    text.push_str(match security {
        Security::Sandbox => "",
        Security::Insecure => " security=insecure",
    });
    text
}

fn copy_text(copy: &CopyOp) -> String {
    let CopyOp { sources, dest, chown, mode, excludes } = copy;
    let sources: Vec<String> = sources.iter().map(source_text).collect();
    let mut text = format!("copy [{}] to={dest:?}", sources.join(", "));
    if let Some(chown) = chown {
        let _ = write!(text, " chown={chown:?}");
    }
    if let Some(mode) = mode {
        let _ = write!(text, " mode={mode}");
    }
    if !excludes.is_empty() {
        let _ = write!(text, " exclude={excludes:?}");
    }
    text
}

fn source_text(source: &CopySource) -> String {
    let CopySource { input, path, parents, ownership, archives } = source;
    let mut text = format!("{path:?}");
    if *input != 0 {
        let _ = write!(text, " of={input}");
    }
    if let Some(Parents { pattern, required }) = parents {
        let _ = write!(text, " parents={pattern:?}{}", if *required { " required" } else { "" });
    }
    text.push_str(match ownership {
        Ownership::Keep => " owner=keep",
        Ownership::Root => " owner=root",
    });
    text.push_str(match archives {
        Archives::Copy => "",
        Archives::Unpack => " unpack",
    });
    text
}

fn user_text(user: &str) -> String {
    if user.is_empty() { String::new() } else { format!(" user={user:?}") }
}

fn push_image(out: &mut String, view: &View<'_>, image: &ImageTarget) {
    let ImageTarget { name, step, gates, platform, config, base, history } = image;
    let _ = writeln!(out, "image {name:?} = {} for {platform}", view.id(*step));
    for gate in gates {
        let _ = writeln!(out, "  requires {}", view.id(*gate));
    }
    if let Some(base) = base {
        let _ =
            writeln!(out, "  base {} {} history={}", view.id(base.step), base.reference, base.history.len());
    }
    push_config(out, config);
    out.push_str("  history\n");
    for entry in history {
        let step = entry.step.map_or_else(|| "-".to_owned(), |step| view.id(step));
        let _ = writeln!(out, "    {step} {:?}", entry.created_by);
    }
}

fn push_config(out: &mut String, config: &ImageConfig) {
    let ImageConfig { created: _, author, architecture, variant, os, config, rootfs: _, history: _, extra } =
        config;
    let _ = write!(out, "  config {os}/{architecture}");
    if let Some(variant) = variant {
        let _ = write!(out, "/{variant}");
    }
    out.push('\n');
    if !author.is_empty() {
        let _ = writeln!(out, "    author {author:?}");
    }
    for (field, value) in extra {
        let _ = writeln!(out, "    {field} {value}");
    }
    let value = serde_json::to_value(config).expect("a container config is plain data with string keys");
    if let Value::Object(fields) = value {
        for (field, value) in fields {
            let _ = writeln!(out, "    {field} {value}");
        }
    }
}
