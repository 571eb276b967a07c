//! ADD of a URL.
//!
//! What a server gave is kept by its URL, and the server is asked each time whether it has another version; with a
//! checksum that is known already nobody is asked.

use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use jiff::fmt::rfc2822;
use kairn_compiler::graph::HttpOp;
use kairn_image::Digest;
use kairn_image::registry::{Client, Validators};
use serde::{Deserialize, Serialize};

use super::set_time;
use crate::BUILD_TIME;
use crate::context::Context;
use crate::error::{Error, Named as _};
use crate::grants::Grants;
use crate::store::{Store, StoreLock};

/// Mode of a downloaded file, as in BuildKit.
const MODE: u32 = 0o600;

/// What is known of a kept file.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    digest: String,
    etag: Option<String>,
    last_modified: Option<String>,
}

/// Fetches a file.
///
/// # Errors
/// Fails where the server does not give it, or gives another one than the checksum says; with `offline`, where it is not
/// kept already.
pub fn fetch(
    op: &HttpOp,
    client: &Client,
    grants: &Grants,
    store: &Store,
    offline: bool,
) -> Result<Context, Error> {
    let (folder, _lock) = open(&op.url, store)?;
    let (content, about) = (folder.join("content"), folder.join("about"));
    let kept = known(&content, &about);
    let wanted = op.checksum.as_ref().map(ToString::to_string);
    let kept = match kept {
        Some(kept) if Some(&kept.digest) == wanted.as_ref() => kept,
        Some(kept) if offline => kept,
        None if offline => return Err(super::offline(&op.url)),
        kept => refresh(op, client, grants, store, kept, &folder)?,
    };
    if let Some(wanted) = wanted.filter(|wanted| *wanted != kept.digest) {
        return Err(Error::user(format!("`{}` has the digest {}, not {wanted}", op.url, kept.digest))
            .with_help(
                "the file has changed, or the checksum is another file's: compare them before you go on",
            ));
    }
    let work = store.work_dir()?;
    let root = work.path().join("files");
    fs_err::create_dir(&root)?;
    let path = root.join(&op.name);
    // The kept file must not be changed through another name.
    if fs_err::hard_link(&content, &path).is_err() {
        fs_err::copy(&content, &path)?;
        set_time(&path, seconds(&kept))?;
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(MODE))?;
    }
    Ok(Context::of_directory(root, Some(work)))
}

/// Finds the digest of what a server gives at the moment.
///
/// # Errors
/// As [`fetch`].
pub fn digest(op: &HttpOp, client: &Client, grants: &Grants, store: &Store) -> Result<Digest, Error> {
    let (folder, _lock) = open(&op.url, store)?;
    let kept = known(&folder.join("content"), &folder.join("about"));
    let kept = refresh(op, client, grants, store, kept, &folder)?;
    kept.digest.parse().map_err(|e| Error::world(format!("`{}` has no digest", op.url), e))
}

/// Opens the folder that a URL has in the store, locked.
fn open(url: &str, store: &Store) -> Result<(PathBuf, StoreLock), Error> {
    let name = blake3::hash(url.as_bytes()).to_hex();
    let folder = store.root().join("http").join(name.as_str());
    fs_err::create_dir_all(&folder)?;
    store.touch(&folder);
    let lock = store.lock(&format!("http-{name}"))?;
    Ok((folder, lock))
}

fn known(content: &Path, about: &Path) -> Option<Kept> {
    let kept: Option<Kept> = std::fs::read(about).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    kept.filter(|_| content.is_file())
}

/// Asks the server for another version, and keeps what it gives.
fn refresh(
    op: &HttpOp,
    client: &Client,
    grants: &Grants,
    store: &Store,
    kept: Option<Kept>,
    folder: &Path,
) -> Result<Kept, Error> {
    let work = store.work_dir()?;
    let fresh = work.path().join("content");
    let known = kept.as_ref().map_or_else(Validators::default, |kept| Validators {
        etag: kept.etag.clone(),
        last_modified: kept.last_modified.clone(),
    });
    let authorization = authorization(&op.url, grants)?;
    let answer = client
        .download(&op.url, authorization.as_deref(), &known, &fresh)
        .map_err(|e| Error::world(format!("cannot fetch `{}`: {e}", op.url), e))?;
    let validators = match (answer, kept) {
        (None, Some(kept)) => return Ok(kept),
        (None, None) => {
            let unasked = std::io::Error::other("it says `not modified` to a first request");
            return Err(Error::world(format!("cannot fetch `{}`", op.url), unasked));
        }
        (Some(validators), _) => validators,
    };
    let mut hasher = sha2::Sha256::default();
    std::io::copy(&mut File::open(&fresh).named("open", &fresh)?, &mut Sink(&mut hasher))?;
    let kept = Kept {
        digest: Digest::from_sha256(hasher).to_string(),
        etag: validators.etag,
        last_modified: validators.last_modified,
    };
    set_time(&fresh, seconds(&kept))?;
    fs_err::set_permissions(&fresh, std::fs::Permissions::from_mode(MODE))?;
    let about =
        serde_json::to_vec(&kept).map_err(|e| Error::world("cannot encode a download's record", e))?;
    let written = work.path().join("about");
    fs_err::write(&written, about)?;
    // A record never speaks of another content: it goes before, and comes after.
    let _ = fs_err::remove_file(folder.join("about"));
    fs_err::rename(&fresh, folder.join("content"))?;
    fs_err::rename(&written, folder.join("about"))?;
    Ok(kept)
}

/// What the secrets `HTTP_AUTH_HEADER_host` or `HTTP_AUTH_TOKEN_host` say to a host.
fn authorization(url: &str, grants: &Grants) -> Result<Option<String>, Error> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let text = |name: &str| -> Result<Option<String>, Error> {
        let value = grants.secret(&format!("{name}_{host}"))?;
        Ok(value.map(|value| String::from_utf8_lossy(&value).trim().to_owned()))
    };
    Ok(text("HTTP_AUTH_HEADER")?.or(text("HTTP_AUTH_TOKEN")?.map(|token| format!("Bearer {token}"))))
}

/// The file's time, seconds from the Unix epoch.
fn seconds(kept: &Kept) -> i64 {
    let time = kept.last_modified.as_deref().and_then(|text| rfc2822::parse(text).ok());
    time.map_or(BUILD_TIME.seconds, |time| time.timestamp().as_second())
}

struct Sink<'a>(&'a mut sha2::Sha256);

impl std::io::Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        use sha2::Digest as _;
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
