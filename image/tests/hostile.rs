//! Archives that nobody should trust, each refused with a reason.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is a failed test")]

use std::io;

use kairn_image::layer::{EntryKind, ReadLayerError, read_layer};
use tar::Header;

struct Archive(Vec<u8>);

impl Archive {
    fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds an entry whose header says what it is told to.
    fn add(mut self, typeflag: u8, name: &[u8], link: &[u8], content: &[u8]) -> Self {
        self.push(typeflag, name, link, content, |_| {});
        self
    }

    fn push(
        &mut self,
        typeflag: u8,
        name: &[u8],
        link: &[u8],
        content: &[u8],
        change: impl FnOnce(&mut Header),
    ) {
        let mut header = Header::new_ustar();
        let ustar = header.as_ustar_mut().unwrap();
        ustar.name[..name.len()].copy_from_slice(name);
        ustar.linkname[..link.len()].copy_from_slice(link);
        ustar.typeflag = [typeflag];
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        change(&mut header);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    fn changed(mut self, change: impl FnOnce(&mut Header)) -> Self {
        self.push(b'0', b"f", b"", b"", change);
        self
    }

    fn pax(self, records: &str) -> Self {
        self.add(b'x', b"PaxHeaders.0/f", b"", records.as_bytes())
    }

    fn file(self) -> Self {
        self.add(b'0', b"f", b"", b"content")
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

fn read(bytes: &[u8]) -> Result<Vec<(String, EntryKind)>, ReadLayerError> {
    let mut found = Vec::new();
    read_layer(bytes, &mut |entry, content| {
        io::copy(content, &mut io::sink())?;
        found.push((String::from_utf8_lossy(&entry.path).into_owned(), entry.kind));
        Ok::<(), ReadLayerError>(())
    })?;
    Ok(found)
}

/// Spells an extended header record, whose length counts its own digits.
fn record(text: &str) -> String {
    let of = |digits: usize| format!("{} {text}\n", text.len() + 2 + digits);
    (1..4).map(of).find(|record| record.starts_with(&format!("{} ", record.len()))).unwrap()
}

#[test]
fn each_is_refused() {
    let new = Archive::new;
    let long = "x".repeat(300);
    let long_name = |bytes: usize| new().add(b'L', b"././@LongLink", b"", &vec![b'a'; bytes]).file().end();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("climbs", new().add(b'0', b"../etc/passwd", b"", b"").end(), "a `..` part"),
        ("climbs in the middle", new().add(b'0', b"a/../../b", b"", b"").end(), "a `..` part"),
        ("climbs as a directory", new().add(b'5', b"..", b"", b"").end(), "a `..` part"),
        ("hard link climbs", new().add(b'1', b"a", b"../../etc/shadow", b"").end(), "a `..` part"),
        ("hard link to nothing", new().add(b'1', b"a", b"", b"").end(), "it has no name"),
        ("hard link to the root", new().add(b'1', b"a", b"/", b"").end(), "only be a directory"),
        ("climbs in pax", new().pax(&record("path=../x")).file().end(), "a `..` part"),
        ("NUL in pax", new().pax(&record("path=a\0bcde")).file().end(), "NUL"),
        ("no name", new().add(b'0', b"", b"", b"").end(), "it has no name"),
        ("a file as the root", new().add(b'0', b"./", b"", b"").end(), "only be a directory"),
        ("link to nothing", new().add(b'2', b"l", b"", b"").end(), "a symbolic link to nothing"),
        ("long part", new().pax(&record(&format!("path={long}"))).file().end(), "over 255 bytes"),
        ("long path", new().add(b'L', b"x", b"", &b"ab/".repeat(2_000)).file().end(), "over 4095 bytes"),
        ("long name of 2 MiB", long_name(2 << 20), "more than 1 MiB"),
        (
            "long name of a lie",
            new().changed(|h| h.as_ustar_mut().unwrap().typeflag = [b'0']).end()[..512]
                .to_vec()
                .tap(|b| lie(b, b'L')),
            "more than 1 MiB",
        ),
        ("old sparse", new().add(b'S', b"s", b"", b"").end(), "a sparse file"),
        ("pax sparse", new().pax(&record("GNU.sparse.major=1")).file().end(), "a sparse file"),
        ("multi-volume", new().add(b'M', b"m", b"", b"").end(), "unknown type `M`"),
        ("unknown type", new().add(b'\xfe', b"m", b"", b"").end(), "unknown type"),
        ("pax length beyond the end", new().pax("99 path=a\n").file().end(), "malformed extended header"),
        ("pax without length", new().pax("path=a\n").file().end(), "malformed extended header"),
        ("pax with a signed size", new().pax(&record("size=-1")).file().end(), "malformed number"),
        ("pax with an odd time", new().pax(&record("mtime=soon")).file().end(), "malformed time"),
        ("pax with a vast owner", new().pax(&record("uid=4294967296")).file().end(), "an owner above"),
        ("pax for nothing", new().pax(&record("path=")).end(), "belongs to no entry"),
        ("pax without end", (0..40).fold(new(), |a, _| a.pax("")).file().end(), "too many extended headers"),
        (
            "letters for a size",
            new().changed(|h| h.as_ustar_mut().unwrap().size[..3].copy_from_slice(b"abc")).end(),
            "malformed number",
        ),
        (
            "negative size",
            new().changed(|h| h.as_ustar_mut().unwrap().size = [0xff; 12]).end(),
            "malformed number",
        ),
        ("lone zero block", [vec![0; 512], new().file().end()].concat(), "a lone zero block"),
        ("wrong checksum", new().file().end().tap(|b| b[0] = b'g'), "wrong checksum"),
        ("no tar", vec![b'x'; 2_000], "no tar header"),
    ];
    for (name, bytes, expected) in cases {
        let error = read(&bytes).expect_err(name);
        assert!(error.to_string().contains(expected), "{name}: {error}");
    }
}

/// Turns a header into one that states 8 GiB of content.
fn lie(block: &mut [u8], typeflag: u8) {
    let mut header = Header::from_byte_slice(block).clone();
    header.set_size(8 << 30);
    header.as_ustar_mut().unwrap().typeflag = [typeflag];
    header.set_cksum();
    block.copy_from_slice(header.as_bytes());
}

trait Tap: Sized {
    fn tap(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl Tap for Vec<u8> {}

#[test]
fn every_cut_is_seen() {
    let whole = Archive::new().pax(&record("path=ab")).add(b'0', b"f", b"", &[1; 700]).end();
    assert_eq!(whole.len(), 512 + 512 + 512 + 1024 + 1024);
    for cut in 1..whole.len() - 1024 {
        let error = read(&whole[..cut]).expect_err("cut short");
        assert!(matches!(error, ReadLayerError::Truncated { .. }), "{cut}: {error}");
    }
    for complete in [whole.len() - 1024, whole.len() - 512, whole.len()] {
        assert_eq!(read(&whole[..complete]).unwrap().len(), 1);
    }
}

#[test]
fn a_cut_content_is_an_error_for_its_reader() {
    let whole = Archive::new().add(b'0', b"f", b"", &[1; 700]).end();
    let mut seen = None;
    let _ = read_layer::<io::Error>(&whole[..800], &mut |_, content| {
        seen = Some(content.read_to_end(&mut Vec::new()).unwrap_err().kind());
        Ok(())
    });
    assert_eq!(seen, Some(io::ErrorKind::UnexpectedEof));
}

#[test]
fn odd_but_honest_archives_are_read() {
    let file = |size_bytes| EntryKind::File { size_bytes };
    let cases: Vec<(Vec<u8>, &str, EntryKind)> = vec![
        (Archive::new().add(b'0', b"./a//b/./c", b"", b"1").end(), "a/b/c", file(1)),
        (Archive::new().add(b'0', b"/abs", b"", b"1").end(), "abs", file(1)),
        (Archive::new().add(b'5', b"./", b"", b"").end(), "", EntryKind::Directory),
        (Archive::new().add(b'5', b"/", b"", b"").end(), "", EntryKind::Directory),
        (Archive::new().add(0, b"old/", b"", b"").end(), "old", EntryKind::Directory),
        (Archive::new().add(0, b"old", b"", b"1").end(), "old", file(1)),
        (Archive::new().add(b'7', b"contiguous", b"", b"1").end(), "contiguous", file(1)),
        (
            Archive::new().add(b'1', b"h", b"./a/", b"").end(),
            "h",
            EntryKind::Hardlink { target: b"a".to_vec() },
        ),
        (Archive::new().add(b'L', b"x", b"", b"long\0").file().end(), "long", file(7)),
        (
            Archive::new().add(b'K', b"x", b"", b"to\0").add(b'2', b"l", b"", b"").end(),
            "l",
            EntryKind::Symlink { target: b"to".to_vec() },
        ),
        (Archive::new().add(b'g', b"x", b"", record("path=evil").as_bytes()).file().end(), "f", file(7)),
        (Archive::new().pax(&(record("path=ab") + &record("path=cd"))).file().end(), "cd", file(7)),
        (Archive::new().pax(&(record("path=ab") + &record("path="))).file().end(), "f", file(7)),
        (Archive::new().file().end().tap(|b| b.extend_from_slice(b"rubbish after the end")), "f", file(7)),
    ];
    for (bytes, path, kind) in cases {
        assert_eq!(read(&bytes).unwrap(), [(path.to_owned(), kind)], "{path}");
    }
}

#[test]
fn a_size_on_a_link_counts_nothing() {
    let mut archive = Archive::new();
    archive.push(b'2', b"l", b"to", b"", |header| header.set_size(700));
    let names: Vec<_> = read(&archive.file().end()).unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["l", "f"]);
}
