//! The graph for programs.

use serde_json::{Map, Value, json};

use super::{View, input_name};
use crate::graph::{
    Archives, BaseImage, CopyOp, ImageOp, ImageTarget, Op, Origin, Ownership, RunOp, StepId, TargetHistory,
    WorkdirOp,
};

/// Version of the form; it changes when a field changes its meaning or goes.
const VERSION: u32 = 1;

pub(super) fn render(view: &View<'_>) -> String {
    let steps: Vec<Value> = view.order.iter().map(|&step| step_value(view, step)).collect();
    let images: Vec<Value> = view.graph.images.iter().map(|image| image_value(view, image)).collect();
    let value = json!({ "version": VERSION, "steps": steps, "images": images });
    let text = serde_json::to_string_pretty(&value).expect("a value with string keys can be written");
    text + "\n"
}

fn step_value(view: &View<'_>, step: StepId) -> Value {
    let inputs: Vec<Value> = (view.graph.inputs(step).into_iter())
        .map(|(input, source)| json!({ "input": input_name(input), "step": view.id(source) }))
        .collect();
    let origins: Vec<Value> = view.graph.origins.get(&step).into_iter().flatten().map(origin_value).collect();
    let mut fields = Map::new();
    fields.insert("id".to_owned(), json!(view.id(step)));
    fields.insert("op".to_owned(), op_value(view.graph.op(step)));
    fields.insert("inputs".to_owned(), json!(inputs));
    fields.insert("origins".to_owned(), json!(origins));
    if let Some(timing) = view.timings.get(&step) {
        let value = json!({
            "started_ms": timing.started_ms, "duration_ms": timing.duration_ms, "cached": timing.cached,
        });
        fields.insert("timing".to_owned(), value);
    }
    Value::Object(fields)
}

fn origin_value(origin: &Origin) -> Value {
    let Origin { stage, position, total, text, span } = origin;
    let span = json!({ "start": span.start, "end": span.end });
    json!({ "stage": stage, "position": position, "total": total, "text": text, "span": span })
}

fn op_value(op: &Op) -> Value {
    match op {
        Op::Scratch => json!({ "type": "scratch" }),
        Op::Image(ImageOp { reference, manifest_digest, diff_ids }) => json!({
            "type": "image", "reference": reference, "manifest_digest": manifest_digest, "diff_ids": diff_ids,
        }),
        Op::Context(context) => json!({ "type": "context", "name": context.name }),
        Op::Run(RunOp { args, env, proxy_env, cwd, user, platform }) => {
            let proxies: Vec<&str> = proxy_env.iter().map(|(name, _)| name.as_str()).collect();
            json!({
                "type": "run", "args": args, "env": env, "proxies": proxies, "cwd": cwd, "user": user,
                "platform": platform.to_string(),
            })
        }
        Op::Copy(copy) => copy_value(copy),
        Op::Workdir(WorkdirOp { path, user }) => json!({ "type": "workdir", "path": path, "user": user }),
    }
}

fn copy_value(copy: &CopyOp) -> Value {
    let CopyOp { sources, dest, chown, mode, ownership, archives } = copy;
    let ownership = match ownership {
        Ownership::Keep => "keep",
        Ownership::Root => "root",
    };
    let archives = match archives {
        Archives::Copy => "copy",
        Archives::Unpack => "unpack",
    };
    json!({
        "type": "copy", "sources": sources, "dest": dest, "chown": chown,
        "mode": mode.map(|mode| format!("{mode:04o}")), "ownership": ownership, "archives": archives,
    })
}

fn image_value(view: &View<'_>, image: &ImageTarget) -> Value {
    let ImageTarget { name, step, platform, config, base, history } = image;
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
        "name": name, "step": view.id(*step), "platform": platform.to_string(), "config": config, "base": base,
        "history": history,
    })
}
