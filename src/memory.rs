//! How much memory there is for a build: what the container may use, or what the machine has.

use std::path::{Path, PathBuf};

/// Bytes of memory that RUNs may come to together: nine tenths of the cgroup's limit, or of the machine's memory; the
/// largest number where neither is known.
pub fn budget() -> u64 {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    available(&read).map_or(u64::MAX, |bytes| bytes / 10 * 9)
}

/// The smallest of all limits that are set, and of the machine's memory.
///
/// Limits of a cgroup are those of every cgroup above it as well. Where the container sees another tree than its names are
/// from, the top of what it sees is its own. Spec: cgroups(7), Linux's cgroup-v2.rst, `memory.max`.
fn available(read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
        let (mount, file) = if controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        for above in Path::new(group.trim_start_matches('/')).ancestors() {
            files.push(PathBuf::from(mount).join(above).join(file));
        }
    }
    let limits = files.iter().filter_map(|file| read(file)?.trim().parse().ok());
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| total(&text));
    limits.chain(machine).min()
}

/// Reads `MemTotal` of /proc/meminfo, in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_limit_counts() {
        let memory = ("/proc/meminfo", "MemTotal:       1000 kB\nMemFree: 1 kB\n");
        for (files, expected) in [
            (&[memory][..], Some(1_024_000)),
            (&[memory, ("/proc/self/cgroup", "0::/\n"), ("/sys/fs/cgroup/memory.max", "5000\n")], Some(5000)),
            (
                &[
                    memory,
                    ("/proc/self/cgroup", "0::/pod/box\n"),
                    ("/sys/fs/cgroup/pod/box/memory.max", "max\n"),
                    ("/sys/fs/cgroup/pod/memory.max", "7000\n"),
                ],
                Some(7000),
            ),
            (
                &[
                    memory,
                    ("/proc/self/cgroup", "4:cpu:/x\n3:memory:/not/seen\n0::/\n"),
                    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9000\n"),
                ],
                Some(9000),
            ),
            (
                &[
                    memory,
                    ("/proc/self/cgroup", "3:memory:/\n"),
                    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ],
                Some(1_024_000),
            ),
            (&[], None),
        ] {
            let read = |path: &Path| {
                let found = files.iter().find(|(name, _)| Path::new(name) == path);
                found.map(|(_, text)| (*text).to_owned())
            };
            assert_eq!(available(&read), expected, "{files:?}");
        }
    }
}
