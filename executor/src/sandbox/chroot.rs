//! The rung `chroot`: root without the right to mount or to make namespaces, as in a stock Docker container.
//!
//! The command's root is a directory of its own, entered by chroot(2). What other rungs mount is put in place by
//! renaming, and taken away again when the command is over. There is no /proc in it: a [`supervisor`] answers for it.
//! Landlock keeps the command to its directory, also where a descriptor would lead out of it.

#![allow(unsafe_code)]

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};

use super::landlock::{self, Access};
use super::place::Placed;
use super::seccomp::Filter;
use super::{Plan, Report, init, supervisor};

/// Runs the plan to the command's end, and everything that the command started.
pub(crate) fn supervise(plan: &Plan, root: &Path) -> Report {
    // Orphans of the command become ours, so that they can be found at its end.
    // SAFETY: sets an attribute of this process.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    let mut placed = match Placed::place(plan, root) {
        Ok(placed) => placed,
        Err(refusal) => return refused(&refusal.what, &refusal.error),
    };
    let report = run(plan, root, &placed);
    end_descendants();
    match placed.take_away() {
        Ok(()) => report,
        Err(refusal) => refused(&refusal.what, &refusal.error),
    }
}

fn run(plan: &Plan, root: &Path, placed: &Placed) -> Report {
    let (Ok((mut answer, mut answer_end)), Ok((ours, theirs))) = (std::io::pipe(), UnixStream::pair()) else {
        return refused("make a pipe", &std::io::Error::last_os_error());
    };
    // SAFETY: this process has one thread, so the child may go on as any program would.
    match unsafe { libc::fork() } {
        -1 => refused("fork", &std::io::Error::last_os_error()),
        0 => {
            drop((answer, ours));
            let report = become_command(plan, root, theirs.into());
            let _ = serde_json::to_vec(&report).map(|bytes| answer_end.write_all(&bytes));
            // SAFETY: ends this process at once; there is nothing to unwind in a forked child.
            unsafe { libc::_exit(127) }
        }
        child => {
            drop((answer_end, theirs));
            let child = Pid::from_raw(child).expect("fork gives the parent a positive number");
            let supervisor = receive_descriptor(&ours)
                .map(|listener| supervisor::Supervisor::start(listener, child, root, plan, placed))
                .transpose();
            if let Err(error) = supervisor {
                let _ = rustix::process::kill_process(child, Signal::KILL);
                return refused("answer for /proc", &error);
            }
            let mut bytes = Vec::new();
            let _ = answer.read_to_end(&mut bytes);
            if let Ok(report) = serde_json::from_slice(&bytes) {
                return report;
            }
            super::child::wait_or_stop(child, None);
            wait_for(child)
        }
    }
}

/// In the child: everything up to the command. Returns only where something failed.
fn become_command(plan: &Plan, root: &Path, listener_to: OwnedFd) -> Report {
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        return refused("ask for a signal", &error.into());
    }
    // SAFETY: sets an attribute of this process. The kernel wants it before a filter may be installed.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } < 0 {
        return refused("renounce new privileges", &std::io::Error::last_os_error());
    }
    let mut places = vec![(root, Access::All)];
    for place in ["/proc", "/sys", "/dev"] {
        places.push((Path::new(place), Access::Use));
    }
    if let Err(error) = landlock::confine(&places) {
        return refused("confine the command", &error);
    }
    if let Err(error) = rustix::process::chroot(root).and_then(|()| rustix::process::chdir("/")) {
        return refused("enter its root", &error.into());
    }
    match init::prepare(plan) {
        Ok(mut command) => {
            command.filter = Filter {
                without_sync: !plan.sync,
                notified: supervisor::calls().into_iter().map(Into::into).collect(),
            };
            command.listener_to = Some(listener_to);
            let (what, error) = command.exec();
            Report::NotStarted { reason: format!("{what}: {error}") }
        }
        Err(reason) => Report::NotStarted { reason },
    }
}

/// Receives the descriptor that the child sends when it is under the filter.
pub(super) fn receive_descriptor(from: &UnixStream) -> Option<OwnedFd> {
    let mut byte = [0_u8; 1];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = rustix::net::RecvAncillaryBuffer::new(&mut space);
    loop {
        let mut parts = [std::io::IoSliceMut::new(&mut byte)];
        let flags = rustix::net::RecvFlags::CMSG_CLOEXEC;
        match rustix::net::recvmsg(from, &mut parts, &mut ancillary, flags) {
            Err(Errno::INTR) => {}
            Err(_) => return None,
            Ok(_) => break,
        }
    }
    ancillary.drain().find_map(|message| match message {
        rustix::net::RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    })
}

/// Sends a descriptor to the other end of a socket.
pub(super) fn send_descriptor(to: &OwnedFd, descriptor: &OwnedFd) -> rustix::io::Result<()> {
    let descriptors = [descriptor.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = rustix::net::SendAncillaryBuffer::new(&mut space);
    ancillary.push(rustix::net::SendAncillaryMessage::ScmRights(&descriptors));
    let parts = [std::io::IoSlice::new(b"+")];
    rustix::net::sendmsg(to, &parts, &mut ancillary, rustix::net::SendFlags::empty())?;
    Ok(())
}

fn wait_for(command: Pid) -> Report {
    loop {
        match rustix::process::waitpid(Some(command), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Report::of_status(status, Vec::new()),
            Ok(None) | Err(Errno::INTR) => {}
            Err(error) => return refused("wait for the command", &error.into()),
        }
    }
}

/// Ends every process that the command left: they are this process's children by now, or children of those.
fn end_descendants() {
    loop {
        for child in children() {
            let _ = rustix::process::kill_process(child, Signal::KILL);
        }
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// The children of this process.
fn children() -> Vec<Pid> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter(|pid| supervisor::parent_of(*pid) == Some(own)).filter_map(Pid::from_raw).collect()
}

fn refused(what: &str, error: &std::io::Error) -> Report {
    Report::Refused {
        reason: format!("the sandbox of a RUN cannot {what}: {error}"),
        help: "see `kairn doctor` for what this container allows".to_owned(),
    }
}

/// Opens a directory as a place to work from.
pub(super) fn open_directory(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// The path of a place below a root, as seen in that root.
pub(super) fn inside(root: &Path, path: &Path) -> Option<PathBuf> {
    path.strip_prefix(root).ok().map(|rest| Path::new("/").join(rest))
}
