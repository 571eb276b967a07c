//! A web server on this machine: files of a folder, and a Git repository made of one of its folders.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;

use super::tools::test_dir;

/// The time that every file is said to be of.
const LAST_MODIFIED: &str = "Fri, 02 Jan 2015 03:04:05 GMT";

/// A running server.
pub(crate) struct Web {
    url: String,
    files: Arc<TempDir>,
}

impl Web {
    /// Serves a copy of a folder, below `/private` only to those who say the token `open`, its `repo` folder as the repository `repo.git`, with the tag `v1` on its first commit.
    pub(crate) fn start(folder: &Path) -> Self {
        let files = Arc::new(test_dir("web-"));
        let text = |path: &Path| path.to_str().expect("test paths are text").to_owned();
        run("cp", &["-r", &format!("{}/.", text(folder)), "."], files.path());
        let repo = files.path().join("repo");
        let identity = ["-c", "user.name=x", "-c", "user.email=x@example.test"];
        run("git", &["init", "--quiet", "-b", "main", "."], &repo);
        run("git", &["add", "."], &repo);
        run("git", &[&identity[..], &["commit", "--quiet", "-m", "first"]].concat(), &repo);
        run("git", &["tag", "v1"], &repo);
        run("git", &["branch", "side"], &repo);
        std::fs::write(repo.join("file"), "second\n").expect("a file of the repository");
        run("git", &[&identity[..], &["commit", "--quiet", "-am", "second"]].concat(), &repo);
        run("git", &["clone", "--quiet", "--bare", "repo", "repo.git"], files.path());
        let parent = files.path().join("parent");
        std::fs::create_dir(&parent).expect("a folder");
        run("git", &["init", "--quiet", "-b", "main", "."], &parent);
        std::fs::write(
            parent.join(".gitmodules"),
            "[submodule \"sub\"]\n\tpath = sub\n\turl = ../repo.git\n",
        )
        .expect("a file of the repository");
        let head = run("git", &["rev-parse", "HEAD"], &repo);
        let link = format!("160000,{},sub", head.trim());
        run("git", &["add", ".gitmodules"], &parent);
        run("git", &["update-index", "--add", "--cacheinfo", &link], &parent);
        run("git", &[&identity[..], &["commit", "--quiet", "-m", "with a submodule"]].concat(), &parent);
        run("git", &["clone", "--quiet", "--bare", "parent", "parent.git"], files.path());
        run("git", &["update-server-info"], &files.path().join("parent.git"));
        run("git", &["update-server-info"], &files.path().join("repo.git"));
        run("tar", &["-czf", "archive.tgz", "-C", "archive", "."], files.path());
        run("tar", &["-czf", "context.tgz", "-C", "context", "."], files.path());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let root = files.path().to_owned();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let root = root.clone();
                std::thread::spawn(move || drop(answer(stream, &root)));
            }
        });
        Self { url, files }
    }

    /// Returns the folder that is served.
    pub(crate) fn folder(&self) -> &Path {
        self.files.path()
    }

    /// Commits a new text of `file` to the branch `main`.
    pub(crate) fn commit(&self, text: &str) {
        let repo = self.folder().join("repo");
        std::fs::write(repo.join("file"), text).expect("a file of the repository");
        let identity = ["-c", "user.name=x", "-c", "user.email=x@example.test"];
        run("git", &[&identity[..], &["commit", "--quiet", "-am", "next"]].concat(), &repo);
        run("git", &["push", "--quiet", "../repo.git", "main"], &repo);
        run("git", &["update-server-info"], &self.folder().join("repo.git"));
    }

    /// Returns the address, without a slash at the end.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

fn run(program: &str, args: &[&str], at: &Path) -> String {
    let output = Command::new(program)
        .args(args)
        .current_dir(at)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_DATE", "2001-02-03T04:05:06Z")
        .env("GIT_COMMITTER_DATE", "2001-02-03T04:05:06Z")
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn answer(mut stream: TcpStream, root: &Path) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or("/").split('?').next().unwrap_or("/").to_owned();
    let mut authorization = String::new();
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header == "\r\n" {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("authorization:") {
            value.trim().clone_into(&mut authorization);
        }
    }
    let path = match path.strip_prefix("/private") {
        // The words are in lower case, and so is what is left of the base64 of `x-access-token:open`.
        Some(path) if ["bearer open", "basic ec1hy2nlc3mtdg9rzw46b3blbg=="].contains(&&*authorization) => {
            path
        }
        Some(_) => {
            return stream
                .write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        None => &path,
    };
    let file: PathBuf = root.join(path.trim_start_matches('/'));
    match std::fs::read(&file) {
        Ok(bytes) => {
            let length = bytes.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nLast-Modified: {LAST_MODIFIED}\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes())?;
            stream.write_all(&bytes)
        }
        Err(_) => {
            stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        }
    }
}
