//! Process 1 of a RUN: builds the root, starts the command, reaps until it ends.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, WaitOptions};
use rustix::thread::CapabilitySet;

use super::seccomp::Filter;
use super::{Plan, Report, exec, identity, mounts};
use crate::users;

/// The most bytes of /etc/passwd and /etc/group that are read.
const MAX_PASSWD_BYTES: u64 = 16 * 1024 * 1024;

/// What a container's root may do, as in Docker and BuildKit (capability mask 0xa80425fb).
const CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::AUDIT_WRITE)
    .union(CapabilitySet::SETFCAP);

/// Runs the plan to the command's end.
/// `listener_to` is where the supervisor's end of the filter is sent to, where there is one.
pub(crate) fn main(plan: &Plan, layers: usize, listener_to: OwnedFd) -> Report {
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        return refused("ask for a signal", &error.into());
    }
    let stubs = match mounts::enter_root(plan, layers) {
        Ok(stubs) => stubs,
        Err(refusal) => return refused(&refusal.what, &refusal.error),
    };
    if let Err(error) = rustix::system::sethostname(plan.hostname.as_bytes()) {
        return refused("set the host name", &error.into());
    }
    if plan.without_network
        && let Err(error) = super::child::loopback_up()
    {
        return refused("switch the loopback device on", &error);
    }
    let command = prepare(plan).and_then(|mut command| {
        let notified = plan.one_id.as_ref().map(identity::calls).unwrap_or_default();
        if !notified.is_empty() {
            identity::be_root();
            command.listener_to = Some(listener_to);
        }
        command.filter = Filter { without_sync: !plan.sync, notified };
        command.start()
    });
    match command {
        Ok(pid) => reap(pid, &stubs),
        Err(reason) => Report::NotStarted { reason },
    }
}

/// In the command's root: finds its user, makes its directory and takes the rights from this process that no container
/// has. The error is for the user.
pub(super) fn prepare(plan: &Plan) -> Result<exec::Prepared, String> {
    let user = users::resolve_user(&plan.user, &read("/etc/passwd"), &read("/etc/group"))
        .map_err(|error| error.to_string())?;
    std::fs::create_dir_all(&plan.cwd)
        .map_err(|error| format!("the working directory `{}`: {error}", plan.cwd))?;
    let dropped =
        if plan.insecure { CapabilitySet::empty() } else { CapabilitySet::all().difference(CAPABILITIES) };
    for capability in dropped.iter() {
        // A capability that this kernel does not know cannot be had either.
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
    let mut env = plan.env.clone();
    if !env.iter().any(|(name, _)| name == "HOME") {
        env.push(("HOME".to_owned(), user.home.clone()));
    }
    exec::Prepared::new(&plan.args, &env, &plan.cwd, &user)
}

/// Waits for everything that ends, until the command does.
fn reap(command: Pid, stubs: &[PathBuf]) -> Report {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == command => return Report::of_status(status, stubs.to_vec()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return refused("wait for the command", &error.into()),
        }
    }
}

/// Reads a regular file of the image, as far as it makes sense; a missing one is empty.
fn read(path: &str) -> String {
    let mut bytes = Vec::new();
    if Path::new(path).metadata().is_ok_and(|metadata| metadata.is_file())
        && let Ok(file) = std::fs::File::open(path)
    {
        let _ = file.take(MAX_PASSWD_BYTES).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn refused(what: &str, error: &std::io::Error) -> Report {
    let overlay = what.contains("overlay");
    let help = if overlay && error.raw_os_error() == Some(libc::EINVAL) {
        "the store must not lie on an overlay file system, and the kernel must be 5.11 or newer: point `--kairn-root` \
         at a volume"
    } else {
        "run where a user namespace may mount: Kubernetes without `seccompProfile`, Docker with \
         `--security-opt seccomp=unconfined`, no AppArmor profile that denies mounts"
    };
    Report::Refused { reason: format!("the sandbox of a RUN cannot {what}: {error}"), help: help.to_owned() }
}
