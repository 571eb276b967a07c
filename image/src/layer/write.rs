//! Entries to a layer's bytes.

use std::io::{self, Read, Write};

use tar::Header;

use crate::compression::{Compression, Compressor};
use crate::digest::DigestWriter;
use crate::layer::background::BackgroundSha256;
use crate::layer::header::BLOCK_BYTES;
use crate::layer::{Entry, EntryKind, Timestamp, pax};
use crate::{Descriptor, Digest, media_type};

const COPY_BYTES: usize = 128 << 10;

/// Writes a layer: a tar of entries, compressed, with both of its digests.
///
/// The bytes depend on the entries and the compression only. Compressing and digesting run on other threads while the
/// caller appends; memory stays within a few blocks per thread. Entries come out in the order they go in.
///
/// Spec: OCI image-spec, layer.md; POSIX pax. Headers are ustar, with extended headers only where ustar cannot say it:
/// long or non-ASCII paths, ids above 0o7777777, files from 8 GiB, times with nanoseconds, extended attributes. Names
/// of users and groups are never written, and holes are written as zeros.
pub struct LayerWriter<W: Write + Send> {
    packer: Compressor<DigestWriter<W>>,
    diff: BackgroundSha256,
    compression: Compression,
    buffer: Vec<u8>,
}

/// What a [`LayerWriter`] wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenLayer {
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Digest, length and OCI media type of what was written.
    pub descriptor: Descriptor,
    /// Length of the uncompressed tar.
    pub uncompressed_bytes: u64,
}

impl<W: Write + Send> LayerWriter<W> {
    /// Starts a layer that is written to `out` as it grows.
    pub fn new(out: W, compression: Compression) -> Self {
        let packer = Compressor::new(DigestWriter::new(out), compression);
        Self { packer, diff: BackgroundSha256::new(), compression, buffer: vec![0; COPY_BYTES] }
    }

    /// Appends an entry. `content` is read for regular files only, to its end.
    ///
    /// # Errors
    /// Those of reading `content` and of writing; `InvalidInput` where tar cannot hold the entry, and where `content`
    /// has not exactly the length that the entry states. After an error the layer is of no use.
    pub fn append(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = write_entry(&mut TarBytes(self), entry, content, &mut buffer);
        self.buffer = buffer;
        result
    }

    /// Ends the layer and hands back what it was written to.
    ///
    /// # Errors
    /// Those of writing.
    pub fn finish(mut self) -> io::Result<(WrittenLayer, W)> {
        write_end(&mut TarBytes(&mut self))?;
        let (digest, size, out) = self.packer.finish()?.finish();
        let (diff_id, uncompressed_bytes) = self.diff.finish();
        let descriptor = Descriptor::new(media_type::oci_layer(self.compression), digest, size);
        Ok((WrittenLayer { diff_id, descriptor, uncompressed_bytes }, out))
    }
}

/// The uncompressed side of a [`LayerWriter`].
struct TarBytes<'a, W: Write + Send>(&'a mut LayerWriter<W>);

impl<W: Write + Send> Write for TarBytes<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.packer.write_all(bytes)?;
        self.0.diff.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes one entry with its content and padding, through `buffer`, which must not be empty.
pub(crate) fn write_entry(
    out: &mut impl Write,
    entry: &Entry,
    content: &mut dyn Read,
    buffer: &mut [u8],
) -> io::Result<()> {
    let (records, header) = headers(entry)?;
    if !records.is_empty() {
        out.write_all(records_header(entry, records.len() as u64).as_bytes())?;
        out.write_all(&records)?;
        pad(out, records.len() as u64)?;
    }
    out.write_all(header.as_bytes())?;
    if let EntryKind::File { size_bytes } = entry.kind {
        copy_exactly(out, entry, size_bytes, content, buffer)?;
        pad(out, size_bytes)?;
    }
    Ok(())
}

/// Writes the two zero blocks that end an archive.
pub(crate) fn write_end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK_BYTES])
}

fn pad(out: &mut impl Write, written_bytes: u64) -> io::Result<()> {
    let over = usize::try_from(written_bytes % BLOCK_BYTES as u64).expect("below 512");
    if over == 0 { Ok(()) } else { out.write_all(&[0; BLOCK_BYTES][over..]) }
}

fn copy_exactly(
    out: &mut impl Write,
    entry: &Entry,
    size_bytes: u64,
    content: &mut dyn Read,
    buffer: &mut [u8],
) -> io::Result<()> {
    let mut left = size_bytes;
    loop {
        let read = match content.read(buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let path = || String::from_utf8_lossy(&entry.path);
        left = left.checked_sub(read as u64).ok_or_else(|| {
            invalid(format!("`{}` has more than the {size_bytes} bytes it should have", path()))
        })?;
        if read > 0 {
            out.write_all(&buffer[..read])?;
        } else if left == 0 {
            return Ok(());
        } else {
            return Err(invalid(format!("`{}` ends {left} bytes short of {size_bytes}", path())));
        }
    }
}

/// Returns the extended records an entry needs (often none) and its header.
fn headers(entry: &Entry) -> io::Result<(Vec<u8>, Header)> {
    let mut records = Vec::new();
    let mut header = Header::new_ustar();
    let (typeflag, link, size_bytes, device): (u8, &[u8], u64, (u32, u32)) = match &entry.kind {
        EntryKind::File { size_bytes } => (b'0', b"", *size_bytes, (0, 0)),
        EntryKind::Hardlink { target } => (b'1', target, 0, (0, 0)),
        EntryKind::Symlink { target } => (b'2', target, 0, (0, 0)),
        EntryKind::CharDevice { major, minor } => (b'3', b"", 0, (*major, *minor)),
        EntryKind::BlockDevice { major, minor } => (b'4', b"", 0, (*major, *minor)),
        EntryKind::Directory => (b'5', b"", 0, (0, 0)),
        EntryKind::Fifo => (b'6', b"", 0, (0, 0)),
    };
    let name = name_of(entry);
    if name.contains(&0) || link.contains(&0) || name.is_empty() {
        return Err(invalid(format!("`{}` is no path for a tar entry", String::from_utf8_lossy(&name))));
    }
    put_name(&mut header, &mut records, &name);
    put_link(&mut header, &mut records, link);
    header.set_mode(entry.mode & 0o7777);
    header.set_uid(number(&mut records, b"uid", u64::from(entry.uid), 0o777_7777));
    header.set_gid(number(&mut records, b"gid", u64::from(entry.gid), 0o777_7777));
    header.set_size(number(&mut records, b"size", size_bytes, 0o777_7777_7777));
    header.set_mtime(mtime(&mut records, entry.mtime));
    if device.0.max(device.1) > 0o777_7777 {
        return Err(invalid(format!(
            "device numbers {}, {} do not fit into a tar header",
            device.0, device.1
        )));
    }
    header.set_device_major(device.0)?;
    header.set_device_minor(device.1)?;
    for (key, value) in &entry.xattrs {
        if key.is_empty() || key.contains(&b'=') || key.contains(&0) {
            let key = String::from_utf8_lossy(key);
            return Err(invalid(format!("extended attribute `{key}` cannot be named in a tar header")));
        }
        pax::push(&mut records, &[pax::XATTR_PREFIX, key].concat(), value);
    }
    header.as_ustar_mut().expect("made as ustar").typeflag = [typeflag];
    header.set_cksum();
    Ok((records, header))
}

/// Spells the entry's path as tar does: directories end in a slash, the root is `./`.
fn name_of(entry: &Entry) -> Vec<u8> {
    let is_directory = entry.kind == EntryKind::Directory;
    let mut name = entry.path.clone();
    if name.is_empty() && is_directory {
        name.push(b'.');
    }
    if is_directory {
        name.push(b'/');
    }
    name
}

fn put_name(header: &mut Header, records: &mut Vec<u8>, name: &[u8]) {
    let ustar = header.as_ustar_mut().expect("made as ustar");
    if let Some((prefix, rest)) = split_name(name) {
        ustar.prefix[..prefix.len()].copy_from_slice(prefix);
        ustar.name[..rest.len()].copy_from_slice(rest);
    } else {
        pax::push(records, b"path", name);
        put_ascii(&mut ustar.name, name);
    }
}

fn put_link(header: &mut Header, records: &mut Vec<u8>, link: &[u8]) {
    let ustar = header.as_ustar_mut().expect("made as ustar");
    if link.len() > ustar.linkname.len() || !link.is_ascii() {
        pax::push(records, b"linkpath", link);
    }
    put_ascii(&mut ustar.linkname, link);
}

/// Cuts a path into what the ustar fields `prefix` (155 bytes) and `name` (100 bytes) can hold, if they can.
fn split_name(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if !name.is_ascii() {
        return None;
    }
    if name.len() <= 100 {
        return Some((b"", name));
    }
    // The slash that ends a directory must stay in `name`, and is not where to cut.
    let slash = name[..name.len() - 1].iter().take(156).rposition(|b| *b == b'/')?;
    let (prefix, rest) = (&name[..slash], &name[slash + 1..]);
    (!prefix.is_empty() && rest.len() <= 100).then_some((prefix, rest))
}

/// Fills a field with the ASCII bytes of a text, as far as they fit: what is shown by programs that know no pax.
fn put_ascii(field: &mut [u8], text: &[u8]) {
    for (slot, byte) in field.iter_mut().zip(text.iter().filter(|b| b.is_ascii())) {
        *slot = *byte;
    }
}

/// Returns the number for the ustar field: itself, or 0 with a record that says it.
fn number(records: &mut Vec<u8>, key: &[u8], value: u64, most: u64) -> u64 {
    if value <= most {
        return value;
    }
    pax::push(records, key, value.to_string().as_bytes());
    0
}

fn mtime(records: &mut Vec<u8>, time: Timestamp) -> u64 {
    let whole = u64::try_from(time.seconds).ok().filter(|s| *s <= 0o777_7777_7777);
    if whole.is_none() || time.nanoseconds != 0 {
        pax::push(records, b"mtime", pax::format_time(time).as_bytes());
    }
    whole.unwrap_or(0)
}

fn records_header(entry: &Entry, size_bytes: u64) -> Header {
    let base = entry.path.rsplit(|b| *b == b'/').next().unwrap_or_default();
    let mut header = Header::new_ustar();
    let ustar = header.as_ustar_mut().expect("made as ustar");
    put_ascii(&mut ustar.name, &[b"PaxHeaders.0/", base].concat());
    ustar.typeflag = [b'x'];
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size_bytes);
    header.set_mtime(0);
    header.set_cksum();
    header
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}
