//! The graph for programs.

use serde_json::{Map, Value, json};

use super::View;
use crate::graph::{
    Archives, Artifact, BaseImage, CopyOp, CopySource, Demand, GitOp, HttpOp, ImageEdge, ImageOp,
    ImageTarget, InlineFile, InlineOp, Network, Op, Origin, Ownership, Parents, RunOp, Security, StepId,
    TargetHistory, WorkdirOp,
};

/// Version of the form; it changes when a field changes its meaning or goes.
const VERSION: u32 = 2;

pub(super) fn render(view: &View<'_>) -> String {
    let steps: Vec<Value> = view.order.iter().map(|&step| step_value(view, step)).collect();
    let images: Vec<Value> = view.graph.images.iter().map(|image| image_value(view, image)).collect();
    let edges: Vec<Value> = view.graph.edges.iter().map(edge_value).collect();
    let artifacts: Vec<Value> = (view.graph.artifacts.iter())
        .map(|Artifact { stage, step, path, dest }| {
            json!({ "stage": stage, "step": view.id(*step), "path": path, "dest": dest })
        })
        .collect();
    let value = json!({
        "version": VERSION, "steps": steps, "images": images, "edges": edges, "artifacts": artifacts,
    });
    let text = serde_json::to_string_pretty(&value).expect("a value with string keys can be written");
    text + "\n"
}

fn step_value(view: &View<'_>, step: StepId) -> Value {
    let inputs: Vec<Value> = (view.graph.inputs(step).into_iter())
        .map(|(input, source)| json!({ "input": input.to_string(), "step": view.id(source) }))
        .collect();
    let origins: Vec<Value> = view.graph.origins.get(&step).into_iter().flatten().map(origin_value).collect();
    let mut fields = Map::new();
    fields.insert("id".to_owned(), json!(view.id(step)));
    fields.insert("op".to_owned(), op_value(view.graph.op(step)));
    fields.insert("inputs".to_owned(), json!(inputs));
    fields.insert("origins".to_owned(), json!(origins));
    if let Some(demand) = view.graph.demands.get(&step) {
        fields.insert("demand".to_owned(), demand_value(demand));
    }
    if let Some(timing) = view.timings.get(&step) {
        let value = json!({
            "started_ms": timing.started_ms, "duration_ms": timing.duration_ms, "cached": timing.cached,
        });
        fields.insert("timing".to_owned(), value);
    }
    Value::Object(fields)
}

fn edge_value(edge: &ImageEdge) -> Value {
    let ImageEdge { from, to, why, file, span } = edge;
    let span = json!({ "start": span.start, "end": span.end });
    json!({ "from": from, "to": to, "why": why, "file": file.0, "span": span })
}

fn demand_value(demand: &Demand) -> Value {
    let Demand { cpu, memory_bytes, timeout, retries } = demand;
    json!({
        "cpu": cpu, "memory_bytes": memory_bytes, "timeout_ms": timeout.map(|timeout| timeout.as_millis()),
        "retries": retries,
    })
}

fn origin_value(origin: &Origin) -> Value {
    let Origin { stage, position, total, text, file, span } = origin;
    let span = json!({ "start": span.start, "end": span.end });
    json!({
        "stage": stage, "position": position, "total": total, "text": text, "file": file.0, "span": span,
    })
}

fn op_value(op: &Op) -> Value {
    match op {
        Op::Scratch => json!({ "type": "scratch" }),
        Op::Image(ImageOp { reference, manifest_digest, diff_ids }) => json!({
            "type": "image", "reference": reference, "manifest_digest": manifest_digest, "diff_ids": diff_ids,
        }),
        Op::Context(context) => json!({ "type": "context", "name": context.name }),
        Op::Http(HttpOp { url, name, checksum }) => {
            json!({ "type": "http", "url": url, "name": name, "checksum": checksum })
        }
        Op::Git(git) => git_value(git),
        Op::Inline(InlineOp { files }) => {
            let files: Vec<Value> = (files.iter())
                .map(|InlineFile { path, mode, content }| {
                    json!({ "path": path, "mode": format!("{mode:04o}"), "content": content })
                })
                .collect();
            json!({ "type": "inline", "files": files })
        }
        Op::Run(run) => run_value(run),
        Op::Link => json!({ "type": "link" }),
        Op::Copy(copy) => copy_value(copy),
        Op::Workdir(WorkdirOp { path, user }) => json!({ "type": "workdir", "path": path, "user": user }),
    }
}

fn git_value(git: &GitOp) -> Value {
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
    json!({
        "type": "git", "remote": remote, "reference": reference, "subdir": subdir, "checksum": checksum,
        "keep_git_dir": keep_git_dir, "submodules": submodules, "commit_mtime": commit_mtime,
        "fetch_by_commit": fetch_by_commit,
    })
}

fn run_value(run: &RunOp) -> Value {
    let RunOp { args, env, proxy_env, arg_names: _, cwd, user, platform, mounts, network, security } = run;
    let proxies: Vec<&str> = proxy_env.iter().map(|(name, _)| name.as_str()).collect();
    let mounts: Vec<String> = mounts.iter().map(ToString::to_string).collect();
    let network = match network {
        Network::Default => "default",
        Network::None => "none",
        Network::Host => "host",
    };
    let security = match security {
        Security::Sandbox => "sandbox",
        Security::Insecure => "insecure",
    };
    json!({
        "type": "run", "args": args, "env": env.pairs(), "proxies": proxies, "cwd": cwd, "user": user,
        "platform": platform.to_string(), "mounts": mounts, "network": network, "security": security,
    })
}

fn copy_value(copy: &CopyOp) -> Value {
    let CopyOp { sources, dest, chown, mode, excludes } = copy;
    let sources: Vec<Value> = sources.iter().map(source_value).collect();
    json!({
        "type": "copy", "sources": sources, "dest": dest, "chown": chown,
        "mode": mode.as_ref().map(ToString::to_string), "excludes": excludes,
    })
}

fn source_value(source: &CopySource) -> Value {
    let CopySource { input, path, parents, ownership, archives } = source;
    let ownership = match ownership {
        Ownership::Keep => "keep",
        Ownership::Root => "root",
    };
    let archives = match archives {
        Archives::Copy => "copy",
        Archives::Unpack => "unpack",
    };
    let parents = parents
        .as_ref()
        .map(|Parents { pattern, required }| json!({ "pattern": pattern, "required": required }));
    json!({
        "input": input, "path": path, "parents": parents, "ownership": ownership, "archives": archives,
    })
}

fn image_value(view: &View<'_>, image: &ImageTarget) -> Value {
    let ImageTarget { name, step, gates, platform, config, base, history } = image;
    let gates: Vec<String> = gates.iter().map(|gate| view.id(*gate)).collect();
    let history: Vec<Value> = (history.iter())
        .map(|TargetHistory { created_by, step }| {
            json!({ "created_by": created_by, "step": step.map(|step| view.id(step)) })
        })
        .collect();
    let base = base.as_ref().map(|base| {
        let BaseImage { step, reference, manifest, created, history } = base;
        json!({
            "step": view.id(*step), "reference": reference, "manifest": manifest, "created": created,
            "history": history,
        })
    });
    json!({
        "name": name, "step": view.id(*step), "gates": gates, "platform": platform.to_string(), "config": config,
        "base": base, "history": history,
    })
}
