//! ADD of a Git repository, by the `git` program.
//!
//! Every remote has one bare repository in the store, into which only what is asked for is fetched. A reference is
//! resolved by the remote at each build.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kairn_compiler::graph::GitOp;

use super::set_time;
use crate::context::Context;
use crate::error::{Error, Named as _};
use crate::grants::Grants;
use crate::store::{Store, StoreLock};

/// Where in the bare repository a fetched commit is kept.
const FETCHED: &str = "refs/kairn/fetched";

/// Ways to a remote that are taken.
const REMOTE_PROTOCOLS: &str = "http:https:git:ssh";

/// Variables with which a caller's own use of Git would change ours.
const FOREIGN_VARIABLES: [&str; 14] = [
    "GIT_ASKPASS",
    "GIT_CEILING_DIRECTORIES",
    "GIT_CONFIG",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_TEMPLATE_DIR",
    "GIT_WORK_TREE",
    "SSH_ASKPASS",
    "XDG_CONFIG_HOME",
];

/// Fetches a commit and checks its files out.
///
/// # Errors
/// Fails where there is no `git`, the remote does not have what is asked for, or has another commit than the checksum
/// says; with `offline`, where the commit is not kept already.
pub fn fetch(op: &GitOp, grants: &Grants, store: &Store, offline: bool) -> Result<Context, Error> {
    let work = store.work_dir()?;
    let files = work.path().join("files");
    let (git, bare, _lock) = open(op, grants, store, work.path())?;
    let commit = obtain(op, &git, &bare, offline)?;
    if let Some(checksum) = &op.checksum {
        let tagged = git.run(&bare, ["rev-parse", FETCHED])?;
        if !commit.starts_with(&**checksum) && !tagged.trim().starts_with(&**checksum) {
            return Err(Error::user(format!("`{}` is at the commit {commit}, not at {checksum}", op.remote))
                .with_help("the reference has moved, or the checksum is another commit's"));
        }
    }
    check_out(op, &git, &bare, &commit, &files)?;
    let root = match &op.subdir {
        None => files,
        Some(subdir) => subdirectory(&files, subdir, op)?,
    };
    Ok(Context::of_directory(root, Some(work)))
}

/// Finds the commit that a reference is at the moment.
///
/// # Errors
/// As [`fetch`].
pub fn commit(op: &GitOp, grants: &Grants, store: &Store) -> Result<String, Error> {
    let work = store.work_dir()?;
    let (git, bare, _lock) = open(op, grants, store, work.path())?;
    obtain(op, &git, &bare, false)
}

/// Opens the bare repository of a remote, locked.
fn open(op: &GitOp, grants: &Grants, store: &Store, work: &Path) -> Result<(Git, PathBuf, StoreLock), Error> {
    let name = blake3::hash(op.remote.as_bytes()).to_hex();
    let bare = store.root().join("git").join(name.as_str());
    let git = Git { home: work.join("home") };
    fs_err::create_dir(&git.home)?;
    git.authorize(&op.remote, grants)?;
    let lock = store.lock(&format!("git-{name}"))?;
    if !bare.join("HEAD").is_file() {
        fs_err::create_dir_all(&bare)?;
        git.run(&bare, ["init", "--quiet", "--bare", "."])?;
    }
    store.touch(&bare);
    Ok((git, bare, lock))
}

/// Gets the commit into the bare repository, and returns its name.
fn obtain(op: &GitOp, git: &Git, bare: &Path, offline: bool) -> Result<String, Error> {
    let reference = op.reference.as_deref().unwrap_or("HEAD");
    if reference.starts_with('-') || op.remote.starts_with('-') {
        return Err(Error::user(format!("`{reference}` of `{}` is no reference", op.remote)));
    }
    let wanted = if op.fetch_by_commit { op.checksum.as_deref().unwrap_or(reference) } else { reference };
    let is_commit = wanted.len() == 40 && wanted.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_commit && git.run(bare, ["cat-file", "-e", &format!("{wanted}^{{commit}}")]).is_ok() {
        git.run(bare, ["update-ref", FETCHED, wanted])?;
    } else if offline {
        let known = git.run(bare, ["rev-parse", "--verify", "--quiet", &last_seen(wanted)]);
        let known = known.map_err(|_| super::offline(&format!("{}#{wanted}", op.remote)))?;
        git.run(bare, ["update-ref", FETCHED, known.trim()])?;
    } else {
        let into = format!("+{wanted}:{FETCHED}");
        let shallow = ["fetch", "--quiet", "--no-tags", "--force", "--depth=1", &op.remote, &into];
        let whole = ["fetch", "--quiet", "--no-tags", "--force", &op.remote, &into];
        // Some servers give no shallow history, and no commit that is not the end of a branch.
        if let Err(refused) = git.run(bare, shallow).or_else(|_| git.run(bare, whole)) {
            let all =
                ["fetch", "--quiet", "--force", "--tags", &op.remote, "+refs/heads/*:refs/remotes/origin/*"];
            git.run(bare, all).map_err(|_| refused)?;
            let found =
                [wanted.to_owned(), format!("refs/remotes/origin/{wanted}"), format!("refs/tags/{wanted}")]
                    .iter()
                    .find_map(|name| git.run(bare, ["rev-parse", "--verify", "--quiet", name]).ok());
            let found = found.ok_or_else(|| {
                Error::user(format!("`{}` has no branch, tag or commit `{wanted}`", op.remote))
            })?;
            git.run(bare, ["update-ref", FETCHED, found.trim()])?;
        }
    }
    git.run(bare, ["update-ref", &last_seen(wanted), FETCHED])?;
    Ok(git.run(bare, ["rev-parse", &format!("{FETCHED}^{{commit}}")])?.trim().to_owned())
}

/// Where in the bare repository it is kept what a reference last was.
fn last_seen(reference: &str) -> String {
    format!("refs/kairn/seen/{}", blake3::hash(reference.as_bytes()).to_hex())
}

fn check_out(op: &GitOp, git: &Git, bare: &Path, commit: &str, files: &Path) -> Result<(), Error> {
    fs_err::create_dir(files)?;
    git.run(files, ["init", "--quiet", "."])?;
    git.run(files, ["remote", "add", "origin", &op.remote])?;
    let from = bare.to_string_lossy().into_owned();
    git.run_with(files, &["fetch", "--quiet", "--depth=1", "--no-tags", &from, FETCHED], "file")?;
    let name = op.reference.as_deref().filter(|name| !name.is_empty() && *name != commit);
    match name.filter(|_| op.keep_git_dir) {
        Some(name) if !name.starts_with("refs/") => {
            git.run(files, ["checkout", "--quiet", "-B", name, "FETCH_HEAD"])?;
        }
        _ => drop(git.run(files, ["checkout", "--quiet", "--detach", "FETCH_HEAD"])?),
    }
    if op.submodules && files.join(".gitmodules").exists() {
        let update = ["submodule", "--quiet", "update", "--init", "--recursive"];
        let shallow = [&update[..], &["--depth=1"]].concat();
        git.run_with(files, &shallow, REMOTE_PROTOCOLS)
            .or_else(|_| git.run_with(files, &update, REMOTE_PROTOCOLS))?;
    }
    let time = git.run(files, ["show", "-s", "--format=%ct", "HEAD"])?;
    if !op.keep_git_dir {
        remove_git_dirs(files)?;
    }
    if op.commit_mtime {
        let seconds = time.trim().parse().unwrap_or(crate::BUILD_TIME.seconds);
        set_times(files, seconds)?;
    }
    Ok(())
}

/// The directory of a checkout that becomes the root; links do not lead out of it.
fn subdirectory(files: &Path, subdir: &str, op: &GitOp) -> Result<PathBuf, Error> {
    let missing = || Error::user(format!("`{}` has no directory `{subdir}`", op.remote));
    let root = fs_err::canonicalize(files)?;
    let path = files.join(subdir).canonicalize().map_err(|_| missing())?;
    if path.starts_with(&root) && path.is_dir() { Ok(path) } else { Err(missing()) }
}

/// Removes what makes a checkout and its submodules repositories.
fn remove_git_dirs(folder: &Path) -> Result<(), Error> {
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let kind = entry.file_type().named("look at", &path)?;
        if entry.file_name() == ".git" {
            if kind.is_dir() { fs_err::remove_dir_all(&path)? } else { fs_err::remove_file(&path)? }
        } else if kind.is_dir() {
            remove_git_dirs(&path)?;
        }
    }
    Ok(())
}

fn set_times(folder: &Path, seconds: i64) -> Result<(), Error> {
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type().named("look at", &entry.path())?;
        if kind.is_dir() {
            set_times(&entry.path(), seconds)?;
        }
        if !kind.is_symlink() {
            set_time(&entry.path(), seconds)?;
        }
    }
    Ok(())
}

/// The `git` program, away from the user's settings.
struct Git {
    home: PathBuf,
}

impl Git {
    /// Writes the settings with which Git sends what the secrets `GIT_AUTH_TOKEN` or `GIT_AUTH_HEADER` say, for all hosts or
    /// (`GIT_AUTH_TOKEN.host`) for one. A file, because others can read a command's arguments.
    fn authorize(&self, remote: &str, grants: &Grants) -> Result<(), Error> {
        let Some((scheme, rest)) = remote.split_once("://").filter(|(scheme, _)| scheme.starts_with("http"))
        else {
            return Ok(());
        };
        let authority = rest.split('/').next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        let secret = |name: &str| grants.secret_for(name, host);
        let header = match (secret("GIT_AUTH_HEADER")?, secret("GIT_AUTH_TOKEN")?) {
            (Some(header), _) => header,
            (None, Some(token)) => {
                use base64::Engine as _;
                let pair =
                    base64::engine::general_purpose::STANDARD.encode(format!("x-access-token:{token}"));
                format!("basic {pair}")
            }
            (None, None) => return Ok(()),
        };
        if header.contains(['\n', '"', '\\']) {
            return Err(Error::user("the secret for Git has letters that no header may have"));
        }
        let text =
            format!("[http \"{scheme}://{authority}/\"]\n\textraHeader = \"Authorization: {header}\"\n");
        let path = self.home.join(".gitconfig");
        fs_err::write(&path, text)?;
        Ok(())
    }

    fn run<const N: usize>(&self, folder: &Path, args: [&str; N]) -> Result<String, Error> {
        self.run_with(folder, &args, REMOTE_PROTOCOLS)
    }

    fn run_with(&self, folder: &Path, args: &[&str], protocols: &str) -> Result<String, Error> {
        let mut command = Command::new("git");
        command
            .args([
                "-c",
                "protocol.allow=user",
                "-c",
                "core.autocrlf=false",
                "-c",
                "advice.detachedHead=false",
            ])
            .args([
                "-c",
                "init.defaultBranch=main",
                "-c",
                "safe.directory=*",
                "-c",
                "core.hooksPath=/dev/null",
            ])
            .args(args)
            .current_dir(folder)
            .stdin(Stdio::null())
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_ALLOW_PROTOCOL", protocols)
            .env("GIT_SSH_COMMAND", "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=accept-new")
            .env("HOME", &self.home);
        for name in FOREIGN_VARIABLES {
            command.env_remove(name);
        }
        let output = command.output().map_err(|e| {
            let missing = e.kind() == std::io::ErrorKind::NotFound;
            let error = Error::world("cannot run `git`", e);
            if missing { error.with_help("Git sources need the `git` program: install it") } else { error }
        })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.trim().lines().last().unwrap_or_default().to_owned();
            return Err(Error::world(
                format!("`git {}` failed: {said}", args[0]),
                std::io::Error::other(said),
            ));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
