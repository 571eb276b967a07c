//! The user namespace that a whole build runs in.
//!
//! In it the build is root over a range of ids: it may mount, chown and make whiteouts, and so may what it runs, and
//! none of that reaches beyond what the user could do before. Where we hold `CAP_SETUID` and `CAP_SETGID` we write
//! the map ourselves, every id onto itself; else `newuidmap` and `newgidmap` write one from /etc/subuid.

#![allow(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::process::{Command, ExitStatus};

use rustix::io::FdFlags;
use rustix::mount::MountPropagationFlags;
use rustix::process::{Gid, Signal, Uid};
use rustix::thread::UnshareFlags;

/// First argument of the program when it is started to run a build in a new user namespace. The numbers of two
/// pipes follow, then why there is one id only or nothing, then the arguments of the build.
pub const NAMESPACE_ARGUMENT: &str = "__userns";

/// Why no user namespace with a range of ids can be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    /// What was tried, and what the kernel answered.
    pub reason: String,
    /// What would change it.
    pub help: String,
}

/// Which ids a namespace has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ids {
    /// All that can be had: a range.
    Range,
    /// Root only, which stands for the user; and why.
    One(String),
}

/// Starts this program again in a new user namespace, with the same arguments, and waits for it.
///
/// # Errors
/// Fails where no namespace with a range of ids can be had; nothing has been run then.
pub fn run_inside(arguments: &[OsString], ids: &Ids) -> Result<ExitStatus, Refused> {
    let program =
        std::env::current_exe().map_err(|e| refused(format!("cannot find the program itself: {e}"), ""))?;
    let (mut from_child, ready) = pipe()?;
    let (go, mut to_child) = pipe()?;
    let mut command = Command::new(program);
    command.arg(NAMESPACE_ARGUMENT).arg(ready.as_raw_fd().to_string()).arg(go.as_raw_fd().to_string());
    command.arg(if let Ids::One(reason) = ids { reason } else { "" }).args(arguments);
    for end in [ready.as_fd(), go.as_fd()] {
        rustix::io::fcntl_setfd(end, FdFlags::empty())
            .map_err(|e| refused(format!("cannot share a pipe: {e}"), ""))?;
    }
    let mut child =
        command.spawn().map_err(|e| refused(format!("cannot start the program again: {e}"), ""))?;
    drop((ready, go));
    let mut answer = String::new();
    let mut one = [0; 1];
    let _ = from_child.read(&mut one);
    let result = if &one == b"+" {
        match ids {
            Ids::Range => write_maps(child.id()),
            Ids::One(_) => write_map_of_one(child.id()),
        }
    } else {
        let _ = from_child.read_to_string(&mut answer);
        Err(refused(
            format!("a user namespace cannot be made: {}", answer.trim()),
            "run where user namespaces are allowed (Kubernetes: no `seccompProfile`, or `Unconfined`; Docker: \
             `--security-opt seccomp=unconfined`; hosts: `sysctl user.max_user_namespaces` above 0, and \
             `kernel.apparmor_restrict_unprivileged_userns=0` on Ubuntu)",
        ))
    };
    if let Err(refusal) = result {
        let _ = child.kill();
        let _ = child.wait();
        return Err(refusal);
    }
    let _ = to_child.write_all(b"+");
    drop(to_child);
    child.wait().map_err(|e| refused(format!("cannot wait for the build: {e}"), ""))
}

/// Enters the namespace, in the process that [`run_inside`] started. Must be called while the process has one thread.
///
/// # Errors
/// Fails where the namespace cannot be made or the parent gave up; the parent has been told, and the process should
/// end without a word.
pub fn enter(ready: &OsStr, go: &OsStr) -> std::io::Result<()> {
    let mut ready = inherited(ready)?;
    let mut go = inherited(go)?;
    // SAFETY: the caller promises one thread; no file descriptor table is unshared.
    if let Err(error) = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) }
    {
        let error = std::io::Error::from(error);
        let _ = write!(ready, "-{error}");
        return Err(error);
    }
    let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    if let Err(error) = rustix::mount::mount_change("/", private) {
        let error = std::io::Error::from(error);
        let _ = write!(ready, "-there are no mounts in it: {error}");
        return Err(error);
    }
    ready.write_all(b"+")?;
    drop(ready);
    let mut one = [0; 1];
    go.read_exact(&mut one)?;
    let root = (Gid::ROOT, Uid::ROOT);
    rustix::thread::set_thread_res_gid(root.0, root.0, root.0)?;
    rustix::thread::set_thread_res_uid(root.1, root.1, root.1)?;
    // Changing ids clears the death signal, so it is set after them.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

fn inherited(number: &OsStr) -> std::io::Result<File> {
    let number: RawFd = number
        .to_str()
        .and_then(|n| n.parse().ok())
        .filter(|n| *n > 2)
        .ok_or(std::io::ErrorKind::InvalidInput)?;
    // SAFETY: `run_inside` passes the numbers of two pipes that it opened for this and that nobody else here owns.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
    Ok(File::from(fd))
}

/// Maps ids for a process that has made its user namespace.
fn write_maps(pid: u32) -> Result<(), Refused> {
    let direct = ["uid", "gid"].into_iter().try_for_each(|kind| {
        let own = std::fs::read_to_string(format!("/proc/self/{kind}_map"))?;
        std::fs::write(format!("/proc/{pid}/{kind}_map"), identity(&own))
    });
    let Err(error) = direct else { return Ok(()) };
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    for (tool, file, own) in [("newuidmap", "/etc/subuid", uid), ("newgidmap", "/etc/subgid", gid)] {
        subordinate_map(tool, file, uid, own, pid).map_err(|reason| {
            refused(
                format!("no range of ids can be had: writing the map directly answered `{error}`, and {reason}"),
                "run as root in the container; or install `uidmap` and give the user a line in /etc/subuid and \
                 /etc/subgid",
            )
        })?;
    }
    Ok(())
}

/// Our own id becomes root; there is no other.
fn write_map_of_one(pid: u32) -> Result<(), Refused> {
    let write = |name: &str, text: String| std::fs::write(format!("/proc/{pid}/{name}"), text);
    write("setgroups", "deny".to_owned())
        .and_then(|()| write("uid_map", format!("0 {} 1", rustix::process::geteuid().as_raw())))
        .and_then(|()| write("gid_map", format!("0 {} 1", rustix::process::getegid().as_raw())))
        .map_err(|error| refused(format!("a namespace with one id cannot be had: {error}"), ""))
}

/// Every id of our own namespace onto itself.
fn identity(own: &str) -> String {
    let line = |line: &str| {
        let mut fields = line.split_whitespace();
        let (inside, length) = (fields.next()?, fields.nth(1)?);
        Some(format!("{inside} {inside} {length}\n"))
    };
    own.lines().filter_map(line).collect()
}

/// Our own id becomes root, the subordinate ids follow.
fn subordinate_map(tool: &str, file: &str, uid: u32, own: u32, pid: u32) -> Result<(), String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("`{file}` cannot be read ({e})"))?;
    let name = user_name(uid);
    let range = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        let (start, count) = (fields.next()?.trim(), fields.next()?.trim());
        (owner == uid.to_string() || Some(owner) == name.as_deref())
            .then(|| (start.to_owned(), count.to_owned()))
    });
    let (start, count) = range.ok_or_else(|| format!("`{file}` has no line for the user {uid}"))?;
    let output = Command::new(tool)
        .args([&pid.to_string(), "0", &own.to_string(), "1", "1", &start, &count])
        .output()
        .map_err(|e| format!("`{tool}` cannot be run ({e})"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("`{tool}` failed ({})", String::from_utf8_lossy(&output.stderr).trim()))
}

fn user_name(uid: u32) -> Option<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    })
}

fn pipe() -> Result<(std::io::PipeReader, std::io::PipeWriter), Refused> {
    std::io::pipe().map_err(|e| refused(format!("cannot make a pipe: {e}"), ""))
}

fn refused(reason: String, help: &str) -> Refused {
    Refused { reason, help: help.to_owned() }
}

#[cfg(test)]
mod tests {
    #[test]
    fn identity_maps_what_we_have() {
        assert_eq!(super::identity("         0          0 4294967295\n"), "0 0 4294967295\n");
        assert_eq!(super::identity("0 100000 65536\n65536 7 1\n"), "0 0 65536\n65536 65536 1\n");
    }
}
