//! The memory of a caller.

#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Mutex;

/// The longest path, as in the kernel.
const MAX_PATH_BYTES: usize = 4096;

/// How much of a path is read at first.
const FIRST_BYTES: usize = 256;

const PAGE_BYTES: u64 = 4096;

/// How many processes that changed their ids are remembered.
const MAX_REMEMBERED: usize = 256;

/// The memory of callers.
///
/// A process that changes its ids, and starts no program after that, is closed to all who have no special right: but
/// not to who had opened its memory before.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct Memory {
    remembered: Mutex<VecDeque<(i32, File)>>,
}

impl Memory {
    /// Opens the memory of a process that is about to change its ids.
    pub(in crate::sandbox) fn remember(&self, thread: i32) {
        let Some(process) = process_of(thread) else { return };
        let Ok(file) = File::options().read(true).write(true).open(format!("/proc/{process}/mem")) else {
            return;
        };
        let mut remembered = self.remembered.lock().expect("no holder of this lock panics");
        remembered.retain(|(other, _)| *other != process);
        if remembered.len() == MAX_REMEMBERED {
            remembered.pop_front();
        }
        remembered.push_back((process, file));
    }

    /// Reads a path that ends with a NUL, without it.
    ///
    /// Fails with `EPERM` where this thread may not read the process.
    pub(in crate::sandbox) fn read_path(&self, thread: i32, address: u64) -> io::Result<Vec<u8>> {
        let mut path = Vec::with_capacity(FIRST_BYTES);
        let mut buffer = [0_u8; MAX_PATH_BYTES];
        while path.len() < MAX_PATH_BYTES {
            let from = address.wrapping_add(path.len() as u64);
            // The page behind the path's last one may not be there.
            let in_page = usize::try_from(PAGE_BYTES - from % PAGE_BYTES).unwrap_or(FIRST_BYTES);
            let wanted = if path.is_empty() { in_page.min(FIRST_BYTES) } else { in_page };
            let read = self.read(thread, from, &mut buffer[..wanted])?;
            if let Some(end) = buffer[..read].iter().position(|byte| *byte == 0) {
                path.extend_from_slice(&buffer[..end]);
                return Ok(path);
            }
            path.extend_from_slice(&buffer[..read]);
            if read == 0 {
                return Err(io::Error::from_raw_os_error(libc::EFAULT));
            }
        }
        Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG))
    }

    /// Reads bytes; gives how many.
    pub(in crate::sandbox) fn read(&self, thread: i32, address: u64, into: &mut [u8]) -> io::Result<usize> {
        let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
        let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: into.len() };
        // SAFETY: `local` describes `into`; the remote address is the other process's affair.
        let read = unsafe { libc::process_vm_readv(thread, &raw const local, 1, &raw const remote, 1, 0) };
        let error = match usize::try_from(read) {
            Ok(read) => return Ok(read),
            Err(_) => io::Error::last_os_error(),
        };
        self.with_remembered(thread, error, |file| match file.read_at(into, address)? {
            0 => Err(io::Error::from_raw_os_error(libc::EPERM)),
            read => Ok(read),
        })
    }

    /// Reads the kernel's `struct open_how`: flags, mode, resolve. Gives nothing where it is cut short.
    pub(in crate::sandbox) fn read_open_how(
        &self,
        thread: i32,
        address: u64,
    ) -> io::Result<Option<[u64; 3]>> {
        let mut bytes = [0_u8; 24];
        let read = self.read(thread, address, &mut bytes)?;
        let word = |at: usize| bytes[at..at + 8].try_into().map(u64::from_ne_bytes).unwrap_or_default();
        Ok((read == bytes.len()).then(|| [word(0), word(8), word(16)]))
    }

    /// Writes all of the bytes.
    pub(in crate::sandbox) fn write(&self, thread: i32, address: u64, bytes: &[u8]) -> io::Result<()> {
        let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: bytes.len() };
        // SAFETY: `local` describes `bytes`, which are only read; the remote address is the other process's affair.
        let written =
            unsafe { libc::process_vm_writev(thread, &raw const local, 1, &raw const remote, 1, 0) };
        match usize::try_from(written) {
            Ok(written) if written == bytes.len() => Ok(()),
            Ok(_) => Err(io::Error::from_raw_os_error(libc::EFAULT)),
            Err(_) => {
                let error = io::Error::last_os_error();
                self.with_remembered(thread, error, |file| file.write_all_at(bytes, address))
            }
        }
    }

    /// Uses the memory that was opened before its process was closed to us.
    fn with_remembered<T>(
        &self,
        thread: i32,
        error: io::Error,
        work: impl FnOnce(&File) -> io::Result<T>,
    ) -> io::Result<T> {
        if error.raw_os_error() != Some(libc::EPERM) {
            return Err(error);
        }
        let remembered = self.remembered.lock().expect("no holder of this lock panics");
        let process = if remembered.is_empty() { None } else { process_of(thread) };
        let found = remembered.iter().find(|(other, _)| Some(*other) == process);
        found.map_or(Err(error), |(_, file)| work(file))
    }
}

/// Writes bytes also where the process itself may only read: a copy of the page becomes its own.
pub(in crate::sandbox) fn overwrite(thread: i32, address: u64, bytes: &[u8]) -> io::Result<()> {
    File::options().write(true).open(format!("/proc/{thread}/mem"))?.write_all_at(bytes, address)
}

/// The bytes of a structure that holds plain numbers.
pub(in crate::sandbox) fn bytes_of<T>(value: &T) -> &[u8] {
    // SAFETY: the slice covers exactly `value`; it is only used with the kernel's own structures, made from zeros, so
    // that padding is initialised.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// The process of a thread.
pub(in crate::sandbox) fn process_of(thread: i32) -> Option<i32> {
    let text = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()
}
