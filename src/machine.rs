//! What the program takes from the machine: folders, credentials, name resolution.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};

use kairn_executor::build::{Fresh, KeepGoing};
use kairn_executor::cache::Remotes;
use kairn_executor::events::{Event, Events};
use kairn_executor::grants::Grants;
use kairn_executor::pull::{Policy, Puller};
use kairn_executor::sandbox::Rung;
use kairn_executor::store::{Running, Store};
use kairn_executor::{Error, Settings};
use kairn_image::backend::Backend;
use kairn_image::registry::auth::CredentialFiles;
use kairn_image::registry::{self, Client, Mirror, Proxies};

use crate::args::{Input, Registries};
use crate::failure::{Failure, chain};
use crate::inputs::chosen::Chosen;

/// Text of /etc/hosts in a RUN.
const HOSTS: &str = "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

/// The default folder of the store.
fn default_root() -> Result<PathBuf, Failure> {
    let cache = variable("XDG_CACHE_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".cache")))
        .ok_or_else(|| Failure::user("there is no `HOME`, so no place for the store"))
        .map_err(|failure| failure.with_help("say where: `--kairn-root DIR` or `KAIRN_ROOT`"))?;
    Ok(cache.join("kairn"))
}

/// What a command works with: settings for the executor, and the events of its work.
pub struct Workshop {
    /// Settings; a build adds what is its own.
    pub settings: Settings,
    /// Where work is told.
    pub events: Events,
    /// Where it is heard.
    pub receiver: Receiver<Event>,
    /// Keeps what is used of the store from being thrown away.
    pub running: Running,
}

impl Workshop {
    /// Opens the store and prepares to reach registries; RUNs are not prepared for.
    pub fn open(input: &Input, chosen: &Chosen, policy: Policy) -> Result<Self, Failure> {
        Self::open_with(input.kairn_root.as_deref(), &chosen.registries(input), policy, Vec::new())
    }

    /// As [`Workshop::open`], with shared caches, and with a say in who is asked for images.
    pub fn open_with(
        root: Option<&Path>,
        registries: &Registries,
        policy: Policy,
        caches: Vec<Arc<dyn Backend>>,
    ) -> Result<Self, Failure> {
        let store = Arc::new(open_store(root)?);
        let running = store.running().map_err(|e| of_store(&e))?;
        let client = Arc::new(Client::new(registry_config(registries)?));
        let (sender, receiver) = mpsc::channel();
        let events = Events::new(sender);
        let remotes = Arc::new(Remotes::new(caches, events.clone()));
        let puller = Arc::new(Puller::new(client, Arc::clone(&store), events.clone(), policy, remotes));
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let settings = Settings {
            store,
            puller,
            contexts: BTreeMap::new(),
            jobs: (2 * cores).max(8),
            memory_bytes: u64::MAX,
            keep_going: KeepGoing::Stop,
            fresh: Fresh::Nothing,
            project: None,
            cache_to: Vec::new(),
            inline_cache: false,
            program: program()?,
            rung: Rung::None,
            refused: None,
            sync: false,
            epoch: epoch(&std::env::var("SOURCE_DATE_EPOCH").unwrap_or_default())?,
            resolv_conf: std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
            hosts: HOSTS.to_owned(),
            grants: Grants::default(),
        };
        Ok(Self { settings, events, receiver, running })
    }
}

/// Opens the store that the user wants, or the default one.
pub fn open_store(root: Option<&Path>) -> Result<Store, Failure> {
    let root = match root {
        Some(root) => std::path::absolute(root).unwrap_or_else(|_| root.to_owned()),
        None => default_root()?,
    };
    Store::open(&root).map_err(|e| of_store(&e))
}

/// This program, to be started again.
pub fn program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|e| Failure::environment(format!("cannot find the program itself: {e}")))
}

/// Turns an error of the store into what the user reads.
pub fn of_store(error: &Error) -> Failure {
    Failure { help: error.help(), ..Failure::environment(chain(error)) }
}

/// How registries are spoken to, with the credentials that Docker and Podman keep.
pub fn registry_config(settings: &Registries) -> Result<registry::Config, Failure> {
    let mirrors = settings
        .registry_mirror
        .iter()
        .map(|pair| {
            let (registry, endpoint) = pair.split_once('=').ok_or_else(|| {
                Failure::user(format!("`--registry-mirror {pair}` is not of the form HOST=MIRROR"))
            })?;
            Ok(Mirror { registry: registry.to_owned(), endpoint: endpoint.to_owned() })
        })
        .collect::<Result<_, Failure>>()?;
    let credentials = CredentialFiles::read(credential_files())
        .map_err(|e| Failure::environment(crate::failure::chain(&e)))?;
    Ok(registry::Config {
        mirrors,
        insecure: settings.insecure_registry.clone(),
        credentials: Box::new(credentials),
        proxies: Proxies::of(&|name| std::env::var(name).ok()),
        ..registry::Config::default()
    })
}

/// Reads `SOURCE_DATE_EPOCH`; nothing is no time.
pub fn epoch(text: &str) -> Result<Option<i64>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        let message = format!("`SOURCE_DATE_EPOCH` is `{text}`, and should be seconds from the Unix epoch");
        Failure::user(message).with_help("names of contexts and stages are not supported there")
    })
}

fn credential_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    files.extend(variable("REGISTRY_AUTH_FILE"));
    match variable("DOCKER_CONFIG") {
        Some(folder) => files.push(folder.join("config.json")),
        None => files.extend(variable("HOME").map(|home| home.join(".docker/config.json"))),
    }
    files.extend(variable("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json")));
    files
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
