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
mod memory;
mod paths;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

pub(super) use calls::calls;

use super::Plan;
use super::place::{Placed, Secret};
use super::places::DEV_LINKS;

const RECEIVE: libc::c_ulong = 0xc050_2100;
const SEND: libc::c_ulong = 0xc018_2101;
const IS_VALID: libc::c_ulong = 0x4008_2102;
const ADD_DESCRIPTOR: libc::c_ulong = 0x4018_2103;
const SET_FLAGS: libc::c_ulong = 0x4008_2104;
const SYNC_WAKE_UP: libc::c_ulong = 1;

/// A call that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Call {
    id: u64,
    /// The calling thread.
    thread: i32,
    number: libc::c_long,
    arguments: [u64; 6],
}

/// What a caller gets.
#[derive(Debug)]
enum Answer {
    /// The kernel does the call.
    LetThrough,
    /// The call's result.
    Value(i64),
    /// The call fails.
    Error(i32),
    /// The call gives a descriptor.
    Descriptor {
        /// What it leads to.
        file: OwnedFd,
        /// Whether exec closes it.
        close_on_exec: bool,
    },
}

/// Who a process is, as far as the kernel asks before it shows its memory.
type Ids = (u32, u32);

/// Everything that an answer needs.
pub(super) struct Supervisor {
    listener: OwnedFd,
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
    memory: memory::Memory,
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
            memory: memory::Memory::default(),
            links_made: AtomicU64::new(0),
            listener,
        };
        // The caller is woken on our processor, which halves the way there and back. (Linux 6.6; else nothing.)
        // SAFETY: a call on our own descriptor that passes a number.
        unsafe { libc::ioctl(supervisor.listener.as_raw_fd(), SET_FLAGS, SYNC_WAKE_UP) };
        let supervisor = Arc::new(supervisor);
        std::thread::Builder::new().name("supervisor".to_owned()).spawn(move || supervisor.serve())?;
        Ok(())
    }

    fn serve(self: &Arc<Self>) {
        let mut others: BTreeMap<Ids, mpsc::Sender<Call>> = BTreeMap::new();
        while let Some(call) = self.receive() {
            match self.answer(&call) {
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => self.pass_on(call, &mut others),
                other => self.reply(&call, other),
            }
        }
    }

    /// Gives a call to the thread that has the caller's ids.
    fn pass_on(self: &Arc<Self>, call: Call, others: &mut BTreeMap<Ids, mpsc::Sender<Call>>) {
        let ids = ids_of(call.thread);
        let Some(ids) = ids.filter(|(uid, _)| *uid != 0) else {
            // The process changed its ids and has not started a program since: the kernel shows nothing of it.
            return self.reply(&call, Ok(Answer::LetThrough));
        };
        let sender = others.entry(ids).or_insert_with(|| {
            let (sender, receiver) = mpsc::channel::<Call>();
            let supervisor = Arc::clone(self);
            std::thread::spawn(move || {
                let same = become_other(ids);
                for call in receiver {
                    let answer = if same { supervisor.answer(&call) } else { Ok(Answer::LetThrough) };
                    supervisor.reply(&call, answer);
                }
            });
            sender
        });
        if sender.send(call).is_err() {
            self.reply(&call, Ok(Answer::LetThrough));
        }
    }

    /// The next call; none when every process under the filter is gone.
    fn receive(&self) -> Option<Call> {
        loop {
            let mut fds = [rustix::event::PollFd::new(&self.listener, rustix::event::PollFlags::IN)];
            match rustix::event::poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return None,
                Ok(_) => {}
            }
            if !fds[0].revents().contains(rustix::event::PollFlags::IN) {
                return None;
            }
            // SAFETY: all zeros is a valid value, and what the kernel asks for.
            let mut received: libc::seccomp_notif = unsafe { std::mem::zeroed() };
            // SAFETY: `received` is what this request fills in, and lives until it returns.
            let result = unsafe { libc::ioctl(self.listener.as_raw_fd(), RECEIVE, &raw mut received) };
            if result == 0 {
                return Some(Call {
                    id: received.id,
                    thread: received.pid.cast_signed(),
                    number: libc::c_long::from(received.data.nr),
                    arguments: received.data.args,
                });
            }
            // The caller died meanwhile (ENOENT), or a signal came.
            let error = io::Error::last_os_error().raw_os_error();
            if !matches!(error, Some(libc::ENOENT | libc::EINTR)) {
                return None;
            }
        }
    }

    /// Whether the caller still waits: its number has not been given to another process.
    fn is_valid(&self, call: &Call) -> bool {
        let id = call.id;
        // SAFETY: `id` lives until the request returns.
        unsafe { libc::ioctl(self.listener.as_raw_fd(), IS_VALID, &raw const id) == 0 }
    }

    fn reply(&self, call: &Call, answer: io::Result<Answer>) {
        let answer = answer.unwrap_or_else(|error| match error.raw_os_error() {
            Some(libc::EPERM) | None => Answer::LetThrough,
            Some(code) => Answer::Error(code),
        });
        let mut response = libc::seccomp_notif_resp { id: call.id, val: 0, error: 0, flags: 0 };
        match answer {
            Answer::LetThrough => {
                response.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE.try_into().unwrap_or(1);
            }
            Answer::Value(value) => response.val = value,
            Answer::Error(code) => response.error = -code,
            Answer::Descriptor { file, close_on_exec } => match self.hand_over(call, &file, close_on_exec) {
                Ok(number) => response.val = number,
                Err(error) => response.error = -error.raw_os_error().unwrap_or(libc::EIO),
            },
        }
        // The caller may have died meanwhile, which is its own affair.
        // SAFETY: `response` is what this request reads, and lives until it returns.
        unsafe { libc::ioctl(self.listener.as_raw_fd(), SEND, &raw mut response) };
    }

    /// Puts a descriptor into the caller, and gives its number there.
    fn hand_over(&self, call: &Call, file: &OwnedFd, close_on_exec: bool) -> io::Result<i64> {
        let flags = if close_on_exec { libc::O_CLOEXEC.cast_unsigned() } else { 0 };
        let mut request = libc::seccomp_notif_addfd {
            id: call.id,
            flags: 0,
            srcfd: file.as_raw_fd().cast_unsigned(),
            newfd: 0,
            newfd_flags: flags,
        };
        // SAFETY: `request` is what this request reads, and lives until it returns.
        let number = unsafe { libc::ioctl(self.listener.as_raw_fd(), ADD_DESCRIPTOR, &raw mut request) };
        if number < 0 { Err(io::Error::last_os_error()) } else { Ok(number.into()) }
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
