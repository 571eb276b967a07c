//! Asks for the attributes of every file below a folder, on all cores, and does nothing else: what a look at a build
//! context costs at least. `benches/run.sh` runs it beside a build of that context.

#![expect(clippy::print_stdout, reason = "it is a program")]

use std::path::Path;

use rayon::prelude::*;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

fn main() -> std::io::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    println!("{} files", walk(Path::new(&folder))?);
    Ok(())
}

fn walk(folder: &Path) -> std::io::Result<usize> {
    let handle = rustix::fs::open(folder, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut files = 0;
    let mut folders = Vec::new();
    for entry in Dir::read_from(&handle)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = rustix::fs::statat(&handle, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            use std::os::unix::ffi::OsStrExt as _;
            folders.push(folder.join(std::ffi::OsStr::from_bytes(name.to_bytes())));
        } else {
            files += 1;
        }
    }
    let below: Vec<usize> = folders.par_iter().map(|folder| walk(folder)).collect::<std::io::Result<_>>()?;
    Ok(files + below.iter().sum::<usize>())
}
