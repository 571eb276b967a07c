//! What is delivered where: tags, outputs and annotations of the command line and of the images.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kairn_executor::publish::{Annotations, Delivery, Sink};
use kairn_image::reference::Reference;

use crate::args::Build;
use crate::failure::{Failure, chain};
use crate::inputs::{ImagePlan, Project};

/// Makes a delivery of each image that is asked for.
pub fn deliveries(args: &Build, project: &Project) -> Result<Vec<Delivery>, Failure> {
    if let (Some(tag), [_, _, ..]) = (args.tag.first(), &project.selected[..]) {
        let text = format!("`--tag {tag}` names one image, and there are {}", project.selected.len());
        return Err(
            Failure::user(text).with_help("give `tags` in the kairn.toml, or name one image to build")
        );
    }
    let mut deliveries = Vec::new();
    let mut first = 0;
    for &number in &project.selected {
        let (unit, plan) = (&project.units[number], &project.images[number]);
        let count = unit.build_platforms().len();
        // Another stage than the image's own is not what its tags name.
        let is_other = args.input.target.is_some() && !project.is_one();
        let own = plan.tags.iter().filter(|_| !is_other);
        let tags = own.chain(&args.tag).map(|text| tag(text)).collect::<Result<Vec<_>, _>>()?;
        let sinks = sinks(args, plan, &tags, &unit.name)?;
        deliveries.push(Delivery {
            name: unit.name.clone(),
            images: (first..first + count).collect(),
            annotations: annotations(plan, &unit.name)?,
            tags,
            sinks,
            ..Delivery::default()
        });
        first += count;
    }
    Ok(deliveries)
}

fn tag(text: &str) -> Result<Reference, Failure> {
    let tag: Reference = text.parse().map_err(|e| Failure::user(format!("`--tag {text}`: {}", chain(&e))))?;
    if tag.digest().is_some() {
        return Err(Failure::user(format!("`--tag {text}` has a digest, and the build makes its own")));
    }
    Ok(tag)
}

/// Reads keys with `index:` or `manifest:` before them; without, they are the manifest's.
fn annotations(plan: &ImagePlan, image: &str) -> Result<Annotations, Failure> {
    let mut annotations = Annotations::default();
    for (key, value) in &plan.annotations {
        let (places, name) = match key.split_once(':') {
            Some((places, name)) => (places, name),
            None => ("manifest", key.as_str()),
        };
        for place in places.split(',') {
            let map = match place {
                "manifest" => &mut annotations.manifest,
                "index" => &mut annotations.index,
                other => {
                    let text = format!("the annotation `{key}` of `{image}`: there is no place `{other}`");
                    return Err(Failure::user(text)
                        .with_help("write `index:KEY`, `manifest:KEY` or `manifest,index:KEY`"));
                }
            };
            map.insert(name.to_owned(), value.clone());
        }
    }
    Ok(annotations)
}

/// Where the image goes; the store, where nothing else is said.
fn sinks(args: &Build, plan: &ImagePlan, tags: &[Reference], image: &str) -> Result<Vec<Sink>, Failure> {
    let mut sinks = Vec::new();
    let mut add = |sink: Sink| {
        if !sinks.contains(&sink) {
            sinks.push(sink);
        }
    };
    let mut pushes = plan.push || args.push;
    for output in plan.outputs.iter().chain(&args.output) {
        match sink(output)? {
            Sink::Registry => pushes = true,
            sink => add(sink),
        }
    }
    // Of many images those without a name are made, and not pushed.
    let is_meant = image.is_empty() || plan.push;
    if pushes && tags.is_empty() && is_meant {
        let what = if image.is_empty() { "the image".to_owned() } else { format!("the image `{image}`") };
        let help = if image.is_empty() { "give one with `-t`" } else { "give it `tags`" };
        return Err(Failure::user(format!("there is no name to push {what} under")).with_help(help));
    }
    if pushes && !tags.is_empty() {
        add(Sink::Registry);
    }
    if sinks.is_empty() {
        sinks.push(Sink::Store);
    }
    Ok(sinks)
}

fn sink(output: &str) -> Result<Sink, Failure> {
    let wrong = |what: String| {
        Failure::user(format!("`--output {output}`: {what}")).with_help(
            "known are `type=oci,dest=PATH[,tar=false]`, `type=image[,push=true]` and `type=registry`",
        )
    };
    let mut fields: BTreeMap<&str, &str> = BTreeMap::new();
    for field in output.split(',') {
        let (key, value) = field.split_once('=').ok_or_else(|| wrong(format!("`{field}` has no `=`")))?;
        if fields.insert(key, value).is_some() {
            return Err(wrong(format!("`{key}` is given twice")));
        }
    }
    let flag = |value: Option<&str>, default: bool| match value {
        None => Ok(default),
        Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => Err(wrong(format!("`{other}` is neither `true` nor `false`"))),
    };
    let sink = match fields.remove("type") {
        Some("oci") => {
            let dest = fields.remove("dest").filter(|dest| !dest.is_empty() && *dest != "-");
            let dest = PathBuf::from(dest.ok_or_else(|| wrong("`dest=PATH` is missing".to_owned()))?);
            let archive = flag(fields.remove("tar"), true)?;
            if archive { Sink::LayoutArchive(dest) } else { Sink::LayoutFolder(dest) }
        }
        Some("image") => {
            if flag(fields.remove("push"), false)? {
                Sink::Registry
            } else {
                Sink::Store
            }
        }
        Some("registry") => Sink::Registry,
        Some(other) => return Err(wrong(format!("the type `{other}` is not supported yet"))),
        None => return Err(wrong("`type=` is missing".to_owned())),
    };
    if let Some(key) = fields.keys().next() {
        return Err(wrong(format!("`{key}` is not supported yet")));
    }
    Ok(sink)
}
