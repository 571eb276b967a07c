//! A real registry on a loopback port.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::tools::{run, test_dir};

/// A `docker-registry` with its own storage, over http. It dies with its owner, however that ends.
pub(crate) struct Registry {
    process: Child,
    dir: TempDir,
    port: u16,
    credentials: Option<String>,
}

impl Registry {
    /// Starts one that lets everybody in.
    pub(crate) fn start() -> Self {
        Self::launch(None)
    }

    /// Starts one that wants basic authentication.
    pub(crate) fn start_with_basic_auth(user: &str, password: &str) -> Self {
        Self::launch(Some((user, password)))
    }

    fn launch(credentials: Option<(&str, &str)>) -> Self {
        let dir = test_dir("registry-");
        let storage = dir.path().join("storage");
        let mut config = format!(
            "version: 0.1\nlog:\n  level: info\n  accesslog:\n    disabled: false\nstorage:\n  filesystem:\n    \
             rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:0\n",
            storage.display()
        );
        if let Some((user, password)) = credentials {
            let htpasswd = dir.path().join("htpasswd");
            std::fs::write(&htpasswd, format!("{user}:{}\n", bcrypt(password))).expect("htpasswd is written");
            config += &format!("auth:\n  htpasswd:\n    realm: kairn\n    path: {}\n", htpasswd.display());
        }
        let config_path = dir.path().join("config.yml");
        std::fs::write(&config_path, config).expect("the registry's configuration is written");

        // The shell ends the registry when its standard input closes, which even SIGKILL to the test does.
        let script = "exec 3<&0; docker-registry serve \"$1\" <&- 3<&- & read -r _ <&3; kill -9 $!; wait";
        let process = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(&config_path)
            .stdin(Stdio::piped())
            .stdout(File::create(dir.path().join("access.log")).expect("an access log"))
            .stderr(File::create(dir.path().join("error.log")).expect("an error log"))
            .spawn()
            .expect("docker-registry starts");
        let port = wait_for_port(&dir.path().join("error.log"));
        let credentials = credentials.map(|(user, password)| format!("{user}:{password}"));
        Self { process, dir, port, credentials }
    }

    /// Returns `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns the full reference of `name` (`app:1`) in this registry.
    pub(crate) fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.host())
    }

    /// Copies an image of an OCI layout into this registry.
    pub(crate) fn push_layout(&self, layout: &Path, tag: &str, name: &str) {
        let mut copy = Command::new("skopeo");
        copy.args(["copy", "--quiet", "--dest-tls-verify=false", "--insecure-policy"]);
        if let Some(credentials) = &self.credentials {
            copy.args(["--dest-creds", credentials]);
        }
        run(copy
            .arg(format!("oci:{}:{tag}", layout.display()))
            .arg(format!("docker://{}", self.reference(name))));
    }

    /// Copies an image out of this registry into a new OCI layout, under the tag `latest`.
    pub(crate) fn pull_layout(&self, name: &str, layout: &Path) {
        let mut copy = Command::new("skopeo");
        copy.args(["copy", "--quiet", "--src-tls-verify=false", "--insecure-policy"]);
        if let Some(credentials) = &self.credentials {
            copy.args(["--src-creds", credentials]);
        }
        run(copy
            .arg(format!("docker://{}", self.reference(name)))
            .arg(format!("oci:{}:latest", layout.display())));
    }

    /// Returns the requests so far, `METHOD PATH STATUS` each, in order.
    pub(crate) fn requests(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default();
        log.lines().filter_map(request_of).collect()
    }

    /// Returns the file that holds a blob's bytes.
    pub(crate) fn blob_path(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").expect("a sha256 digest");
        let blobs = self.dir.path().join("storage/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// `127.0.0.1 - - [date] "GET /v2/ HTTP/1.1" 200 2 "" "agent"` to `GET /v2/ 200`.
fn request_of(line: &str) -> Option<String> {
    let mut quoted = line.split('"');
    let request = quoted.nth(1)?;
    let status = quoted.next()?.split_whitespace().next()?;
    let (method_and_path, _) = request.rsplit_once(' ')?;
    Some(format!("{method_and_path} {status}"))
}

fn wait_for_port(log: &Path) -> u16 {
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let port = text.split("listening on 127.0.0.1:").nth(1).map(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().expect("a port number")
        });
        if let Some(port) = port {
            return port;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("docker-registry did not start: {}", std::fs::read_to_string(log).unwrap_or_default());
}

fn bcrypt(password: &str) -> String {
    let script = "print crypt($ARGV[0], '$2b$05$abcdefghijklmnopqrstuu')";
    let hash = run(Command::new("perl").args(["-e", script, password]));
    assert!(hash.starts_with("$2b$"), "this machine's crypt has no bcrypt: {hash}");
    hash
}
