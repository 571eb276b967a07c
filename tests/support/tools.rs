//! The machine's own tools, and what is done where one is missing.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

/// Set (to anything) where a test that cannot run must fail: CI and `make test` set it.
const REQUIRE: &str = "KAIRN_TEST_REQUIRE";

/// What every end-to-end test needs, and the Debian package that has it.
const TOOLS: &[(&str, &str)] = &[
    ("docker-registry", "docker-registry"),
    ("skopeo", "skopeo"),
    ("runc", "runc"),
    ("busybox", "busybox-static"),
    ("mmdebstrap", "mmdebstrap"),
    ("newuidmap", "uidmap"),
    ("setfattr", "attr"),
    ("setcap", "libcap2-bin"),
    ("unshare", "util-linux"),
    ("perl", "perl-base"),
    ("tar", "tar"),
];

/// Tells whether the end-to-end tests can run here: as root, with every tool. Where they cannot, says so on standard
/// error, and fails where they must.
pub(crate) fn can_run() -> bool {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    let Some(missing) = MISSING.get_or_init(missing) else { return true };
    assert!(std::env::var_os(REQUIRE).is_none(), "end-to-end tests cannot run here: {missing}");
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    eprintln!("NOT RUN: {test}: {missing}; `sudo make test` installs and runs everything");
    false
}

fn missing() -> Option<String> {
    let uid = run(Command::new("id").arg("-u"));
    if uid.trim() != "0" {
        return Some("they need root, to start containers of every kind".to_owned());
    }
    let absent: Vec<&str> = TOOLS
        .iter()
        .filter(|(tool, _)| {
            let found =
                Command::new("sh").args(["-c", &format!("command -v {tool}")]).stdout(Stdio::null()).status();
            !found.is_ok_and(|status| status.success())
        })
        .map(|(_, package)| *package)
        .collect();
    (!absent.is_empty()).then(|| format!("packages are missing: {}", absent.join(" ")))
}

/// Runs a command that has to succeed and returns its standard output.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Makes a temporary directory that any user may enter, on the file system of the build directory (an overlay's upper
/// directory must not itself be on an overlay, which `/tmp` of a container often is).
pub(crate) fn test_dir(prefix: &str) -> TempDir {
    let dir = tempfile::Builder::new()
        .prefix(prefix)
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a test directory");
    set_mode(dir.path(), 0o755);
    dir
}

/// Sets the mode bits of a file.
pub(crate) fn set_mode(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode can be set");
}

/// Where things are kept that are made once for many runs.
pub(crate) fn cache_dir() -> PathBuf {
    let tmp = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().expect("the target directory").join("kairn-test-bases")
}
