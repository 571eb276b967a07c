//! Sources that are no images: files of web servers, Git repositories, text of the Dockerfile.
//!
//! Each becomes a directory, which a COPY or a mount reads like a build context.

pub mod git;
pub mod http;

use std::os::unix::fs::PermissionsExt as _;

use kairn_compiler::graph::InlineOp;

use crate::BUILD_TIME;
use crate::context::Context;
use crate::error::{Error, Named as _};
use crate::store::Store;

/// Writes files that the Dockerfile holds.
///
/// # Errors
/// Fails where the disk does, and where a name leads out of the directory.
pub fn inline(op: &InlineOp, store: &Store) -> Result<Context, Error> {
    let work = store.work_dir()?;
    let root = work.path().join("files");
    fs_err::create_dir(&root)?;
    for file in &op.files {
        if file.path.contains(['/', '\0']) || matches!(&*file.path, "" | "." | "..") {
            return Err(Error::user(format!("`{}` is no name for a file", file.path.escape_default())));
        }
        let path = root.join(&file.path);
        fs_err::write(&path, &file.content)?;
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(file.mode))?;
        set_time(&path, BUILD_TIME.seconds)?;
    }
    Ok(Context::of_directory(root, Some(work)))
}

/// Says that something is not kept, and nobody may be asked.
fn offline(what: &str) -> Error {
    let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
    Error::world(format!("`{what}` is not in the store"), missing)
        .with_help("build once without `--offline`, so that it is fetched")
}

/// Sets the time of a file's content, seconds from the Unix epoch.
fn set_time(path: &std::path::Path, seconds: i64) -> Result<(), Error> {
    use std::time::{Duration, SystemTime};
    let offset = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 { SystemTime::UNIX_EPOCH - offset } else { SystemTime::UNIX_EPOCH + offset };
    let file = std::fs::File::options().read(true).open(path).named("open", path)?;
    file.set_modified(time).named("set the time of", path)
}
