//! Base images: busybox, made in memory, and this machine's own Debian or Ubuntu, made once with `mmdebstrap`.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::Registry;
use super::tools::{cache_dir, run, set_mode};

/// Written when a cached base is complete; change it when the recipe changes.
const STAMP: &str = "1";
/// What the Debian base has beside its essential packages.
const PACKAGES: &str = "adduser,attr,libcap2-bin,uidmap";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Returns the registry that all tests of this process share. It has `busybox` and `debian`; a test pushes under its
/// own names.
pub(crate) fn shared() -> &'static Registry {
    static SHARED: OnceLock<Registry> = OnceLock::new();
    SHARED.get_or_init(|| {
        let registry = Registry::start();
        push_busybox(&registry);
        registry.push_layout(&debian_layout(), "latest", "debian:latest");
        registry
    })
}

/// Puts `busybox:latest` into a registry.
pub(crate) fn push_busybox(registry: &Registry) {
    registry.push_layout(&busybox_layout(), "latest", "busybox:latest");
}

/// Returns the OCI layout of the busybox base.
pub(crate) fn busybox_layout() -> PathBuf {
    cached("busybox", |dir| write_layout(&dir.join("oci"), &busybox_tar()).expect("the busybox layout"))
        .join("oci")
}

/// Returns the OCI layout of the Debian base.
pub(crate) fn debian_layout() -> PathBuf {
    cached("debian", make_debian).join("oci")
}

/// Returns the Debian base as a directory: the root of the pods.
pub(crate) fn debian_rootfs() -> PathBuf {
    cached("debian", make_debian).join("rootfs")
}

/// Returns the directory of that name in the cache of bases; `make` fills it where it is missing or stale.
fn cached(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let cache = cache_dir();
    std::fs::create_dir_all(&cache).expect("the cache of bases");
    let lock = File::create(cache.join(format!("{name}.lock"))).expect("a lock file");
    lock.lock().expect("the lock on the cache of bases");
    let dir = cache.join(name);
    let stamp = dir.join("stamp");
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == STAMP) {
        return dir;
    }
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("the base's directory");
    make(&dir);
    std::fs::write(&stamp, STAMP).expect("the stamp is written");
    dir
}

fn busybox_tar() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut entry = |path: &str, kind: tar::EntryType, mode: u32, ids: u64, data: &[u8], link: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(ids);
        header.set_gid(ids);
        header.set_mtime(1_700_000_000);
        header.set_size(data.len() as u64);
        if link.is_empty() {
            tar.append_data(&mut header, path, data).expect("an entry in memory");
        } else {
            tar.append_link(&mut header, path, link).expect("a link in memory");
        }
    };
    let (dir, file) = (tar::EntryType::Directory, tar::EntryType::Regular);
    for path in ["bin/", "dev/", "etc/", "proc/", "root/", "sys/", "usr/", "usr/bin/", "var/"] {
        entry(path, dir, 0o755, 0, &[], "");
    }
    entry("home/", dir, 0o755, 0, &[], "");
    entry("home/app/", dir, 0o755, 1000, &[], "");
    entry("tmp/", dir, 0o1777, 0, &[], "");
    entry(
        "etc/passwd",
        file,
        0o644,
        0,
        b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n",
        "",
    );
    entry("etc/group", file, 0o644, 0, b"root:x:0:\napp:x:1000:\nextra:x:2000:app\n", "");
    let busybox = PathBuf::from(run(Command::new("sh").args(["-c", "command -v busybox"])).trim());
    entry("bin/busybox", file, 0o755, 0, &std::fs::read(busybox).expect("busybox"), "");
    for applet in run(Command::new("busybox").arg("--list")).lines().filter(|name| *name != "busybox") {
        entry(&format!("bin/{applet}"), tar::EntryType::Symlink, 0o777, 0, &[], "busybox");
    }
    tar.into_inner().expect("a tar in memory")
}

fn make_debian(dir: &Path) {
    eprintln!("making the Debian base, once for this build directory ...");
    let tar_path = dir.join("rootfs.tar");
    let mut mmdebstrap = Command::new("mmdebstrap")
        .args(["--quiet", "--variant=minbase", "--mode=root", "--format=tar"])
        .args([&format!("--include={PACKAGES}"), "--aptopt=Acquire::Languages \"none\""])
        .args(["--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*"])
        .args(["--dpkgopt=path-exclude=/usr/share/locale/*", &codename()])
        .arg(&tar_path)
        .arg("-")
        .stdin(Stdio::piped())
        .spawn()
        .expect("mmdebstrap starts");
    mmdebstrap
        .stdin
        .take()
        .expect("its input")
        .write_all(apt_sources().as_bytes())
        .expect("sources are sent");
    assert!(
        mmdebstrap.wait().expect("mmdebstrap ends").success(),
        "mmdebstrap could not make the Debian base"
    );
    let mut tar = Vec::new();
    File::open(&tar_path).expect("the base's tar").read_to_end(&mut tar).expect("the base's tar is read");
    write_layout(&dir.join("oci"), &tar).expect("the Debian layout");
    let rootfs = dir.join("rootfs");
    std::fs::create_dir(&rootfs).expect("the base's root");
    run(Command::new("tar")
        .arg("-C")
        .arg(&rootfs)
        .args(["--numeric-owner", "--exclude=./dev/*", "-xpf"])
        .arg(&tar_path));
    set_mode(&rootfs, 0o755);
    for ids in ["etc/subuid", "etc/subgid"] {
        std::fs::write(rootfs.join(ids), "pod:100000:65536\n").expect("the pods' ids are written");
    }
    for (file, line) in [("etc/passwd", "pod:x:1000:1000::/tmp:/bin/sh\n"), ("etc/group", "pod:x:1000:\n")] {
        let mut file = File::options().append(true).open(rootfs.join(file)).expect("a file of the base");
        file.write_all(line.as_bytes()).expect("the pods' user is written");
    }
    // As in the images made for builds without root: with file capabilities instead of the setuid bit, the tools work
    // also where CAP_SYS_ADMIN is not in the bounding set.
    for (tool, capability) in [("usr/bin/newuidmap", "cap_setuid=ep"), ("usr/bin/newgidmap", "cap_setgid=ep")]
    {
        set_mode(&rootfs.join(tool), 0o755);
        run(Command::new("setcap").arg(capability).arg(rootfs.join(tool)));
    }
    std::fs::remove_file(&tar_path).expect("the tar is removed");
}

/// The distribution of this machine, so that a program built here runs there.
fn codename() -> String {
    run(Command::new("sh").args(["-c", ". /etc/os-release; echo \"$VERSION_CODENAME\""])).trim().to_owned()
}

/// The distribution's own package sources, as this machine's apt has them.
fn apt_sources() -> String {
    let format = "--format=$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(SIGNED_BY)";
    let targets = run(Command::new("apt-get").args(["indextargets", format, "Created-By: Packages"]));
    let lines: Vec<String> = targets
        .lines()
        .filter(|line| line.starts_with("Debian|") || line.starts_with("Ubuntu|"))
        .filter_map(|line| {
            let [_, uri, release, component, signed_by] =
                line.split('|').collect::<Vec<_>>().try_into().ok()?;
            let options =
                if signed_by.starts_with('/') { format!("[signed-by={signed_by}] ") } else { String::new() };
            Some(format!("deb {options}{uri} {release} {component}"))
        })
        .collect();
    assert!(!lines.is_empty(), "apt knows no packages: run `apt-get update`");
    lines.join("\n") + "\n"
}

/// Writes an image of one layer as an OCI layout with the tag `latest`.
fn write_layout(layout: &Path, layer: &[u8]) -> std::io::Result<()> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::new(1));
    gzip.write_all(layer)?;
    let layer_blob = gzip.finish()?;
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "created": "2023-11-14T22:13:20Z",
        "config": { "Env": [PATH], "Cmd": ["/bin/sh"] },
        "rootfs": { "type": "layers", "diff_ids": [digest_of(layer)] },
        "history": [{ "created": "2023-11-14T22:13:20Z", "created_by": "base" }],
    });
    std::fs::create_dir_all(layout.join("blobs/sha256"))?;
    let blob = |media_type: &str, bytes: &[u8]| -> std::io::Result<serde_json::Value> {
        let digest = digest_of(bytes);
        std::fs::write(layout.join("blobs").join(digest.replace(':', "/")), bytes)?;
        Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes())?,
        "layers": [blob("application/vnd.oci.image.layer.v1.tar+gzip", &layer_blob)?],
    });
    let mut descriptor = blob("application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes())?;
    descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
    std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    std::fs::write(
        layout.join("index.json"),
        json!({ "schemaVersion": 2, "manifests": [descriptor] }).to_string(),
    )
}

/// Returns the digest of some bytes, `sha256:...`.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

/// Returns bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes any text");
        text
    })
}
