//! What other rungs mount, put in place by renaming, and taken away again without a trace.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Gid, Mode, Timestamps, Uid};

use super::places::{
    DEV_LINKS, DEVICES, Kind, Places, Refusal, Result, Trying as _, magic, remove_stubs, set_times, times_of,
};
use super::{MountSource, Plan, chroot};

/// Where the supervisor makes links to programs, on behalf of any user: short, so that it fits over a path of /proc.
pub(super) const LINK_FOLDER: &str = "/dev/.k";

/// A secret, whose place on the disk is an empty file.
pub(crate) struct Secret {
    /// The place, as the command names it once all links are followed.
    pub(super) path: PathBuf,
    /// The content, with the owner and mode of the secret; in memory only.
    pub(super) content: OwnedFd,
}

/// What stands in a root for the time of a RUN.
pub(crate) struct Placed {
    root: PathBuf,
    things: Vec<Thing>,
    stubs: Vec<PathBuf>,
    /// Secrets, which the supervisor hands out.
    pub(super) secrets: Vec<Secret>,
    /// Whether the device nodes in /dev work; else the supervisor stands in for them.
    pub(super) has_devices: bool,
}

/// One thing in its place.
struct Thing {
    /// Where it is.
    place: PathBuf,
    /// Where it came from, and goes back to; nothing for what is thrown away.
    home: Option<PathBuf>,
    /// Where what stood there before waits.
    before: PathBuf,
    /// The directory that it is in.
    directory: OwnedFd,
}

impl Placed {
    /// Puts everything that a plan asks for into a root.
    pub(super) fn place(plan: &Plan, root: &Path) -> Result<Self> {
        let handle = chroot::open_directory(root).trying("open the new root")?;
        let mut places = Places::new(handle);
        let mut placed = Self {
            root: root.to_owned(),
            things: Vec::new(),
            stubs: Vec::new(),
            secrets: Vec::new(),
            has_devices: false,
        };
        let result = placed.place_all(plan, &mut places);
        placed.stubs = places.stubs;
        match result {
            Ok(()) => Ok(placed),
            Err(refusal) => {
                let _ = placed.take_away();
                Err(refusal)
            }
        }
    }

    fn place_all(&mut self, plan: &Plan, places: &mut Places) -> Result<()> {
        let work = &plan.work;
        for name in ["proc", "sys", "dev"] {
            let made = work.join(format!("new-{name}"));
            make_directory(&made, 0o755)?;
            if name == "dev" {
                self.has_devices = fill_dev(&made)?;
            }
            self.put(places, work, name, Kind::Directory, &made, None)?;
        }
        for name in ["resolv.conf", "hosts"] {
            let made = work.join(name);
            self.put(places, work, &format!("etc/{name}"), Kind::File, &made, None)?;
        }
        for (index, mount) in plan.mounts.iter().enumerate() {
            let made = work.join(format!("new-{index}"));
            let target = mount.target.as_str();
            match &mount.source {
                MountSource::Tmpfs { .. } => {
                    make_directory(&made, 0o1777)?;
                    self.put(places, work, target, Kind::Directory, &made, None)?;
                }
                MountSource::Bind { path, .. } => {
                    let is_directory = path.is_dir();
                    let kind = if is_directory { Kind::Directory } else { Kind::File };
                    self.put(places, work, target, kind, path, Some(path))?;
                }
                MountSource::Secret { value, mode, uid, gid } => {
                    let owner = (Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)));
                    rustix::fs::open(
                        &made,
                        rustix::fs::OFlags::CREATE | rustix::fs::OFlags::CLOEXEC,
                        Mode::from(0o600),
                    )
                    .and_then(|file| {
                        rustix::fs::fchown(&file, owner.0, owner.1)?;
                        rustix::fs::fchmod(&file, Mode::from(*mode))
                    })
                    .trying("make the place of a secret")?;
                    let content = in_memory("secret", value).and_then(|content| {
                        rustix::fs::fchown(&content, owner.0, owner.1)?;
                        rustix::fs::fchmod(&content, Mode::from(*mode))?;
                        Ok(content)
                    });
                    let content = content.trying("keep a secret in memory")?;
                    let place = self.put(places, work, target, Kind::File, &made, None)?;
                    let path = chroot::inside(&self.root, &place).unwrap_or(place);
                    self.secrets.push(Secret { path, content });
                }
                MountSource::Files { .. } => {
                    let error = std::io::Error::from(std::io::ErrorKind::Unsupported);
                    return Err(Refusal { what: "stack directories without mounts".to_owned(), error });
                }
            }
        }
        Ok(())
    }

    /// Puts one thing where `target` leads, and keeps what stood there.
    fn put(
        &mut self,
        places: &mut Places,
        work: &Path,
        target: &str,
        kind: Kind,
        thing: &Path,
        home: Option<&PathBuf>,
    ) -> Result<PathBuf> {
        let what = format!("put something at `{target}`");
        let found = places.target(target.trim_matches('/'), kind)?;
        let place = std::fs::read_link(magic(found.as_fd()))
            .map_err(|error| Refusal { what: what.clone(), error })?;
        drop(found);
        let above = place.parent().filter(|_| place != self.root && place.starts_with(&self.root));
        let Some(above) = above else {
            let error = std::io::Error::from(std::io::ErrorKind::InvalidInput);
            return Err(Refusal { what, error });
        };
        let directory = chroot::open_directory(above).trying(&what)?;
        let times = times_of(&directory).trying(&what)?;
        let before = work.join(format!("before-{}", self.things.len()));
        rustix::fs::rename(&place, &before).trying(&what)?;
        self.things.push(Thing { place: place.clone(), home: home.cloned(), before, directory });
        rustix::fs::rename(thing, &place).trying(&what)?;
        let directory = &self.things.last().expect("just pushed").directory;
        set_times(directory, &times).trying(&what)?;
        Ok(place)
    }

    /// Takes everything away again, last first, as if it had never been there.
    pub(super) fn take_away(&mut self) -> Result<()> {
        for thing in std::mem::take(&mut self.things).into_iter().rev() {
            let what = format!("take away what it put at `{}`", thing.place.display());
            let times: Timestamps = times_of(&thing.directory).trying(&what)?;
            match &thing.home {
                // The command may have removed it; then an empty one goes home.
                Some(home) if rustix::fs::rename(&thing.place, home).is_err() => {
                    let _ = std::fs::create_dir(home);
                }
                Some(_) => {}
                None => crate::store::remove_tree(&thing.place),
            }
            // Where the command renamed the directory around it, there is nothing to put back.
            if thing.place.parent().is_some_and(Path::is_dir) {
                let _ = rustix::fs::rename(&thing.before, &thing.place);
            }
            let _ = set_times(&thing.directory, &times);
        }
        remove_stubs(&self.root, &self.stubs);
        Ok(())
    }
}

/// A file in memory.
pub(super) fn in_memory(name: &str, content: &[u8]) -> rustix::io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut rest = content;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = &rest[written..];
    }
    Ok(file)
}

fn make_directory(path: &Path, mode: u32) -> Result<()> {
    rustix::fs::mkdir(path, Mode::from(mode))
        .and_then(|()| rustix::fs::chmod(path, Mode::from(mode)))
        .trying("make a directory")
}

/// Makes the content of /dev, and says whether its device nodes work.
fn fill_dev(dev: &Path) -> Result<bool> {
    let what = "make /dev";
    for (name, text) in DEV_LINKS {
        rustix::fs::symlink(text, dev.join(name)).trying(what)?;
    }
    make_directory(&dev.join(".k"), 0o1777)?;
    make_directory(&dev.join("pts"), 0o755)?;
    make_directory(&dev.join("mqueue"), 0o1777)?;
    make_directory(&dev.join("shm"), 0o1777)?;
    let mut work = true;
    for (name, major, minor) in DEVICES {
        let path = dev.join(name);
        let made = rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            FileType::CharacterDevice,
            Mode::from(0o666),
            rustix::fs::makedev(major, minor),
        );
        if made.is_ok() {
            rustix::fs::chmod(&path, Mode::from(0o666)).trying(what)?;
        } else {
            work = false;
            std::fs::write(&path, "").map_err(|error| Refusal { what: what.to_owned(), error })?;
        }
    }
    // Where the disk is mounted without devices, a node can be made and not opened.
    Ok(work && std::fs::File::open(dev.join("null")).is_ok())
}
