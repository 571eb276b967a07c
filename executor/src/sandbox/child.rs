//! The helper that stands between the build and a RUN's init.

#![allow(unsafe_code)]

use std::fs::File;
use std::io::{BufRead as _, Read as _, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use rustix::thread::UnshareFlags;

use super::identity::Identity;
use super::{End, Plan, Report, Root, chroot, identity, init};

/// The whole of the helper: reads a plan from standard input, runs it, leaves a report in the plan's work folder.
///
/// Gives the process's exit code. Must be called while the process has one thread.
pub fn main() -> i32 {
    let mut line = Vec::new();
    if std::io::stdin().lock().read_until(b'\n', &mut line).is_err() {
        return 3;
    }
    let Ok(plan) = serde_json::from_slice::<Plan>(&line) else { return 3 };
    // Opened now: init's new root becomes this process's root as well.
    let Ok(mut file) = File::create(plan.work.join("report")) else { return 3 };
    // A command may fill the disk; the report must have its place by then. (JSON ends in blanks as well as without.)
    if file.write_all(&[b' '; 16 * 1024]).is_err() {
        return 3;
    }
    // Nobody may look into this process, which knows the secrets of the step.
    // SAFETY: sets an attribute of this process.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    let report = match &plan.root {
        Root::Overlay { lowers, upper } => supervise(&plan, lowers.len(), upper),
        Root::Directory(root) => chroot::supervise(&plan, root),
    };
    let written = serde_json::to_vec(&report).map_err(std::io::Error::from).and_then(|bytes| {
        file.rewind()?;
        file.write_all(&bytes)
    });
    i32::from(written.is_err()) * 3
}

fn supervise(plan: &Plan, layers: usize, upper: &Path) -> Report {
    let mut namespaces =
        UnshareFlags::NEWNS | UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    if plan.without_network {
        namespaces |= UnshareFlags::NEWNET;
    }
    // SAFETY: this process has one thread; no file descriptor table is unshared.
    if let Err(error) = unsafe { rustix::thread::unshare_unsafe(namespaces) } {
        return refused(&format!("cannot make the namespaces of a RUN: {}", std::io::Error::from(error)));
    }
    let (Ok((mut report, report_end)), Ok((ours, theirs))) = (std::io::pipe(), UnixStream::pair()) else {
        return refused("cannot make a pipe");
    };
    let Ok(upper) = chroot::open_directory(upper) else { return refused("cannot open a directory") };
    if plan.one_id.is_some()
        && let Err(error) = identity::prepare()
    {
        return refused(&format!("cannot enter /proc: {error}"));
    }
    // SAFETY: this process has one thread, so the child may go on as any program would.
    match unsafe { libc::fork() } {
        -1 => refused(&format!("cannot fork: {}", std::io::Error::last_os_error())),
        0 => {
            drop((report, ours));
            let answer = init::main(plan, layers, theirs.into());
            let mut report_end = report_end;
            let _ = serde_json::to_vec(&answer).map(|bytes| report_end.write_all(&bytes));
            // SAFETY: ends this process at once; there is nothing to unwind in a forked child.
            unsafe { libc::_exit(0) }
        }
        child => {
            drop((report_end, theirs));
            let child = Pid::from_raw(child).expect("fork gives the parent a positive number");
            let answering = plan.one_id.as_ref().and_then(|one_id| {
                let listener = chroot::receive_descriptor(&ours)?;
                Some(Identity::new(listener, child, upper, one_id))
            });
            let mut answering = match answering.transpose() {
                Ok(answering) => answering,
                Err(error) => {
                    let _ = rustix::process::kill_process(child, Signal::KILL);
                    return refused(&format!("cannot answer for other ids than root's: {error}"));
                }
            };
            wait_or_stop(child, answering.as_mut());
            while let Err(rustix::io::Errno::INTR) =
                rustix::process::waitpid(Some(child), WaitOptions::empty())
            {}
            let mut bytes = Vec::new();
            let _ = report.read_to_end(&mut bytes);
            // Without a report init was killed: by us, because the build is over, or by the kernel.
            let killed = Report::Ended { end: End::Signalled(9), stubs: Vec::new(), owners: Vec::new() };
            let mut report = serde_json::from_slice(&bytes).unwrap_or(killed);
            if let (Report::Ended { owners, .. }, Some(answering)) = (&mut report, answering) {
                *owners = answering.into_owners();
            }
            report
        }
    }
}

/// Waits until a child has ended, and brings its end about when standard input closes; answers calls meanwhile.
///
/// (A process that made a process namespace for its children can have no second thread.)
pub(super) fn wait_or_stop(child: Pid, mut answering: Option<&mut Identity>) {
    let stdin = std::io::stdin();
    let Ok(pidfd) = rustix::process::pidfd_open(child, PidfdFlags::empty()) else { return };
    loop {
        let mut fds = vec![
            PollFd::new(&stdin, PollFlags::empty()),
            PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN),
        ];
        if let Some(identity) = &answering {
            fds.push(PollFd::new(&identity.listener, PollFlags::IN));
        }
        match rustix::event::poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
            Ok(_) => {}
        }
        if !fds[0].revents().is_empty() {
            let _ = rustix::process::kill_process(child, Signal::KILL);
            return;
        }
        if !fds[1].revents().is_empty() {
            return;
        }
        let asked = fds.get(2).is_some_and(|listener| !listener.revents().is_empty());
        drop(fds);
        if asked && answering.as_mut().is_some_and(|identity| identity.serve().is_err()) {
            answering = None;
        }
    }
}

fn refused(reason: &str) -> Report {
    let help = "run where namespaces are allowed: Kubernetes without `seccompProfile`, or Docker with \
                `--security-opt seccomp=unconfined`";
    Report::Refused { reason: reason.to_owned(), help: help.to_owned() }
}

/// Switches the loopback device on, the only one of a new network namespace.
pub(crate) fn loopback_up() -> std::io::Result<()> {
    // SAFETY: plain system calls; `request` outlives them, and its name is cut to the field with its NUL.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if socket < 0 {
            return Err(std::io::Error::last_os_error());
        }
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
            *to = from.cast_signed();
        }
        #[expect(clippy::cast_possible_truncation, reason = "the flags are bits of the low half")]
        let flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        request.ifr_ifru.ifru_flags = flags;
        let result = libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request);
        let error = std::io::Error::last_os_error();
        libc::close(socket);
        if result < 0 { Err(error) } else { Ok(()) }
    }
}

/// Opens a file for the life of the process without passing it to the command.
pub(crate) fn open_null() -> std::io::Result<File> {
    File::open("/dev/null")
}
