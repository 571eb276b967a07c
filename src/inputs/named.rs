//! `--build-context NAME=VALUE`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kairn_compiler::compile::contexts::{NamedContext, NamedContexts};
use kairn_executor::context::Context;
use kairn_executor::store::Store;
use kairn_spec::remote::RemoteSource;

use super::context::{ignore_file, local_context};
use crate::failure::Failure;

/// Named contexts, and the folders among them.
#[derive(Default)]
pub struct Named {
    pub contexts: NamedContexts,
    pub folders: BTreeMap<String, Arc<Context>>,
}

/// Reads the named contexts of the command line.
pub fn read(pairs: &[String], store: &Arc<Store>) -> Result<Named, Failure> {
    let mut named = Named::default();
    for pair in pairs {
        let wrong = |what: &str| Failure::user(format!("`--build-context {pair}`: {what}"));
        let (name, value) = pair.split_once('=').ok_or_else(|| wrong("not of the form NAME=VALUE"))?;
        if name.is_empty() || value.is_empty() {
            return Err(wrong("not of the form NAME=VALUE"));
        }
        let context = if let Some(image) = value.strip_prefix("docker-image://") {
            NamedContext::Image(image.to_owned())
        } else if let Some(layout) = value.strip_prefix("oci-layout://") {
            NamedContext::Image(format!("oci-layout://{}", absolute(Path::new(layout))?.display()))
        } else if let Some(stage) = value.strip_prefix("target:") {
            NamedContext::Stage(stage.to_owned())
        } else if let Some(remote) = RemoteSource::parse(value) {
            match remote.map_err(|error| wrong(&error))? {
                RemoteSource::Git(source) => NamedContext::Git(source),
                RemoteSource::Http(url) => NamedContext::Http(url),
            }
        } else {
            let folder = absolute(Path::new(value))?;
            if !folder.is_dir() {
                return Err(wrong(&format!("`{value}` is not a folder")).with_help(
                    "give a folder, a URL, `docker-image://REF`, `oci-layout://PATH` or `target:STAGE`",
                ));
            }
            let ignore = ignore_file(&folder, None)?;
            named.folders.insert(name.to_owned(), Arc::new(local_context(folder, ignore, store)));
            NamedContext::Local
        };
        if named.contexts.insert(name.to_owned(), context).is_some() {
            return Err(wrong("the name is given twice"));
        }
    }
    Ok(named)
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|e| Failure::environment(format!("cannot find `{}`: {e}", path.display())))
}
