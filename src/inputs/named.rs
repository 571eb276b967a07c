//! What stands for a name: `--build-context NAME=VALUE`, and `contexts` of a kairn.toml.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kairn_compiler::compile::contexts::{NamedContext, NamedContexts};
use kairn_spec::remote::RemoteSource;

use super::contexts::Contexts;
use crate::failure::Failure;

/// Reads the named contexts of the command line.
pub fn read(pairs: &[String], contexts: &mut Contexts<'_>) -> Result<NamedContexts, Failure> {
    let mut named = BTreeMap::new();
    for pair in pairs {
        let wrong = |what: &str| Failure::user(format!("`--build-context {pair}`: {what}"));
        let (name, value) = pair.split_once('=').ok_or_else(|| wrong("not of the form NAME=VALUE"))?;
        if name.is_empty() || value.is_empty() {
            return Err(wrong("not of the form NAME=VALUE"));
        }
        let context = match value.strip_prefix("target:") {
            Some(stage) => NamedContext::Stage(stage.to_owned()),
            None => context(value, Path::new(""), name, contexts).map_err(|failure| {
                wrong(&failure.message.unwrap_or_default()).with_help(
                    "give a folder, a URL, `docker-image://REF`, `oci-layout://PATH` or `target:STAGE`",
                )
            })?,
        };
        if named.insert(name.to_owned(), context).is_some() {
            return Err(wrong("the name is given twice"));
        }
    }
    Ok(named)
}

/// Finds out what a value is; paths count from `folder`.
pub fn context(
    value: &str,
    folder: &Path,
    name: &str,
    contexts: &mut Contexts<'_>,
) -> Result<NamedContext, Failure> {
    if let Some(image) = value.strip_prefix("docker-image://") {
        return Ok(NamedContext::Image(image.to_owned()));
    }
    if let Some(layout) = value.strip_prefix("oci-layout://") {
        let layout = absolute(&folder.join(layout))?;
        return Ok(NamedContext::Image(format!("oci-layout://{}", layout.display())));
    }
    if let Some(remote) = RemoteSource::parse(value) {
        return Ok(match remote.map_err(Failure::user)? {
            RemoteSource::Git(source) => NamedContext::Git(source),
            RemoteSource::Http(url) => NamedContext::Http(url),
        });
    }
    let path = absolute(&folder.join(value))?;
    if !path.is_dir() {
        return Err(Failure::user(format!("`{value}` is not a folder")));
    }
    Ok(NamedContext::Local(contexts.folder(&path, None, name)?.name))
}

/// Makes a path absolute; an empty one is this folder.
pub fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    std::path::absolute(path)
        .map_err(|e| Failure::environment(format!("cannot find `{}`: {e}", path.display())))
}
