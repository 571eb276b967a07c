//! Speed of the layer writer beside `tar | gzip`: `cargo bench -p kairn-image --bench layer`.
//!
//! Two trees are packed from a temporary folder: 20,000 files of about 300 bytes, and two files of 150 MB.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a program for people"
)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use kairn_image::layer::{Compression, Entry, EntryKind, LayerWriter, Timestamp};

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let (small, big) = (folder.path().join("small"), folder.path().join("big"));
    make(&small, 20_000, 300);
    make(&big, 2, 150_000_000);
    for (name, tree) in [("20,000 small files", &small), ("2 files of 150 MB", &big)] {
        let baseline = best(|| {
            let script = "tar --sort=name -cf - -C \"$1\" . | gzip -6 > \"$1.tar.gz\"";
            assert!(Command::new("sh").args(["-c", script, "sh"]).arg(tree).status().unwrap().success());
        });
        println!("{name}: tar | gzip -6 {:.3} s", baseline.as_secs_f64());
        for compression in [
            Compression::None,
            Compression::Gzip { level: 1 },
            Compression::Gzip { level: 5 },
            Compression::Gzip { level: 6 },
            Compression::Zstd { level: 3 },
        ] {
            let (mut size, mut uncompressed) = (0, 0);
            let time = best(|| (size, uncompressed) = pack(tree, &tree.with_extension("layer"), compression));
            println!(
                "  {compression:?}: {:.3} s, {:.0} MB/s, {:.2} x tar|gzip, size {:.4}",
                time.as_secs_f64(),
                uncompressed as f64 / 1e6 / time.as_secs_f64(),
                time.as_secs_f64() / baseline.as_secs_f64(),
                size as f64 / uncompressed as f64,
            );
        }
    }
}

fn best(mut work: impl FnMut()) -> Duration {
    (0..3)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .min()
        .unwrap()
}

/// Packs a folder of files, and returns the layer's length and the tar's.
fn pack(tree: &Path, to: &Path, compression: Compression) -> (u64, u64) {
    let mut writer = LayerWriter::new(BufWriter::new(File::create(to).unwrap()), compression);
    let mut paths: Vec<_> = fs::read_dir(tree).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let mut file = File::open(&path).unwrap();
        let entry = Entry {
            path: path.file_name().unwrap().as_encoded_bytes().to_vec(),
            kind: EntryKind::File { size_bytes: file.metadata().unwrap().len() },
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            xattrs: BTreeMap::new(),
        };
        writer.append(&entry, &mut file).unwrap();
    }
    let (layer, mut out) = writer.finish().unwrap();
    out.flush().unwrap();
    (layer.descriptor.size, layer.uncompressed_bytes)
}

/// Makes files out of this program's own bytes, which compress as programs do.
fn make(folder: &Path, count: usize, bytes: usize) {
    fs::create_dir(folder).unwrap();
    let source = fs::read(std::env::current_exe().unwrap()).unwrap();
    for n in 0..count {
        let mut file = BufWriter::new(File::create(folder.join(format!("{n:05}"))).unwrap());
        let mut left = bytes + n % 64;
        let mut at = n * 997 % source.len();
        while left > 0 {
            let piece = left.min(source.len() - at);
            io::copy(&mut &source[at..at + piece], &mut file).unwrap();
            (left, at) = (left - piece, 0);
        }
        file.flush().unwrap();
    }
}
