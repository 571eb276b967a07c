//! The mounts of a RUN, as BuildKit gives them.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags};

use super::places::{DEV_LINKS, DEVICES, Kind, Places, Refusal, Result, Trying as _, magic};
use super::{Mount, MountSource, Plan};
use crate::owner;
use crate::users::Owner;

/// Files of /proc and /sys that say too much about the machine: covered.
const MASKED: [&str; 10] = [
    "proc/asound",
    "proc/acpi",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/timer_list",
    "proc/timer_stats",
    "proc/sched_debug",
    "proc/scsi",
    "sys/firmware",
];

/// Parts of /proc that change the machine: read-only.
const READ_ONLY: [&str; 5] = ["proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"];

/// Mounts everything and makes it the root. Gives the mount points that had to be made in the image.
pub(crate) fn enter_root(plan: &Plan, layers: usize) -> Result<Vec<PathBuf>> {
    let root = plan.work.join("root");
    let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    rustix::mount::mount_change("/", private).trying("make the mounts private")?;
    mount_overlay(plan, layers, &root)?;
    let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
    let handle = rustix::fs::open(&root, flags, Mode::empty()).trying("open the new root")?;
    let mut guest = Guest { places: Places::new(handle), host_root: root };
    guest.proc()?;
    guest.dev()?;
    guest.sys()?;
    if !plan.insecure {
        guest.cover()?;
    }
    let read_only = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    for file in ["resolv.conf", "hosts"] {
        let target = guest.places.target(&format!("etc/{file}"), Kind::File)?;
        bind(&plan.work.join(file), target.as_fd(), Some(read_only), file)?;
    }
    for mount in &plan.mounts {
        guest.mount(mount, &plan.work)?;
    }
    pivot(guest.places.root.as_fd())?;
    Ok(guest.places.stubs)
}

/// Stacks the layers. All names are short links, relative to their folder.
fn mount_overlay(plan: &Plan, layers: usize, root: &Path) -> Result<()> {
    rustix::process::chdir(plan.work.join("links")).trying("enter the folder of links")?;
    let lowers: Vec<String> = (0..=layers).map(|index| index.to_string()).collect();
    let base = format!("lowerdir={},upperdir=u,workdir=w,userxattr", lowers.join(":"));
    let mount = |options: &str| {
        let options = std::ffi::CString::new(options).expect("names and numbers hold no NUL");
        rustix::mount::mount("overlay", root, "overlay", MountFlags::empty(), options.as_c_str())
    };
    // The upper directory lives on as a layer or not at all: nothing has to reach the disk. (Linux 5.10.)
    match mount(&format!("{base},volatile")) {
        Err(Errno::INVAL) => mount(&base),
        other => other,
    }
    .trying("mount an overlay of the layers")
}

struct Guest {
    places: Places,
    host_root: PathBuf,
}

impl Guest {
    fn proc(&mut self) -> Result<()> {
        let target = self.places.target("proc", Kind::Directory)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        match rustix::mount::mount("proc", magic(target.as_fd()), "proc", flags, c"") {
            // Where parts of the outer /proc are covered, the kernel allows no fresh one.
            Err(Errno::PERM | Errno::ACCESS) => {
                rustix::mount::mount_bind_recursive("/proc", magic(target.as_fd())).trying("bind /proc")
            }
            other => other.trying("mount /proc"),
        }
    }

    fn dev(&mut self) -> Result<()> {
        let target = self.places.target("dev", Kind::Directory)?;
        let flags = MountFlags::NOSUID | MountFlags::STRICTATIME;
        rustix::mount::mount("tmpfs", magic(target.as_fd()), "tmpfs", flags, c"mode=755,size=65536k")
            .trying("mount /dev")?;
        // The handle still shows what was there before the mount.
        let dev = self.places.open("dev", OFlags::DIRECTORY).trying("open /dev")?;
        for (device, _, _) in DEVICES {
            let host = Path::new("/dev").join(device);
            if !host.exists() {
                continue;
            }
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(&dev, device, flags, Mode::from(0o666)).trying("make a device's place")?;
            let target = self
                .places
                .open(&format!("dev/{device}"), OFlags::empty())
                .trying("open a device's place")?;
            rustix::mount::mount_bind(&host, magic(target.as_fd())).trying(&format!("bind /dev/{device}"))?;
        }
        for (name, text) in DEV_LINKS {
            rustix::fs::symlinkat(text, &dev, name).trying("make a link in /dev")?;
        }
        for name in ["pts", "shm", "mqueue"] {
            rustix::fs::mkdirat(&dev, name, Mode::from(0o755)).trying("make a folder in /dev")?;
        }
        let no_exec = MountFlags::NOSUID | MountFlags::NOEXEC;
        let pts = self.places.open("dev/pts", OFlags::DIRECTORY).trying("open /dev/pts")?;
        let mount_pts = |options: &std::ffi::CStr| {
            rustix::mount::mount("devpts", magic(pts.as_fd()), "devpts", no_exec, options)
        };
        match mount_pts(c"newinstance,ptmxmode=0666,mode=0620,gid=5") {
            // The group `tty` may lie outside the ids we have.
            Err(Errno::INVAL) => mount_pts(c"newinstance,ptmxmode=0666,mode=0620"),
            other => other,
        }
        .trying("mount /dev/pts")?;
        let no_exec = no_exec | MountFlags::NODEV;
        let shm = self.places.open("dev/shm", OFlags::DIRECTORY).trying("open /dev/shm")?;
        rustix::mount::mount("shm", magic(shm.as_fd()), "tmpfs", no_exec, c"mode=1777,size=65536k")
            .trying("mount /dev/shm")?;
        let mqueue = self.places.open("dev/mqueue", OFlags::DIRECTORY).trying("open /dev/mqueue")?;
        match rustix::mount::mount("mqueue", magic(mqueue.as_fd()), "mqueue", no_exec, c"") {
            // A kernel without message queues has none to offer.
            Ok(()) | Err(Errno::NODEV) => Ok(()),
            Err(error) => Err(error).trying("mount /dev/mqueue"),
        }
    }

    fn sys(&mut self) -> Result<()> {
        let target = self.places.target("sys", Kind::Directory)?;
        let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        // A network of our own has devices of its own, which only a fresh mount shows; else the kernel allows none.
        if rustix::mount::mount("sysfs", magic(target.as_fd()), "sysfs", flags, c"").is_ok() {
            return Ok(());
        }
        rustix::mount::mount_bind_recursive("/sys", magic(target.as_fd())).trying("bind /sys")?;
        let below = self.host_root.join("sys");
        for mount in mounts_below(&below) {
            let remount = MountFlags::BIND | flags;
            match rustix::mount::mount_remount(&mount, remount, c"") {
                Ok(()) => {}
                // A mount hidden under another one cannot be reached, by the command neither.
                Err(Errno::INVAL) if mount != below => {}
                Err(error) => return Err(error).trying("make /sys read-only"),
            }
        }
        Ok(())
    }

    /// Covers what a command should not see and protects what it should not change.
    fn cover(&mut self) -> Result<()> {
        for path in READ_ONLY {
            let Ok(target) = self.places.open(path, OFlags::empty()) else { continue };
            let place = magic(target.as_fd());
            rustix::mount::mount_bind_recursive(&place, &place).trying("protect a part of /proc")?;
            let mounted = self.places.open(path, OFlags::empty()).trying("open a part of /proc")?;
            let flags = MountFlags::BIND
                | MountFlags::RDONLY
                | MountFlags::NOSUID
                | MountFlags::NODEV
                | MountFlags::NOEXEC;
            rustix::mount::mount_remount(magic(mounted.as_fd()), flags, c"")
                .trying("protect a part of /proc")?;
        }
        for path in MASKED {
            let Ok(target) = self.places.open(path, OFlags::empty()) else { continue };
            let place = magic(target.as_fd());
            let directory = rustix::fs::fstat(&target)
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
            if directory {
                let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
                rustix::mount::mount("tmpfs", place, "tmpfs", flags, c"size=0")
                    .trying("cover a part of /proc")?;
            } else {
                rustix::mount::mount_bind("/dev/null", place).trying("cover a part of /proc")?;
            }
        }
        Ok(())
    }

    /// Mounts what the instruction asks for.
    fn mount(&mut self, mount: &Mount, work: &Path) -> Result<()> {
        let name = mount.target.as_str();
        let what = format!("mount `{name}`");
        match &mount.source {
            MountSource::Tmpfs { size_bytes } => {
                let target = self.places.target(name, Kind::Directory)?;
                let options = size_bytes.map_or_else(String::new, |size_bytes| format!("size={size_bytes}"));
                let options = std::ffi::CString::new(options).expect("numbers hold no NUL");
                let flags = MountFlags::NOSUID | MountFlags::NODEV;
                rustix::mount::mount("tmpfs", magic(target.as_fd()), "tmpfs", flags, options.as_c_str())
                    .trying(&what)
            }
            MountSource::Secret { value, mode, uid, gid } => {
                let place = work.join("secrets");
                std::fs::create_dir(&place)
                    .or_else(|e| if place.is_dir() { Ok(()) } else { Err(e) })
                    .map_err(|error| Refusal { what: what.clone(), error })?;
                // Each over the one before: nobody needs more than the file that is bound from it.
                let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
                rustix::mount::mount("tmpfs", &place, "tmpfs", flags, c"mode=700").trying(&what)?;
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
                let file = rustix::fs::open(place.join("secret"), flags, Mode::from(0o600)).trying(&what)?;
                match owner::give(&file, Owner { uid: *uid, gid: *gid }) {
                    // Before Linux 6.6 files in memory have no attributes: then the owner is not what was asked for.
                    Err(Errno::NOTSUP) => {}
                    other => other.trying(&what)?,
                }
                rustix::fs::fchmod(&file, Mode::from(*mode)).trying(&what)?;
                std::io::Write::write_all(&mut std::fs::File::from(file), value)
                    .map_err(|error| Refusal { what: what.clone(), error })?;
                let flags = OFlags::PATH | OFlags::CLOEXEC;
                let source = rustix::fs::open(place.join("secret"), flags, Mode::empty()).trying(&what)?;
                self.bind(source.as_fd(), name, true, &what)
            }
            MountSource::Bind { path, read_only } => {
                let flags = OFlags::PATH | OFlags::CLOEXEC;
                let source = rustix::fs::open(path, flags, Mode::empty()).trying(&what)?;
                self.bind(source.as_fd(), name, *read_only, &what)
            }
            MountSource::Files { lowers, path, read_write, work } => {
                let files = stack(lowers, *read_write, work).trying(&what)?;
                let flags = OFlags::PATH | OFlags::CLOEXEC;
                let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
                let path = if path.is_empty() { "." } else { path };
                let source =
                    rustix::fs::openat2(&files, path, flags, Mode::empty(), resolve).trying(&what)?;
                self.bind(source.as_fd(), name, !read_write, &what)
            }
        }
    }

    /// Binds an open file or directory to a place in the image.
    fn bind(&mut self, source: BorrowedFd<'_>, name: &str, read_only: bool, what: &str) -> Result<()> {
        let stat = rustix::fs::fstat(source).trying(what)?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let kind = if is_directory { Kind::Directory } else { Kind::File };
        let target = self.places.target(name, kind)?;
        rustix::mount::mount_bind(magic(source), magic(target.as_fd())).trying(what)?;
        if read_only {
            // The handle still shows what was there before the mount.
            let place = self.places.open(name, OFlags::empty()).trying(what)?;
            let flags = locked_flags(place.as_fd()) | MountFlags::BIND | MountFlags::RDONLY;
            rustix::mount::mount_remount(magic(place.as_fd()), flags, c"").trying(what)?;
        }
        Ok(())
    }
}

/// Stacks directories as one, and opens it.
fn stack(lowers: &[PathBuf], read_write: bool, work: &Path) -> rustix::io::Result<OwnedFd> {
    let io = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let links = work.join("links");
    for folder in ["links", "links/empty", "links/u", "links/w", "root"] {
        std::fs::create_dir(work.join(folder)).map_err(io)?;
    }
    for (index, lower) in lowers.iter().enumerate() {
        std::os::unix::fs::symlink(lower, links.join(index.to_string())).map_err(io)?;
    }
    let names: Vec<String> = (0..lowers.len()).map(|index| index.to_string()).collect();
    // An overlay without a directory to write to needs two others.
    let mut options = format!("lowerdir={}:empty,userxattr", names.join(":"));
    if read_write {
        options.push_str(",upperdir=u,workdir=w");
    }
    rustix::process::chdir(&links)?;
    let options = std::ffi::CString::new(options).expect("names and numbers hold no NUL");
    let root = work.join("root");
    rustix::mount::mount("overlay", &root, "overlay", MountFlags::empty(), options.as_c_str())?;
    rustix::fs::open(&root, OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

/// The flags of a mount that a user namespace may not take away.
fn locked_flags(mounted: BorrowedFd<'_>) -> MountFlags {
    let Ok(stat) = rustix::fs::fstatvfs(mounted) else { return MountFlags::empty() };
    let pairs = [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    let set = pairs.into_iter().filter(|(flag, _)| stat.f_flag.contains(*flag));
    set.fold(MountFlags::empty(), |flags, (_, flag)| flags | flag)
}

/// Binds a file, then gives the bind its own flags.
fn bind(from: &Path, target: BorrowedFd<'_>, read_only: Option<MountFlags>, name: &str) -> Result<()> {
    let what = format!("bind {name}");
    let place = std::fs::read_link(magic(target)).unwrap_or_default();
    rustix::mount::mount_bind(from, magic(target)).trying(&what)?;
    if let Some(flags) = read_only {
        let flags = flags | MountFlags::BIND | MountFlags::RDONLY;
        rustix::mount::mount_remount(&place, flags, c"").trying(&what)?;
    }
    Ok(())
}

/// The mount points at and below a path, outermost first.
fn mounts_below(path: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|field| PathBuf::from(field.replace("\\040", " ").replace("\\134", "\\")))
        .filter(|mount| mount.starts_with(path))
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Makes the new root the root, so that nothing of the old one can be reached.
fn pivot(root: BorrowedFd<'_>) -> Result<()> {
    rustix::process::fchdir(root).trying("enter the new root")?;
    if rustix::process::pivot_root(".", ".").is_ok() {
        // The old root lies over the new one at the same place.
        rustix::mount::unmount(".", rustix::mount::UnmountFlags::DETACH).trying("leave the old root")?;
    } else {
        // Some containers forbid it; moving the mount over the old root does as well.
        rustix::mount::mount_move(".", "/").trying("move the new root")?;
        rustix::process::chroot(".").trying("enter the new root")?;
    }
    rustix::process::chdir("/").trying("enter the new root")
}
