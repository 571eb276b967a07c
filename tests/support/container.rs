//! Real containers: images run under `runc`, and the unprivileged containers ("pods") that kairn itself has to work in.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::tools::{set_mode, test_dir};
use super::{Image, Kairn, Outcome, bases};

/// Docker's 14 default capabilities.
const DEFAULT_CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// System calls that Docker's default seccomp profile answers with EPERM where CAP_SYS_ADMIN is not held. Its list of
/// allowed calls says the same from the other side; what differs (unknown calls) no build meets.
const DENIED_CALLS: &[&str] = &[
    "bpf",
    "fanotify_init",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "keyctl",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "perf_event_open",
    "pivot_root",
    "quotactl",
    "setdomainname",
    "sethostname",
    "setns",
    "swapoff",
    "swapon",
    "umount2",
    "unshare",
    "userfaultfd",
];
/// The one namespace that needs no capability; the kernel itself refuses the others to who lacks CAP_SYS_ADMIN.
const CLONE_NEWUSER: u64 = 0x1000_0000;
const ENOSYS: u32 = 38;

/// How an ordinary container is confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Root with Docker's capabilities and seccomp profile: no namespaces, no mounts.
    Default,
    /// The same without a seccomp profile: Kubernetes' own default.
    Unconfined,
    /// A plain user, no capability, no_new_privs, Docker's seccomp profile: Pod Security `restricted`.
    Restricted,
    /// A plain user without a seccomp profile, who may gain privileges from files: `newuidmap` works.
    Nonroot,
    /// Root of a user namespace, with every capability there.
    Userns,
}

impl Profile {
    /// All of them.
    pub(crate) const ALL: [Self; 5] =
        [Self::Default, Self::Unconfined, Self::Restricted, Self::Nonroot, Self::Userns];

    /// Whether namespaces can be had.
    pub(crate) fn has_namespaces(self) -> bool {
        !matches!(self, Self::Default | Self::Restricted)
    }

    /// The isolation that RUNs have there; none where they are refused.
    pub(crate) fn isolation(self) -> Option<&'static str> {
        match self {
            Self::Default => Some("chroot"),
            Self::Unconfined | Self::Userns => Some("userns"),
            Self::Nonroot => Some("userns-single"),
            Self::Restricted => None,
        }
    }

    /// Gives everything below a directory to the profile's user; modes stay.
    pub(crate) fn own_all(self, dir: &Path) {
        let script = r#"find "$2" -printf '%m %p\0' >"$2.modes"; chown -hR "$1:$1" "$2"
            while IFS= read -r -d '' line; do
                name=${line#* }; [ -h "$name" ] || chmod "${line%% *}" "$name"
            done <"$2.modes"; rm "$2.modes""#;
        if self.uid() != 0 {
            let uid = self.uid().to_string();
            super::tools::run(
                std::process::Command::new("bash").args(["-ec", script, "bash", &uid]).arg(dir),
            );
        }
    }

    fn uid(self) -> u32 {
        if matches!(self, Self::Restricted | Self::Nonroot) { 1000 } else { 0 }
    }

    /// Makes a directory that the profile's user owns.
    pub(crate) fn own(self, dir: &Path) -> PathBuf {
        std::fs::create_dir_all(dir).expect("a directory for the pod");
        std::os::unix::fs::chown(dir, Some(self.uid()), Some(self.uid())).expect("its owner");
        set_mode(dir, 0o755);
        dir.to_owned()
    }

    fn process(self, args: &[String], env: &[String]) -> Value {
        let mut bounding: Vec<&str> =
            if self == Self::Restricted { Vec::new() } else { DEFAULT_CAPABILITIES.to_vec() };
        if self == Self::Userns {
            bounding.extend(["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"]);
        }
        let held = if self.uid() == 0 { bounding.clone() } else { Vec::new() };
        json!({
            "terminal": false, "cwd": "/", "args": args, "env": env,
            "user": { "uid": self.uid(), "gid": self.uid() },
            "noNewPrivileges": self == Self::Restricted,
            "capabilities": { "bounding": bounding, "effective": held, "permitted": held },
        })
    }

    fn linux(self) -> Value {
        let mut namespaces = vec!["pid", "ipc", "uts", "mount"];
        let mut linux = json!({
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            "rootfsPropagation": "rprivate",
        });
        if self == Self::Userns {
            namespaces.push("user");
            let map = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
            linux["uidMappings"] = map.clone();
            linux["gidMappings"] = map;
        }
        if matches!(self, Self::Default | Self::Restricted) {
            let user_namespace = json!({ "index": 0, "value": CLONE_NEWUSER, "valueTwo": CLONE_NEWUSER, "op": "SCMP_CMP_MASKED_EQ" });
            linux["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [
                    { "names": DENIED_CALLS, "action": "SCMP_ACT_ERRNO" },
                    { "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS },
                    { "names": ["clone"], "action": "SCMP_ACT_ERRNO", "args": [user_namespace] },
                ],
            });
        }
        linux["namespaces"] = namespaces.iter().map(|kind| json!({ "type": kind })).collect();
        linux
    }
}

/// An unprivileged container of the Debian base, in which commands are run.
pub(crate) struct Pod {
    profile: Profile,
    mounts: Vec<Value>,
    env: Vec<String>,
}

impl Pod {
    /// Makes a pod with `kairn` on its PATH and the host's network.
    pub(crate) fn new(profile: Profile) -> Self {
        let path = "PATH=/opt/kairn:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned();
        let mut pod = Self { profile, mounts: standard_mounts(), env: vec![path, "HOME=/tmp".to_owned()] };
        for file in ["/etc/resolv.conf", "/etc/hosts"].iter().map(Path::new).filter(|file| file.exists()) {
            pod = pod.mount(file, &file.to_string_lossy(), "ro");
        }
        pod.mount(Path::new(Kairn::BINARY), "/opt/kairn/kairn", "ro")
    }

    /// Binds a file or directory of the host; `options` is `ro` or `rw`.
    pub(crate) fn mount(mut self, host_path: &Path, guest_path: &str, options: &str) -> Self {
        self.mounts.push(json!({
            "destination": guest_path, "type": "bind", "source": host_path, "options": ["rbind", options],
        }));
        self
    }

    /// Sets a variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push(format!("{name}={value}"));
        self
    }

    /// Runs a command in the pod.
    pub(crate) fn run(&self, args: &[&str]) -> Outcome {
        run_bundle(&self.spec(args))
    }

    /// Starts the pod, for commands to be run in it one after another.
    pub(crate) fn start(&self) -> RunningPod {
        let bundle = test_dir("pod-");
        let spec = self.spec(&["sh", "-c", "echo ready; exec sleep infinity"]);
        std::fs::write(bundle.path().join("config.json"), spec.to_string()).expect("the pod's config");
        let name = container_name();
        let mut runc = Command::new("runc");
        runc.arg("--root").arg(bundle.path().join("state")).args(["run", "--bundle"]).arg(bundle.path());
        let mut child = runc
            .arg(&name)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("runc starts");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("standard output is piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("a line");
        assert_eq!(line, "ready\n", "the pod starts");
        RunningPod { bundle, name, child }
    }

    fn spec(&self, args: &[&str]) -> Value {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        json!({
            "ociVersion": "1.0.2", "hostname": "pod",
            "root": { "path": bases::debian_rootfs(), "readonly": true },
            "process": self.profile.process(&args, &self.env),
            "mounts": self.mounts, "linux": self.profile.linux(),
        })
    }

    /// Makes a directory that the pod's user owns, for a store.
    pub(crate) fn own(&self, dir: &Path) -> PathBuf {
        self.profile.own(dir)
    }
}

/// A pod that waits for commands.
pub(crate) struct RunningPod {
    bundle: tempfile::TempDir,
    name: String,
    child: std::process::Child,
}

impl RunningPod {
    /// The words to put before a program and its arguments, to run it in the pod.
    pub(crate) fn exec(&self, env: &[(String, String)]) -> Vec<String> {
        let state = self.bundle.path().join("state");
        let mut words: Vec<String> =
            ["runc", "--root", &state.to_string_lossy(), "exec"].map(str::to_owned).to_vec();
        for (name, value) in env {
            words.extend(["-e".to_owned(), format!("{name}={value}")]);
        }
        words.push(self.name.clone());
        words
    }
}

impl Drop for RunningPod {
    fn drop(&mut self) {
        let state = self.bundle.path().join("state");
        let _ = Command::new("runc").arg("--root").arg(state).args(["kill", &self.name, "KILL"]).status();
        let _ = self.child.wait();
    }
}

/// Runs an image's program (or other arguments) with the environment, user and directory of its config.
pub(crate) fn run_image(image: &Image, args: &[&str]) -> Outcome {
    let dir = test_dir("rootfs-");
    let rootfs = dir.path().join("rootfs");
    image.unpack(&rootfs);
    let config = &image.config["config"];
    let words = |key: &str| config[key].as_array().cloned().unwrap_or_default();
    let mut command = words("Entrypoint");
    command.extend(if args.is_empty() { words("Cmd") } else { args.iter().map(|arg| json!(arg)).collect() });
    let cwd = config["WorkingDir"].as_str().filter(|cwd| !cwd.is_empty()).unwrap_or("/");
    let (uid, gid) = ids_of(config["User"].as_str().unwrap_or_default(), &image.tree().text("/etc/passwd"));
    run_bundle(&json!({
        "ociVersion": "1.0.2", "hostname": "image",
        "root": { "path": rootfs, "readonly": false },
        "process": {
            "terminal": false, "cwd": cwd, "args": command, "env": words("Env"),
            "user": { "uid": uid, "gid": gid },
            "capabilities": { "bounding": DEFAULT_CAPABILITIES },
        },
        "mounts": standard_mounts(), "linux": Profile::Unconfined.linux(),
    }))
}

fn ids_of(user: &str, passwd: &str) -> (u32, u32) {
    let number = |text: &str| text.parse().expect("a numeric id");
    match user.split_once(':') {
        Some((uid, gid)) => (number(uid), number(gid)),
        None if user.is_empty() => (0, 0),
        None => {
            let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
            let known = fields.into_iter().find(|fields| fields[0] == user || fields[2] == user);
            known.map_or_else(|| (number(user), 0), |fields| (number(fields[2]), number(fields[3])))
        }
    }
}

fn standard_mounts() -> Vec<Value> {
    let tmpfs = |path: &str, options: &[&str]| json!({ "destination": path, "type": "tmpfs", "source": "tmpfs", "options": options });
    vec![
        json!({ "destination": "/proc", "type": "proc", "source": "proc" }),
        tmpfs("/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        json!({ "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] }),
        tmpfs("/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        json!({ "destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", "ro", "nosuid", "noexec", "nodev"] }),
        tmpfs("/tmp", &["mode=1777"]),
        tmpfs("/opt", &["mode=755"]),
        tmpfs("/mnt", &["mode=755"]),
    ]
}

fn container_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("kairn-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn run_bundle(spec: &Value) -> Outcome {
    let bundle = test_dir("bundle-");
    std::fs::write(bundle.path().join("config.json"), spec.to_string()).expect("the container's config");
    let name = container_name();
    let mut runc = Command::new("runc");
    runc.arg("--root")
        .arg(bundle.path().join("state"))
        .args(["run", "--bundle"])
        .arg(bundle.path())
        .arg(&name);
    Outcome::of(&mut runc)
}
