//! The `kairn` command: how it is called, what it said, and that it leaves nothing behind.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::container::{Profile, RunningPod};
use super::tools::test_dir;
use super::{Context, Image, Registry};

/// No command of a test takes longer than this.
const TIME_LIMIT: Duration = Duration::from_mins(10);

/// A store of its own and the command that uses it. Dropping it asserts that no mount and no process is left in it.
pub(crate) struct Kairn {
    dir: TempDir,
}

impl Kairn {
    /// The binary under test.
    pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_kairn");

    /// Makes an empty store.
    pub(crate) fn new() -> Self {
        let dir = test_dir("kairn-");
        std::fs::create_dir(dir.path().join("home")).expect("a home folder");
        Self { dir }
    }

    /// Returns `$KAIRN_ROOT`.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Gives the store to the user of a pod.
    pub(crate) fn belongs_to(&self, profile: Profile) {
        profile.own(&self.root());
        profile.own(&self.dir.path().join("home"));
    }

    /// Prepares `kairn build` of a context, with loopback registries reached over http.
    pub(crate) fn build(&self, context: &Context) -> Invocation {
        self.on("build", context)
    }

    /// Prepares a command on a context, with loopback registries reached over http.
    pub(crate) fn on(&self, name: &str, context: &Context) -> Invocation {
        let mut invocation = self.command(name);
        invocation.context = Some(context.path().to_owned());
        let hosts = std::fs::read_to_string(context.join("Dockerfile")).unwrap_or_default();
        if let Some(host) = loopback_host(&hosts) {
            invocation = invocation.args(["--insecure-registry", &host]);
        }
        invocation
    }

    /// Prepares any of kairn's commands.
    pub(crate) fn command(&self, name: &str) -> Invocation {
        Invocation {
            wrapper: Vec::new(),
            args: vec![name.into()],
            context: None,
            env: BTreeMap::from([
                ("KAIRN_ROOT".into(), self.root().into()),
                ("HOME".into(), self.dir.path().join("home").into()),
            ]),
        }
    }

    /// Builds a context, which must succeed, and returns the image.
    #[track_caller]
    pub(crate) fn image_of(&self, context: &Context) -> Image {
        self.image_by(self.build(context))
    }

    /// Runs a prepared build, which must succeed, and returns the image.
    #[track_caller]
    #[expect(clippy::unused_self, reason = "reads as this kairn's image")]
    pub(crate) fn image_by(&self, build: Invocation) -> Image {
        let out = test_dir("image-");
        let layout = out.path().join("oci");
        let outcome =
            build.args(["-o", &format!("type=oci,dest={},tar=false", layout.display())]).run().succeeded();
        let image = Image::from_layout(&layout, "latest").kept_in(out);
        assert_eq!(image.digest, outcome.digest(), "the printed digest is the written image's");
        image
    }

    /// Returns an image of the local store.
    pub(crate) fn image(&self, reference: &str) -> Image {
        Image::from_layout(&self.root(), reference)
    }

    /// Asserts that no mount and no process is left in the store; waits a little for what is just dying.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) {
        let end = Instant::now() + Duration::from_secs(3);
        let mut left = leftovers(self.dir.path());
        while !left.is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
            left = leftovers(self.dir.path());
        }
        assert!(left.is_empty(), "left behind in {}:\n{}", self.dir.path().display(), left.join("\n"));
    }
}

impl Drop for Kairn {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.assert_nothing_left();
        }
    }
}

fn loopback_host(dockerfile: &str) -> Option<String> {
    let (_, rest) = dockerfile.split_once("127.0.0.1:")?;
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some(format!("127.0.0.1:{port}"))
}

/// Lists the processes that run in, or see a mount of, a directory.
fn leftovers(dir: &Path) -> Vec<String> {
    let dir = dir.to_str().expect("test paths are text");
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let proc_dir = entry.path();
        let text = |name: &str| std::fs::read(proc_dir.join(name)).unwrap_or_default();
        let cmdline = String::from_utf8_lossy(&text("cmdline")).replace('\0', " ");
        if pid != std::process::id() && cmdline.contains(dir) {
            found.push(format!("process {pid}: {cmdline}"));
        }
        for link in ["cwd", "root", "exe"] {
            if std::fs::read_link(proc_dir.join(link)).is_ok_and(|target| target.starts_with(dir)) {
                found.push(format!("{link} of process {pid}: {cmdline}"));
            }
        }
        let mounts = text("mountinfo");
        if let Some(line) = String::from_utf8_lossy(&mounts).lines().find(|line| line.contains(dir)) {
            found.push(format!("mount of process {pid} ({cmdline}): {line}"));
        }
    }
    found
}

/// A command line in the making.
pub(crate) struct Invocation {
    wrapper: Vec<OsString>,
    args: Vec<OsString>,
    context: Option<PathBuf>,
    env: BTreeMap<OsString, OsString>,
}

impl Invocation {
    /// Adds arguments.
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Tags the result in a registry and pushes it there.
    pub(crate) fn push_to(self, registry: &Registry, name: &str) -> Self {
        self.args(["--push", "--insecure-registry", &registry.host(), "-t", &registry.reference(name)])
    }

    /// Asks for machine-readable progress.
    pub(crate) fn with_events(self) -> Self {
        self.args(["--progress", "json"])
    }

    /// Sets a variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(name.into(), value.as_ref().to_owned());
        self
    }

    /// Runs the command through another one (`unshare --mount ...`).
    pub(crate) fn wrapped<S: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = S>) -> Self {
        self.wrapper = wrapper.into_iter().map(|word| word.as_ref().to_owned()).collect();
        self
    }

    /// Runs the command in a pod, which has the test's folders where they are here.
    pub(crate) fn in_pod(mut self, pod: &RunningPod) -> Self {
        let env: Vec<(String, String)> = std::mem::take(&mut self.env)
            .into_iter()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .collect();
        self.wrapped(pod.exec(&env))
    }

    /// Returns the process to start.
    pub(crate) fn to_command(&self) -> Command {
        let mut words =
            self.wrapper.iter().cloned().chain([Kairn::BINARY.into()]).chain(self.args.iter().cloned());
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).args(self.context.iter()).env_clear().envs(&self.env);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub(crate) fn run(&self) -> Outcome {
        Outcome::of(&mut self.to_command())
    }
}

/// What a command did.
pub(crate) struct Outcome {
    /// Exit code; 128 and more for a signal.
    pub(crate) code: i32,
    /// Results.
    pub(crate) stdout: String,
    /// Progress and diagnostics.
    pub(crate) stderr: String,
    command: String,
}

impl Outcome {
    /// Runs a command to its end, within the time limit.
    pub(crate) fn of(command: &mut Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
        Self::of_child(&mut child, format!("{command:?}"))
    }

    /// Waits for a started command.
    pub(crate) fn of_child(child: &mut Child, command: String) -> Self {
        let stdout = collect(child.stdout.take().expect("standard output is piped"));
        let stderr = collect(child.stderr.take().expect("standard error is piped"));
        let end = Instant::now() + TIME_LIMIT;
        let status = loop {
            if let Some(status) = child.try_wait().expect("the command can be waited for") {
                break status;
            }
            if Instant::now() > end {
                let _ = child.kill();
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        let text = |thread: std::thread::JoinHandle<Vec<u8>>| {
            String::from_utf8_lossy(&thread.join().expect("a reader of a pipe")).into_owned()
        };
        Self { code, stdout: text(stdout), stderr: text(stderr), command }
    }

    /// Asserts that it succeeded.
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert!(self.code == 0, "{self}");
        self
    }

    /// Asserts its exit code and that each text is in its standard error.
    #[track_caller]
    pub(crate) fn failed(self, code: i32, texts: &[&str]) -> Self {
        assert!(self.code == code, "exit code {code} was expected\n{self}");
        assert!(!self.stderr.contains("panicked"), "{self}");
        self.says(texts)
    }

    /// Asserts that each text is in its standard error.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "standard error lacks `{text}`\n{self}");
        }
        self
    }

    /// Asserts that each text is in its standard output.
    #[track_caller]
    pub(crate) fn prints(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stdout.contains(text), "standard output lacks `{text}`\n{self}");
        }
        self
    }

    /// Returns the digest of the first result.
    #[track_caller]
    pub(crate) fn digest(&self) -> String {
        let digest = self.stdout.split_whitespace().next().unwrap_or_default();
        assert!(digest.starts_with("sha256:") && digest.len() == 71, "no digest on standard output\n{self}");
        digest.to_owned()
    }

    /// Returns the events of `--progress json`, in order.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        let lines = self.stderr.lines().filter(|line| line.starts_with('{'));
        let events: Vec<Value> = lines.map(|line| serde_json::from_str(line).expect(line)).collect();
        assert!(!events.is_empty(), "no events\n{self}");
        events
    }

    /// Returns when the step whose name contains `text` started and ended, in nanoseconds.
    #[track_caller]
    pub(crate) fn interval_of(&self, text: &str) -> (u64, u64) {
        let events = self.events();
        let time = |kind: &str| {
            let named = |event: &&Value| {
                event["event"] == kind && event["name"].as_str().is_some_and(|n| n.contains(text))
            };
            events.iter().find(named).and_then(|event| event["time_ns"].as_u64())
        };
        match (time("step-started"), time("step-finished")) {
            (Some(start), Some(end)) => (start, end),
            _ => panic!("no start and end of `{text}`\n{self}"),
        }
    }

    /// Returns the names of the steps that ran: started, and not answered by the cache.
    #[track_caller]
    pub(crate) fn steps_run(&self) -> BTreeSet<String> {
        let events = self.events();
        let of = |kind: &'static str| events.iter().filter(move |event| event["event"] == kind);
        let cached: BTreeSet<&str> = events
            .iter()
            .filter(|event| event["cached"] == true)
            .filter_map(|event| event["step"].as_str())
            .collect();
        let ran =
            of("step-started").filter(|event| !cached.contains(event["step"].as_str().unwrap_or_default()));
        ran.map(|event| event["name"].as_str().unwrap_or("?").to_owned()).collect()
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, stdout, stderr, command } = self;
        write!(f, "{command}\nexit code {code}\n--- standard output\n{stdout}\n--- standard error\n{stderr}")
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("a pipe is read");
        bytes
    })
}
