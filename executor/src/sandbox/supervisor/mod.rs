//! Answers a command's system calls on /proc, /sys and the devices, which its chroot does not have.
//!
//! The filter ([`super::seccomp`]) reports each call that names a file; the path is read from the caller's memory. What
//! is not served is let through to the kernel. What is served is opened here, by its real name, and handed over as a
//! descriptor, or looked at here, and the answer is written into the caller's memory. A process that has changed its
//! ids can be read and written only by a thread with the same ids, so there is one for each.
//!
//! This is about being right, not about keeping anybody in: a caller can change a path after it was read. What keeps
//! the command in is Landlock and the container around all this.
//!
//! Man: seccomp_unotify(2), path_resolution(7), proc(5).

#![allow(unsafe_code)]

mod calls;
mod paths;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

pub(super) use calls::calls;

use super::Plan;
use super::notify::memory::Memory;
use super::notify::{Answer, Call, Listener};
use super::place::{Placed, Secret};
use super::places::DEV_LINKS;

/// Who a process is, as far as the kernel asks before it shows its memory.
type Ids = (u32, u32);

/// Everything that an answer needs.
pub(super) struct Supervisor {
    listener: Listener,
    /// The root's path on the machine, and the root itself.
    root: PathBuf,
    root_handle: OwnedFd,
    /// Links of the image that lead to what is served, by path: absolute and clean on both sides.
    links: Vec<(Vec<u8>, Vec<u8>)>,
    has_devices: bool,
    hostname: String,
    secrets: Vec<Secret>,
    own_pid: i32,
    /// The process of the RUN's command.
    command: i32,
    memory: Memory,
    /// Whether a process may be in a directory that is served.
    has_entered: AtomicBool,
    /// How many programs were started by way of a link.
    links_made: AtomicU64,
}

impl Supervisor {
    /// Answers calls from now on, until nobody is left to call.
    pub(super) fn start(
        listener: OwnedFd,
        command: rustix::process::Pid,
        root: &Path,
        plan: &Plan,
        placed: &Placed,
    ) -> io::Result<()> {
        // A link's text that is not absolute starts in /dev.
        let absolute = |text: &str| Path::new("/dev").join(text).into_os_string().into_encoded_bytes();
        let mut links: Vec<(Vec<u8>, Vec<u8>)> =
            DEV_LINKS.iter().map(|(name, text)| (absolute(name), absolute(text))).collect();
        links.extend(plan.links.iter().cloned());
        let secrets = placed
            .secrets
            .iter()
            .map(|secret| Ok(Secret { path: secret.path.clone(), content: secret.content.try_clone()? }));
        let supervisor = Self {
            root: root.to_owned(),
            root_handle: super::chroot::open_directory(root)?,
            links,
            has_devices: placed.has_devices,
            hostname: plan.hostname.clone(),
            secrets: secrets.collect::<io::Result<_>>()?,
            own_pid: rustix::process::getpid().as_raw_nonzero().get(),
            command: command.as_raw_nonzero().get(),
            memory: Memory::default(),
            has_entered: AtomicBool::new(false),
            links_made: AtomicU64::new(0),
            listener: Listener::new(listener),
        };
        let supervisor = Arc::new(supervisor);
        std::thread::Builder::new().name("supervisor".to_owned()).spawn(move || supervisor.serve())?;
        Ok(())
    }

    fn serve(self: &Arc<Self>) {
        let mut others: BTreeMap<Ids, mpsc::Sender<Call>> = BTreeMap::new();
        while let Some(call) = self.listener.receive() {
            match self.answer(&call) {
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => self.pass_on(call, &mut others),
                other => self.listener.reply(&call, other),
            }
        }
    }

    /// Gives a call to the thread that has the caller's ids.
    fn pass_on(self: &Arc<Self>, call: Call, others: &mut BTreeMap<Ids, mpsc::Sender<Call>>) {
        let ids = ids_of(call.thread);
        let Some(ids) = ids.filter(|(uid, _)| *uid != 0) else {
            // The process changed its ids and has not started a program since: the kernel shows nothing of it.
            return self.listener.reply(&call, Ok(Answer::LetThrough));
        };
        let sender = others.entry(ids).or_insert_with(|| {
            let (sender, receiver) = mpsc::channel::<Call>();
            let supervisor = Arc::clone(self);
            std::thread::spawn(move || {
                let same = become_other(ids);
                for call in receiver {
                    let answer = if same { supervisor.answer(&call) } else { Ok(Answer::LetThrough) };
                    supervisor.listener.reply(&call, answer);
                }
            });
            sender
        });
        if sender.send(call).is_err() {
            self.listener.reply(&call, Ok(Answer::LetThrough));
        }
    }

    /// A number that no other program started by way of a link has.
    fn next_link(&self) -> u64 {
        self.links_made.fetch_add(1, Ordering::Relaxed)
    }
}

/// The ids of a process that others may read (proc(5)); root's for those that nobody may.
fn ids_of(thread: i32) -> Option<Ids> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(format!("/proc/{thread}")).ok()?;
    Some((metadata.uid(), metadata.gid()))
}

/// Gives this thread alone other ids.
fn become_other((uid, gid): Ids) -> bool {
    // SAFETY: these calls, made directly, change the ids of the calling thread only, which is meant.
    unsafe {
        libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<u32>()) == 0
            && libc::syscall(libc::SYS_setresgid, gid, gid, gid) == 0
            && libc::syscall(libc::SYS_setresuid, uid, uid, uid) == 0
    }
}

/// The parent of a process.
pub(super) fn parent_of(pid: i32) -> Option<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    text.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
