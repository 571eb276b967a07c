//! Layers written and read back, by this crate and by GNU tar.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is a failed test")]

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};

use flate2::read::GzDecoder;
use kairn_image::Digest;
use kairn_image::compression::{GzipWriter, decompress, is_tar_archive};
use kairn_image::layer::{Compression, Entry, EntryKind, LayerWriter, Timestamp, WrittenLayer, read_layer};
use proptest::prelude::*;

type Item = (Entry, Vec<u8>);

fn entry(path: &str, kind: EntryKind) -> Entry {
    let mtime = Timestamp { seconds: 1_700_000_000, nanoseconds: 0 };
    Entry { path: path.into(), kind, mode: 0o644, uid: 0, gid: 0, mtime, xattrs: BTreeMap::new() }
}

fn file(path: &str, content: &[u8]) -> Item {
    (entry(path, EntryKind::File { size_bytes: content.len() as u64 }), content.to_vec())
}

fn other(path: &str, kind: EntryKind) -> Item {
    (entry(path, kind), Vec::new())
}

fn with(mut item: Item, change: impl FnOnce(&mut Entry)) -> Item {
    change(&mut item.0);
    item
}

/// Everything a layer can hold, in one.
fn everything() -> Vec<Item> {
    let long = |n: usize| vec!["part-of-a-path"; n].join("/");
    vec![
        other("", EntryKind::Directory),
        with(other("etc", EntryKind::Directory), |e| e.mode = 0o1777),
        file("etc/empty", b""),
        file("etc/block", &[7; 512]),
        file("etc/.wh.gone", b""),
        file("etc/.wh..wh..opq", b""),
        with(file("bin", b"#!"), |e| e.mode = 0o6755),
        file(&long(9), b"split into prefix and name"),
        file(&long(40), b"longer than both"),
        other(&long(8)[..99], EntryKind::Directory),
        other(&long(8)[..100], EntryKind::Directory),
        file("caf\u{e9}", b"not ascii"),
        with(file("x", b"1"), |e| e.path = b"not-\xff-utf8".to_vec()),
        other("link", EntryKind::Symlink { target: b"../etc//./empty".to_vec() }),
        other("long-link", EntryKind::Symlink { target: long(20).into_bytes() }),
        other("hard", EntryKind::Hardlink { target: b"etc/block".to_vec() }),
        other("long-hard", EntryKind::Hardlink { target: long(40).into_bytes() }),
        other("null", EntryKind::CharDevice { major: 1, minor: 3 }),
        other("disk", EntryKind::BlockDevice { major: 259, minor: 1_048_575 }),
        other("pipe", EntryKind::Fifo),
        with(file("fine", b"time"), |e| e.mtime.nanoseconds = 123_456_700),
        with(file("old", b"time"), |e| e.mtime = Timestamp { seconds: -2, nanoseconds: 750_000_000 }),
        with(file("far", b"time"), |e| e.mtime.seconds = 99_999_999_999),
        with(file("ids", b"big"), |e| (e.uid, e.gid) = (u32::MAX - 1, 0o777_7777)),
        with(file("attributes", b"x"), |e| {
            e.xattrs.insert(b"security.capability".to_vec(), b"\x01\0\0\x02\n=\0\xff".to_vec());
            e.xattrs.insert(b"user.empty".to_vec(), Vec::new());
        }),
    ]
}

fn write(items: &[Item], compression: Compression) -> (WrittenLayer, Vec<u8>) {
    let mut writer = LayerWriter::new(Vec::new(), compression);
    for (entry, content) in items {
        writer.append(entry, &mut content.as_slice()).unwrap();
    }
    writer.finish().unwrap()
}

fn read(bytes: &[u8]) -> io::Result<Vec<Item>> {
    let mut items = Vec::new();
    read_layer::<io::Error>(bytes, &mut |entry, content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        items.push((entry, bytes));
        Ok(())
    })?;
    Ok(items)
}

#[test]
fn everything_round_trips_in_every_compression() {
    let items = everything();
    let (plain, tar) = write(&items, Compression::None);
    for compression in [Compression::None, Compression::Gzip { level: 6 }, Compression::Zstd { level: 3 }] {
        let (layer, bytes) = write(&items, compression);
        assert_eq!(read(&bytes).unwrap(), items, "{compression:?}");
        assert_eq!(layer.diff_id, plain.diff_id);
        assert_eq!(layer.diff_id, Digest::of(&tar));
        assert_eq!(layer.uncompressed_bytes, tar.len() as u64);
        assert_eq!(layer.descriptor.digest, Digest::of(&bytes));
        assert_eq!(layer.descriptor.size, bytes.len() as u64);
        assert!(is_tar_archive(bytes.as_slice()).unwrap());
    }
    assert_eq!(plain.descriptor.media_type, "application/vnd.oci.image.layer.v1.tar");
}

#[test]
fn contents_may_be_left_unread() {
    let (_, bytes) = write(&everything(), Compression::None);
    let mut paths = Vec::new();
    read_layer::<io::Error>(bytes.as_slice(), &mut |entry, content| {
        content.read_exact(&mut [0; 1][..usize::from(entry.path == b"bin")])?;
        paths.push(entry.path);
        Ok(())
    })
    .unwrap();
    assert_eq!(paths, everything().into_iter().map(|(e, _)| e.path).collect::<Vec<_>>());
}

#[test]
fn an_empty_layer_is_two_zero_blocks() {
    let (layer, bytes) = write(&[], Compression::None);
    assert_eq!((bytes, layer.uncompressed_bytes), (vec![0; 1024], 1024));
    assert!(read(&write(&[], Compression::default()).1).unwrap().is_empty());
    assert!(read(b"").unwrap().is_empty());
}

#[test]
fn gnu_tar_reads_what_is_written() {
    let Ok(mut tar) = Command::new("tar")
        .args([
            "-tv",
            "--full-time",
            "--numeric-owner",
            "--xattrs",
            "--xattrs-include=*",
            "--utc",
            "-zf",
            "-",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    else {
        assert!(std::env::var_os("CI").is_none(), "CI has GNU tar");
        println!("SKIPPED: no tar program here");
        return;
    };
    let (_, bytes) = write(&everything(), Compression::default());
    tar.stdin.take().unwrap().write_all(&bytes).unwrap();
    let output = tar.wait_with_output().unwrap();
    let (listing, complaints) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && complaints.is_empty(), "{complaints}");
    let lines: Vec<_> = listing.lines().filter(|line| !line.starts_with("  ")).collect();
    assert_eq!(lines.len(), everything().len(), "{listing}");
    for expected in [
        "drwxrwxrwt 0/0 ",
        "-rwsr-sr-x 0/0 ",
        " 2023-11-14 22:13:20.1234567 fine",
        "-rw-r--r-- 4294967294/2097151 ",
        "crw-r--r-- 0/0 1,3 ",
        "brw-r--r-- 0/0 259,1048575 ",
        "prw-r--r-- ",
        " link -> ../etc//./empty",
        " hard link to etc/block",
        " etc/.wh..wh..opq",
        // The star says that GNU tar found extended attributes.
        "-rw-r--r--* 0/0 1 2023-11-14 22:13:20 attributes",
    ] {
        let squeezed = |line: &&&str| line.split_whitespace().collect::<Vec<_>>().join(" ") + " ";
        assert!(
            lines.iter().any(|line| squeezed(&line).contains(expected)),
            "{expected:?} not in\n{listing}"
        );
    }
}

#[test]
fn wrong_lengths_and_impossible_entries_are_refused() {
    let mut writer = LayerWriter::new(Vec::new(), Compression::None);
    let size = |size_bytes| entry("f", EntryKind::File { size_bytes });
    let mut refuse = |entry: &Entry, content: &[u8], expected: &str| {
        let error = writer.append(entry, &mut { content }).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(expected), "{error}");
    };
    refuse(&size(3), b"12", "ends 1 bytes short");
    refuse(&size(1), b"12", "more than the 1 bytes");
    refuse(&entry("", EntryKind::Fifo), b"", "no path");
    refuse(&entry("a\0b", EntryKind::Fifo), b"", "no path");
    refuse(
        &with(file("f", b""), |e| drop(e.xattrs.insert(b"a=b".to_vec(), vec![]))).0,
        b"",
        "cannot be named",
    );
    refuse(&entry("d", EntryKind::CharDevice { major: u32::MAX, minor: 0 }), b"", "do not fit");
}

/// Bytes that compress to something between nothing and everything.
fn sample(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut out = Vec::with_capacity(bytes + 64);
    while out.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = (state >> 33) % 5000;
        write!(out, "word{word} ").unwrap();
    }
    out.truncate(bytes);
    out
}

#[test]
fn gzip_is_the_same_for_any_number_of_threads_and_cuts() {
    for bytes in [0, 1, 100, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5_300_000] {
        let data = sample(bytes);
        let gzip = |threads: usize, piece: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut writer = GzipWriter::new(Vec::new(), 6);
                data.chunks(piece).for_each(|piece| writer.write_all(piece).unwrap());
                writer.finish().unwrap()
            })
        };
        let one = gzip(1, 1 << 20);
        for (threads, piece) in [(2, 1 << 16), (3, 77_777), (8, 1 << 22)] {
            assert!(gzip(threads, piece) == one, "{bytes} bytes, {threads} threads");
        }
        let mut outside = GzipWriter::new(Vec::new(), 6);
        outside.write_all(&data).unwrap();
        assert!(outside.finish().unwrap() == one);
        let mut back = Vec::new();
        // One member: the decoder that stops after the first must have it all.
        GzDecoder::new(one.as_slice()).read_to_end(&mut back).unwrap();
        assert!(back == data, "{bytes} bytes");
        assert_eq!(&one[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
        assert!(bytes < 1000 || one.len() < bytes / 2);
    }
}

#[test]
fn layers_are_the_same_for_any_number_of_threads() {
    let items: Vec<_> = (0..40).map(|n| file(&format!("f{n}"), &sample(n * 10_000))).collect();
    for compression in [Compression::default(), Compression::Zstd { level: 3 }, Compression::None] {
        let layer = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| write(&items, compression).0)
        };
        let one = layer(1);
        assert!([2, 3, 8].into_iter().all(|threads| layer(threads) == one), "{compression:?}");
    }
}

fn run(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    assert!(output.status.success());
    output.stdout
}

#[test]
fn every_compression_is_found_by_content() {
    let (_, tar) = write(&everything(), Compression::None);
    let gzip = write(&everything(), Compression::default()).1;
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    bzip2.write_all(&tar).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
    xz.write_all(&tar).unwrap();
    let cases = [
        ("plain", tar.clone()),
        ("gzip", gzip.clone()),
        ("bzip2", bzip2.finish().unwrap()),
        ("xz", xz.finish().unwrap()),
        ("zstd", write(&everything(), Compression::Zstd { level: 1 }).1),
    ];
    for (name, bytes) in &cases {
        let mut back = Vec::new();
        decompress(bytes.as_slice()).unwrap().read_to_end(&mut back).unwrap();
        assert!(back == tar, "{name}");
        assert!(is_tar_archive(bytes.as_slice()).unwrap(), "{name}");
        assert_eq!(read(bytes).unwrap(), everything(), "{name}");
        if *name != "plain" {
            assert!(read(&bytes[..bytes.len() / 2]).is_err(), "half of {name}");
        }
    }
    let gzip_of_text = run("gzip", &["-n"], b"only text");
    for bytes in
        [&b"PK\x03\x04zip"[..], b"", b"\x1f", b"plain text", &[0; 10_240], &gzip_of_text, &gzip[..20]]
    {
        assert!(!is_tar_archive(bytes).unwrap(), "{bytes:?}");
    }
}

#[test]
fn gzip_of_several_members_is_read_whole() {
    let (_, tar) = write(&everything(), Compression::None);
    let mut bytes = Vec::new();
    for piece in tar.chunks(5_000) {
        let mut writer = GzipWriter::new(bytes, 1);
        writer.write_all(piece).unwrap();
        bytes = writer.finish().unwrap();
    }
    assert_eq!(read(&bytes).unwrap(), everything());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4_000)) {
        let _ = read(&bytes);
        let _ = is_tar_archive(bytes.as_slice());
    }

    #[test]
    fn damaged_layers_never_panic(cut in 0_usize..40_000, hits in proptest::collection::vec((0_usize..40_000, any::<u8>()), 0..6)) {
        let mut bytes = write(&everything(), Compression::None).1;
        for (at, value) in hits {
            let at = at % bytes.len();
            bytes[at] = value;
            // Let the damage past the checksum.
            let start = at / 512 * 512;
            if start + 512 <= bytes.len() {
                let sum: u32 = (start..start + 512)
                    .map(|i| if (148..156).contains(&(i - start)) { 32 } else { u32::from(bytes[i]) })
                    .sum();
                bytes[start + 148..start + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        bytes.truncate(cut.max(512));
        let _ = read(&bytes);
    }
}
