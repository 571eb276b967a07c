//! `--secret` and `--ssh`: what RUNs may be given.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;

use kairn_executor::grants::{AgentSource, SecretSource};

use super::Project;
use crate::failure::Failure;

/// Reads `id=ID[,src=FILE|,env=NAME][,type=file|env][,key=content]`: the secrets, and the ids of those whose content counts.
pub fn secrets(options: &[String]) -> Result<(BTreeMap<String, SecretSource>, BTreeSet<String>), Failure> {
    let mut secrets = BTreeMap::new();
    let mut keyed = BTreeSet::new();
    for option in options {
        let wrong = |what: String| {
            Failure::user(format!("`--secret {option}`: {what}"))
                .with_help("write `id=ID,src=FILE` or `id=ID,env=NAME`")
        };
        let (mut id, mut file, mut variable, mut kind, mut key) = (None, None, None, None, None);
        for field in option.split(',') {
            let (name, value) =
                field.split_once('=').ok_or_else(|| wrong(format!("`{field}` has no `=`")))?;
            let place = match name.trim().to_ascii_lowercase().as_str() {
                "id" => &mut id,
                "src" | "source" => &mut file,
                "env" => &mut variable,
                "type" => &mut kind,
                "key" => &mut key,
                other => return Err(wrong(format!("there is no `{other}`"))),
            };
            *place = Some(value.to_owned());
        }
        let id = id.filter(|id| !id.is_empty()).ok_or_else(|| wrong("it has no `id`".to_owned()))?;
        let source = match (kind.as_deref(), file, variable) {
            (None | Some("file" | "env"), Some(_), Some(_)) => {
                return Err(wrong("it has both a file and a variable".to_owned()));
            }
            (None | Some("file"), Some(file), None) => Origin::File(file),
            (None | Some("env"), None, Some(name)) | (Some("env"), Some(name), None) => {
                Origin::Variable(name)
            }
            (Some("env"), None, None) => Origin::Variable(id.clone()),
            // As Docker does it: the variable of that name, or else the file.
            (None, None, None) if std::env::var_os(&id).is_some() => Origin::Variable(id.clone()),
            (None | Some("file"), None, None) => Origin::File(id.clone()),
            (Some(other), ..) => return Err(wrong(format!("there is no type `{other}` of that form"))),
        };
        let source = match source {
            Origin::File(path) if PathBuf::from(&path).is_file() => SecretSource::File(PathBuf::from(path)),
            Origin::File(path) => return Err(wrong(format!("the file `{path}` is not there"))),
            Origin::Variable(name) => {
                use std::os::unix::ffi::OsStringExt as _;
                let value = std::env::var_os(&name)
                    .ok_or_else(|| wrong(format!("the variable `{name}` is not set")))?;
                SecretSource::Value(value.into_vec())
            }
        };
        match key.as_deref() {
            None => {}
            Some("content") => drop(keyed.insert(id.clone())),
            Some(other) => return Err(wrong(format!("`key={other}` is not `key=content`"))),
        }
        if secrets.insert(id, source).is_some() {
            return Err(wrong("the id is given twice".to_owned()));
        }
    }
    Ok((secrets, keyed))
}

/// Where the command line says a secret is.
enum Origin {
    File(String),
    Variable(String),
}

/// Reads `default` or `ID[=SOCKET|KEY[,KEY]]`.
pub fn agents(options: &[String]) -> Result<BTreeMap<String, AgentSource>, Failure> {
    let mut agents = BTreeMap::new();
    for option in options {
        let (id, paths) =
            option.split_once('=').map_or((option.as_str(), None), |(id, paths)| (id, Some(paths)));
        let wrong = |what: String| Failure::user(format!("`--ssh {option}`: {what}"));
        let source = match paths {
            None => {
                let socket = std::env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty());
                let socket = socket.ok_or_else(|| {
                    wrong("there is no SSH agent: `SSH_AUTH_SOCK` is not set".to_owned())
                        .with_help("start one with `eval $(ssh-agent) && ssh-add`, or name its socket: `--ssh default=PATH`")
                })?;
                PathBuf::from(socket)
            }
            Some(path) => PathBuf::from(path),
        };
        let kind = std::fs::metadata(&source).map_err(|e| wrong(format!("`{}`: {e}", source.display())))?;
        if !kind.file_type().is_socket() {
            return Err(wrong(format!(
                "`{}` is not an agent's socket, and keys are not supported",
                source.display()
            ))
            .with_help(
                "add the key to an agent: `eval $(ssh-agent) && ssh-add KEY`, and give `--ssh default`",
            ));
        }
        let id = if id.is_empty() { "default" } else { id };
        if agents.insert(id.to_owned(), AgentSource::Socket(source)).is_some() {
            return Err(wrong("the id is given twice".to_owned()));
        }
    }
    Ok(agents)
}

/// The secrets and agents of the command line, and those that the images say of other ids.
pub fn of_images(project: &Project, secrets: &[String], agents: &[String]) -> (Vec<String>, Vec<String>) {
    let secret_id = |secret: &str| {
        secret
            .split(',')
            .find_map(|field| field.trim().strip_prefix("id=").map(str::to_owned))
            .unwrap_or_default()
    };
    let agent_id = |agent: &str| agent.split('=').next().unwrap_or_default().to_owned();
    let join = |given: &[String], said: &mut dyn Iterator<Item = &String>, id: &dyn Fn(&str) -> String| {
        let ids: BTreeSet<String> = given.iter().map(|given| id(given)).collect();
        let mut all = given.to_vec();
        for said in said {
            if !ids.contains(&id(said)) && !all.contains(said) {
                all.push(said.clone());
            }
        }
        all
    };
    let mut of_images = project.used().flat_map(|(_, plan)| &plan.secrets);
    let secrets = join(secrets, &mut of_images, &secret_id);
    let mut of_images = project.used().flat_map(|(_, plan)| &plan.ssh);
    (secrets, join(agents, &mut of_images, &agent_id))
}
