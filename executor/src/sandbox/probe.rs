//! What this place allows, found out by doing it.
//!
//! Every probe runs in a process of its own, started from this program again, because most of them cannot be undone.

#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{AtFlags, FileType, Mode, StatxFlags, XattrFlags};
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::thread::UnshareFlags;

use super::landlock;
use super::seccomp::Filter;
use super::userns::Refused;

/// First argument of the program when it is started to try something. The name of a probe and a folder follow.
pub const PROBE_ARGUMENT: &str = "__probe";

/// Something that a container may allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A user namespace of our own.
    UserNamespace,
    /// Mounts in it.
    Mount,
    /// Stacked directories whose upper one lies in the folder.
    Overlay,
    /// chroot(2).
    Chroot,
    /// Giving files to other owners.
    Chown,
    /// Becoming another user.
    SetIds,
    /// Making device nodes that work.
    Devices,
    /// File capabilities.
    Capabilities,
    /// A filter of system calls with a supervisor.
    Supervisor,
    /// Reading a child's memory.
    ReadChild,
    /// Confining a command to files.
    Landlock,
    /// Keeping a command's signals in.
    LandlockSignals,
    /// A network namespace.
    Network,
    /// Answers for other ids than root's, in a user namespace that has one.
    OneId,
}

impl Probe {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 14] = [
        Self::UserNamespace,
        Self::Mount,
        Self::Overlay,
        Self::Network,
        Self::OneId,
        Self::Chroot,
        Self::Chown,
        Self::SetIds,
        Self::Supervisor,
        Self::ReadChild,
        Self::Devices,
        Self::Capabilities,
        Self::Landlock,
        Self::LandlockSignals,
    ];

    /// The name, one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::UserNamespace => "user-namespace",
            Self::Mount => "mount",
            Self::Overlay => "overlay",
            Self::Chroot => "chroot",
            Self::Chown => "chown",
            Self::SetIds => "setuid",
            Self::Devices => "mknod",
            Self::Capabilities => "file-capabilities",
            Self::Supervisor => "seccomp-notify",
            Self::ReadChild => "read-child-memory",
            Self::Landlock => "landlock",
            Self::LandlockSignals => "landlock-signals",
            Self::Network => "network-namespace",
            Self::OneId => "recorded-owners",
        }
    }

    /// Tries it, in a process of its own; `folder` is where it may write.
    ///
    /// # Errors
    /// Gives what the kernel answered.
    pub fn run(self, program: &Path, folder: &Path) -> Result<(), String> {
        let output = Command::new(program)
            .arg(PROBE_ARGUMENT)
            .arg(self.name())
            .arg(folder)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Err(if text.is_empty() { output.status.to_string() } else { text })
    }

    fn attempt(self, folder: &Path) -> io::Result<()> {
        match self {
            Self::UserNamespace => unshare(UnshareFlags::NEWUSER),
            Self::Network => {
                own_user_namespace(UnshareFlags::NEWNET)?;
                super::child::loopback_up()
            }
            Self::OneId => {
                own_user_namespace(UnshareFlags::NEWNS)?;
                mount_overlay(folder)?;
                record_owner(&folder.join("root/file"))
            }
            Self::Mount => {
                own_user_namespace(UnshareFlags::NEWNS)?;
                mount_something(folder)
            }
            Self::Overlay => {
                own_user_namespace(UnshareFlags::NEWNS)?;
                mount_overlay(folder)
            }
            Self::Chroot => Ok(rustix::process::chroot("/")?),
            Self::Chown => {
                let path = folder.join("chown");
                std::fs::write(&path, "")?;
                std::os::unix::fs::chown(&path, Some(12345), Some(12345))
            }
            // SAFETY: changes the ids of this process, which ends right after it.
            Self::SetIds => match unsafe { libc::setresuid(12345, 12345, 12345) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            },
            Self::Devices => {
                let path = folder.join("null");
                let device = rustix::fs::makedev(1, 3);
                rustix::fs::mknodat(
                    rustix::fs::CWD,
                    &path,
                    FileType::CharacterDevice,
                    Mode::from(0o666),
                    device,
                )?;
                std::fs::File::options().write(true).open(&path).map(drop)
            }
            Self::Capabilities => {
                let path = folder.join("capable");
                std::fs::write(&path, "")?;
                // Version 2, with CAP_NET_BIND_SERVICE permitted.
                let value = [0, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                Ok(rustix::fs::setxattr(&path, "security.capability", &value, XattrFlags::empty())?)
            }
            Self::Supervisor => {
                renounce_privileges()?;
                let filter = Filter { without_sync: true, notified: vec![libc::SYS_swapon.into()] };
                filter.install().map(drop)
            }
            Self::ReadChild => read_child(),
            Self::Landlock => {
                landlock::version().map(drop).ok_or_else(|| io::Error::from_raw_os_error(libc::EOPNOTSUPP))
            }
            Self::LandlockSignals if landlock::keeps_signals_in() => Ok(()),
            Self::LandlockSignals => Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
        }
    }
}

/// The whole of a process that tries something: gives its exit code. Must be called while the process has one thread.
pub fn main(name: &OsStr, folder: &OsStr) -> i32 {
    let probe = Probe::ALL.into_iter().find(|probe| name == probe.name());
    let result = match probe {
        Some(probe) => probe.attempt(Path::new(folder)),
        None => Err(io::Error::from(io::ErrorKind::InvalidInput)),
    };
    match result {
        Ok(()) => 0,
        Err(error) => {
            let _ = io::Write::write_all(&mut io::stdout(), error.to_string().as_bytes());
            1
        }
    }
}

/// Whether the rung `chroot` can be had; `folder` is a directory of the store's disk that is empty.
///
/// # Errors
/// Says what cannot be had.
pub fn chroot(program: &Path, folder: &Path) -> Result<(), Refused> {
    for probe in [Probe::Chroot, Probe::Chown, Probe::SetIds, Probe::Supervisor, Probe::ReadChild] {
        probe.run(program, folder).map_err(|error| Refused {
            reason: format!("{} is not allowed ({error})", probe.name()),
            help: "run the container as root, with Docker's default capabilities; graphs without RUN are built by any \
                   user"
                .to_owned(),
        })?;
    }
    Ok(())
}

fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: this process has one thread; no file descriptor table is unshared.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// Makes namespaces, in a user namespace of our own where that can be had: one id is mapped, as root.
fn own_user_namespace(flags: UnshareFlags) -> io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if let Err(error) = unshare(UnshareFlags::NEWUSER | flags) {
        return unshare(flags).map_err(|_| error);
    }
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}

fn mount_something(folder: &Path) -> io::Result<()> {
    rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    Ok(rustix::mount::mount("tmpfs", folder, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"")?)
}

fn mount_overlay(folder: &Path) -> io::Result<()> {
    rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    rustix::process::chdir(folder)?;
    for name in ["lower", "upper", "work", "root"] {
        std::fs::create_dir(name)?;
    }
    let options = c"lowerdir=lower,upperdir=upper,workdir=work,userxattr";
    Ok(rustix::mount::mount("overlay", "root", "overlay", MountFlags::empty(), options)?)
}

/// Does what the supervisor of one id does.
fn record_owner(path: &Path) -> io::Result<()> {
    std::fs::write(path, "")?;
    rustix::fs::setxattr(path, crate::owner::OWNER_XATTR, b"1 1", XattrFlags::empty())?;
    let born = StatxFlags::BTIME;
    if rustix::fs::statx(rustix::fs::CWD, path, AtFlags::empty(), born)?.stx_mask & born.bits() == 0 {
        return Err(io::Error::other("the disk does not know when a file was made"));
    }
    // The thread's own; others ask for the same right.
    std::fs::write("/proc/self/timerslack_ns", "50001")?;
    read_child()?;
    let filter = Filter { without_sync: true, notified: vec![libc::SYS_swapon.into()] };
    filter.install().map(drop)
}

fn renounce_privileges() -> io::Result<()> {
    // SAFETY: sets an attribute of this process.
    match unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn read_child() -> io::Result<()> {
    let value = 0x6b61_6972_u64;
    // SAFETY: this process has one thread; the child waits and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: waits for a signal, and ends.
        unsafe {
            libc::pause();
            libc::_exit(0)
        }
    }
    if child < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut bytes = [0_u8; 8];
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: 8 };
    let remote = libc::iovec { iov_base: (&raw const value).cast_mut().cast(), iov_len: 8 };
    // SAFETY: `local` describes `bytes`; the child has the same address space layout, and is ended and waited for.
    let read = unsafe {
        let read = libc::process_vm_readv(child, &raw const local, 1, &raw const remote, 1, 0);
        let error = io::Error::last_os_error();
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, std::ptr::null_mut(), 0);
        if read < 0 { Err(error) } else { Ok(()) }
    };
    read.and_then(|()| {
        if u64::from_ne_bytes(bytes) == value { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    })
}
