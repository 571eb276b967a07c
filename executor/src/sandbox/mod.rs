//! The place a RUN runs in: its own mounts, processes and names, and a root file system of stacked layers.
//!
//! ```text
//! kairn            the command; writes the id map of ↓                                   [`userns`]
//! └ kairn          the build, root in a user namespace of its own                        [`run`]
//!   └ kairn        one per RUN, re-executed: unshares, and outlives everything below     [`child`]
//!     └ init       process 1 of the RUN's process namespace: mounts, pivots, reaps       [`init`]
//!       └ command  what the Dockerfile says
//! ```
//! The build never forks: it starts its own program again, which forks while it has one thread. Init's end is the end
//! of every process of the RUN (pid_namespaces(7)), and the mounts go with the mount namespace. The build holds the
//! helper's standard input open; its closing, also by the build's death, ends the RUN.
//!
//! This folder alone may contain `unsafe`.

pub mod child;
mod chroot;
mod exec;
mod identity;
mod init;
mod landlock;
mod mounts;
mod notify;
mod place;
mod places;
pub mod probe;
mod seccomp;
mod supervisor;
pub mod userns;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{CommandEnd, Error, Named as _};
use crate::owner::Birth;
use crate::users::Owner;

/// How RUNs are isolated from the container around them, and from each other: the ladder, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// Namespaces of their own, over a range of ids.
    Userns,
    /// The same, but with one id: a supervisor answers for all others.
    UsernsSingle,
    /// A directory of their own, entered by chroot(2), with a supervisor.
    Chroot,
    /// There are no RUNs.
    None,
}

impl Rung {
    /// The name that the command line has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Userns => "userns",
            Self::UsernsSingle => "userns-single",
            Self::Chroot => "chroot",
            Self::None => "none",
        }
    }

    /// Whether a RUN has mounts of its own.
    pub fn has_mounts(self) -> bool {
        matches!(self, Self::Userns | Self::UsernsSingle)
    }
}

/// First argument of the program when it is started as a RUN's helper.
pub const HELPER_ARGUMENT: &str = "__sandbox";

/// The longest piece of a line that is kept together, in bytes.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// Everything a RUN needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// What the command sees as its root file system.
    pub root: Root,
    /// Directory for everything else that belongs to the step: it must be empty.
    pub work: PathBuf,
    /// Program and arguments.
    pub args: Vec<String>,
    /// Environment.
    pub env: Vec<(String, String)>,
    /// Working directory, absolute.
    pub cwd: String,
    /// USER as written; empty for root.
    pub user: String,
    /// Host name.
    pub hostname: String,
    /// Text of /etc/resolv.conf.
    pub resolv_conf: String,
    /// Text of /etc/hosts.
    pub hosts: String,
    /// What is mounted over all this, in order.
    pub mounts: Vec<Mount>,
    /// Whether there is no network but a loopback device.
    pub without_network: bool,
    /// Whether the command keeps every capability, and nothing of /proc is covered.
    pub insecure: bool,
    /// Whether calls that wait for the disk do so.
    pub sync: bool,
    /// Links of the image that lead into /proc, /sys or /dev, by path: absolute and clean on both sides.
    pub links: Vec<(Vec<u8>, Vec<u8>)>,
    /// What is to be known where there is one id only.
    pub one_id: Option<OneId>,
}

/// What is to be known of an image where there is one id only.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct OneId {
    /// Its links and pipes that are not root's, by inode.
    pub links: Vec<(u64, Owner)>,
}

/// How a RUN ended.
#[derive(Debug)]
pub struct Ended {
    /// What the command's process said.
    pub end: CommandEnd,
    /// Owners of links and pipes that the kernel does not know.
    pub owners: Vec<(Birth, Owner)>,
}

/// What a command sees as its root file system.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Root {
    /// Stacked layers, under a directory that receives what the command writes.
    Overlay {
        /// Unpacked layers, topmost first.
        lowers: Vec<PathBuf>,
        /// Receives what the command writes.
        upper: PathBuf,
    },
    /// A directory, entered by chroot(2); nothing is mounted.
    Directory(PathBuf),
}

/// Something that a command finds at a place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mount {
    /// Where: absolute, in the command's root.
    pub target: String,
    /// What.
    pub source: MountSource,
}

/// What stands at a place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum MountSource {
    /// A file or directory of this machine.
    Bind {
        /// Which.
        path: PathBuf,
        /// Whether the command may not write there.
        read_only: bool,
    },
    /// A place in stacked directories.
    Files {
        /// The directories, topmost first.
        lowers: Vec<PathBuf>,
        /// The place, relative; links lead nowhere outside.
        path: String,
        /// Whether the command may write there, with no effect on the directories.
        read_write: bool,
        /// An empty directory for what the mount needs.
        work: PathBuf,
    },
    /// A file that is never on a disk.
    Secret {
        /// Its content.
        value: Vec<u8>,
        /// Its permission bits.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// An empty directory in memory; on disk where nothing can be mounted.
    Tmpfs {
        /// Its size in bytes.
        size_bytes: Option<u64>,
    },
}

/// How a RUN ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The command ran to its end.
    Ended { end: End, stubs: Vec<PathBuf>, owners: Vec<(Birth, Owner)> },
    /// The image or the instruction does not let the command start.
    NotStarted { reason: String },
    /// The machine does not let the sandbox be made.
    Refused { reason: String, help: String },
}

/// What the end of a command's process says.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum End {
    /// It exited.
    Exited(i32),
    /// A signal killed it.
    Signalled(i32),
}

impl Report {
    /// What the end of the command's process says.
    fn of_status(status: rustix::process::WaitStatus, stubs: Vec<PathBuf>) -> Self {
        let end = match status.terminating_signal() {
            Some(signal) => End::Signalled(signal),
            None => End::Exited(status.exit_status().unwrap_or(1)),
        };
        Self::Ended { end, stubs, owners: Vec::new() }
    }
}

/// Stops all RUNs of a build.
#[derive(Debug, Default)]
pub struct Cancel {
    cancelled: AtomicBool,
    next: AtomicU64,
    running: Mutex<BTreeMap<u64, ChildStdin>>,
}

impl Cancel {
    /// Stops every RUN that is running, and every one that would start.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        self.running.lock().expect("no holder of this lock panics").clear();
    }

    /// Whether the build is being stopped.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// Keeps the handle whose closing stops a RUN.
    fn register(&self, control: ChildStdin) -> u64 {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut running = self.running.lock().expect("no holder of this lock panics");
        if !self.is_cancelled() {
            running.insert(id, control);
        }
        id
    }

    /// Lets go of a RUN's handle, which stops it if it still runs.
    fn forget(&self, id: u64) {
        self.running.lock().expect("no holder of this lock panics").remove(&id);
    }

    /// Does something that ends when the RUN does, which is stopped after `timeout`; says whether it came to that.
    fn timed(&self, id: u64, timeout: Option<Duration>, wait: impl FnOnce()) -> bool {
        let Some(timeout) = timeout else {
            wait();
            return false;
        };
        let (over, is_over) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let clock = scope.spawn(move || {
                let is_late = is_over.recv_timeout(timeout) == Err(RecvTimeoutError::Timeout);
                if is_late {
                    self.forget(id);
                }
                is_late
            });
            wait();
            drop(over);
            clock.join().expect("a clock does not panic")
        })
    }
}

/// Runs a command to its end, and gives how it ended; after `timeout` it is stopped. When this returns, none of its
/// processes and mounts is left.
///
/// # Errors
/// Fails where the sandbox cannot be made, and where the build is cancelled.
pub fn run(
    plan: &Plan,
    program: &Path,
    cancel: &Cancel,
    timeout: Option<Duration>,
    on_line: &mut dyn FnMut(String),
) -> Result<Ended, Error> {
    prepare(plan)?;
    let (output, output_end) = std::io::pipe().map_err(|e| Error::world("cannot make a pipe", e))?;
    let second_end = output_end.try_clone().map_err(|e| Error::world("cannot make a pipe", e))?;
    let mut command = Command::new(program);
    command.arg(HELPER_ARGUMENT).stdin(Stdio::piped()).stdout(output_end).stderr(second_end);
    let mut child = command.spawn().named("start", program)?;
    // The pipe's writing ends in this process must be gone, or its end would never be seen.
    drop(command);
    let mut control = child.stdin.take().expect("standard input is piped");
    let mut line = serde_json::to_vec(plan).map_err(|e| Error::world("cannot encode a sandbox's plan", e))?;
    line.push(b'\n');
    let sent = control.write_all(&line);
    let id = cancel.register(control);
    let mut status = Err(std::io::Error::from(std::io::ErrorKind::Other));
    let is_late = cancel.timed(id, timeout, || {
        copy_lines(BufReader::new(output), on_line);
        status = child.wait();
    });
    let status = status.map_err(|e| Error::world("cannot wait for a sandbox", e))?;
    cancel.forget(id);
    if cancel.is_cancelled() {
        return Err(Error::Cancelled);
    }
    sent.map_err(|e| Error::world("cannot talk to a sandbox", e))?;
    let report = std::fs::read(plan.work.join("report"))
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Report>(&bytes).ok())
        .ok_or_else(|| {
            Error::world("a sandbox ended without a word", std::io::Error::other(status.to_string()))
        })?;
    let (end, stubs, owners) = match report {
        Report::Ended { end: End::Exited(code), stubs, owners } => (CommandEnd::Exited(code), stubs, owners),
        Report::Ended { end: End::Signalled(signal), stubs, owners } => {
            (CommandEnd::Signalled(signal), stubs, owners)
        }
        Report::NotStarted { reason } => (CommandEnd::NotStarted { reason }, Vec::new(), Vec::new()),
        Report::Refused { reason, help } => {
            return Err(Error::World { step: None, message: reason, source: None, help: Some(help) });
        }
    };
    let end = match timeout {
        Some(after) if is_late && end != CommandEnd::Exited(0) => CommandEnd::TimedOut { after },
        _ => end,
    };
    if let Root::Overlay { upper, .. } = &plan.root {
        places::remove_stubs(upper, &stubs);
    }
    Ok(Ended { end, owners })
}

/// Makes the files and links that the sandbox is built from.
fn prepare(plan: &Plan) -> Result<(), Error> {
    use fs_err as fs;
    let work = &plan.work;
    fs::write(work.join("resolv.conf"), &plan.resolv_conf)?;
    fs::write(work.join("hosts"), &plan.hosts)?;
    let Root::Overlay { lowers, upper } = &plan.root else { return Ok(()) };
    for folder in ["root", "overlay", "links", "stubs", "stubs/dev", "stubs/proc", "stubs/sys", "stubs/etc"] {
        fs::create_dir(work.join(folder))?;
    }
    for file in ["stubs/etc/resolv.conf", "stubs/etc/hosts"] {
        fs::write(work.join(file), "")?;
    }
    // Short relative names keep mount's options under a page, however many layers there are.
    let stubs = work.join("stubs");
    for (index, lower) in lowers.iter().chain([&stubs]).enumerate() {
        fs::os::unix::fs::symlink(lower, work.join("links").join(index.to_string()))?;
    }
    fs::os::unix::fs::symlink(upper, work.join("links/u"))?;
    fs::os::unix::fs::symlink(work.join("overlay"), work.join("links/w"))?;
    Ok(())
}

/// Hands over line by line; a line that does not end is cut into pieces, so that memory stays bounded.
fn copy_lines(mut from: impl std::io::BufRead, on_line: &mut dyn FnMut(String)) {
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = std::io::Read::take(&mut from, MAX_LINE_BYTES);
        match limited.read_until(b'\n', &mut line) {
            Ok(0) => return,
            Ok(_) => {
                if line.last() == Some(&b'\n') {
                    line.pop();
                }
                on_line(String::from_utf8_lossy(&line).into_owned());
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
