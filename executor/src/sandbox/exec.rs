//! The last steps before the user's command: a fork, other ids, and exec.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::ptr;

use rustix::process::Pid;

use super::seccomp::Filter;
use crate::users::User;

/// Everything that exec needs, made before the fork.
pub(crate) struct Prepared {
    candidates: Vec<CString>,
    args: Vec<CString>,
    env: Vec<CString>,
    cwd: CString,
    groups: Vec<libc::gid_t>,
    uid: libc::uid_t,
    gid: libc::gid_t,
    null: File,
    /// What the command may not do, or not alone.
    pub(crate) filter: Filter,
    /// Where the supervisor's end of the filter is sent to.
    pub(crate) listener_to: Option<OwnedFd>,
}

impl Prepared {
    /// Prepares a command; the error is for the user.
    pub(crate) fn new(
        args: &[String],
        env: &[(String, String)],
        cwd: &str,
        user: &User,
    ) -> Result<Self, String> {
        let text =
            |text: &str| CString::new(text).map_err(|_| format!("`{}` holds a NUL", text.escape_default()));
        let program =
            args.first().filter(|program| !program.is_empty()).ok_or("there is no command to run")?;
        let path = env.iter().rev().find(|(name, _)| name == "PATH").map_or("", |(_, value)| value.as_str());
        let candidates = if program.contains('/') {
            vec![text(program)?]
        } else {
            path.split(':')
                .map(|dir| text(&format!("{}/{program}", if dir.is_empty() { "." } else { dir })))
                .collect::<Result<_, _>>()?
        };
        Ok(Self {
            candidates,
            args: args.iter().map(|arg| text(arg)).collect::<Result<_, _>>()?,
            env: env
                .iter()
                .map(|(name, value)| text(&format!("{name}={value}")))
                .collect::<Result<_, _>>()?,
            cwd: text(cwd)?,
            groups: user.groups.clone(),
            uid: user.owner.uid,
            gid: user.owner.gid,
            filter: Filter::default(),
            listener_to: None,
            null: super::child::open_null().map_err(|e| format!("cannot open /dev/null: {e}"))?,
        })
    }

    /// Starts the command; the error is for the user.
    pub(crate) fn start(&self) -> Result<Pid, String> {
        let (mut failure, mut failure_end) =
            std::io::pipe().map_err(|e| format!("cannot make a pipe: {e}"))?;
        // SAFETY: init has one thread, so the child may go on as any program would.
        match unsafe { libc::fork() } {
            -1 => Err(format!("cannot fork: {}", std::io::Error::last_os_error())),
            0 => {
                let (what, error) = self.exec();
                let _ = write!(failure_end, "{what}: {error}");
                // SAFETY: ends this process at once; there is nothing to unwind in a forked child.
                unsafe { libc::_exit(127) }
            }
            child => {
                drop(failure_end);
                let mut text = String::new();
                // Exec closes the pipe without a word.
                let _ = failure.read_to_string(&mut text);
                if text.is_empty() {
                    return Ok(Pid::from_raw(child).expect("fork gives the parent a positive number"));
                }
                Err(text)
            }
        }
    }

    /// Makes this process the command. Returns only where something failed: what, and why.
    pub(crate) fn exec(&self) -> (String, std::io::Error) {
        let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
            list.iter().map(|item| item.as_ptr()).chain([ptr::null()]).collect()
        };
        let (args, env) = (pointers(&self.args), pointers(&self.env));
        let failed = |what: &str| (what.to_owned(), std::io::Error::last_os_error());
        // SAFETY: plain system calls on values that live until exec; `self` owns every pointer's memory.
        unsafe {
            libc::setsid();
            libc::umask(0o022);
            if libc::dup2(self.null.as_raw_fd(), 0) < 0 {
                return failed("cannot set standard input");
            }
            // Nothing that the build's own starter left open may reach the command. (Linux 5.11.)
            libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
            // The Rust runtime ignores SIGPIPE, and exec would keep that.
            for signal in 1..=64 {
                libc::signal(signal, libc::SIG_DFL);
            }
            let mut mask: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut mask);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const mask, ptr::null_mut());
            // As runc does: /dev/stdout leads to a pipe that the command's user may open again.
            for stream in [1, 2] {
                let _ = libc::fchown(stream, self.uid, u32::MAX);
            }
            match self.filter.install() {
                Ok(None) => {}
                Ok(Some(listener)) => {
                    let Some(to) = &self.listener_to else { return failed("find the supervisor") };
                    if let Err(error) = super::chroot::send_descriptor(to, &listener) {
                        return ("cannot reach the supervisor".to_owned(), error.into());
                    }
                }
                Err(error) => return ("cannot filter its system calls".to_owned(), error),
            }
            if libc::setgroups(self.groups.len(), self.groups.as_ptr()) < 0 {
                return failed("cannot set the groups");
            }
            if libc::setresgid(self.gid, self.gid, self.gid) < 0 {
                return failed(&format!("cannot become group {}", self.gid));
            }
            if libc::setresuid(self.uid, self.uid, self.uid) < 0 {
                return failed(&format!("cannot become user {}", self.uid));
            }
            if libc::chdir(self.cwd.as_ptr()) < 0 {
                return failed(&format!("cannot enter `{}`", self.cwd.to_string_lossy()));
            }
        }
        let mut reason = std::io::Error::from_raw_os_error(libc::ENOENT);
        for candidate in &self.candidates {
            // SAFETY: `args` and `env` end with a null pointer and point into `self`.
            unsafe { libc::execve(candidate.as_ptr(), args.as_ptr(), env.as_ptr()) };
            let error = std::io::Error::last_os_error();
            if !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) {
                reason = error;
            }
        }
        let program: &CStr = &self.args[0];
        (format!("cannot run `{}`", program.to_string_lossy()), reason)
    }
}
