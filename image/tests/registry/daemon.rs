//! Debian's `docker-registry`, as a child.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The program, which dies with its owner.
pub(crate) struct Registry {
    process: Child,
    pub(crate) port: u16,
    folder: TempDir,
}

impl Registry {
    /// Starts one; `None` where the program is absent, which is an error in CI.
    pub(crate) fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp: {{addr: 127.0.0.1:0}}\n",
            folder.path().join("storage").display()
        );
        let (path, log) = (folder.path().join("config.yml"), folder.path().join("log"));
        std::fs::write(&path, config).unwrap();
        let spawned = Command::new("docker-registry")
            .arg("serve")
            .arg(path)
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn();
        let process = match spawned {
            Ok(process) => process,
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "docker-registry: {error}");
                println!("SKIPPED: there is no docker-registry program here ({error})");
                return None;
            }
        };
        let mut registry = Self { process, port: 0, folder };
        registry.port = wait_for_port(&log);
        Some(registry)
    }
}

impl Registry {
    /// Removes a blob as a garbage collector does.
    #[allow(dead_code, reason = "the cache's tests use it")]
    pub(crate) fn lose(&self, hex: &str) {
        let storage = self.folder.path().join("storage/docker/registry/v2");
        std::fs::remove_dir_all(storage.join("blobs/sha256").join(&hex[..2]).join(hex)).unwrap();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn wait_for_port(log: &Path) -> u16 {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        if let Some((_, rest)) = text.split_once("listening on 127.0.0.1:") {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            return digits.parse().unwrap();
        }
        assert!(Instant::now() < end, "docker-registry did not start: {text}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
