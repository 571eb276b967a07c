//! A layer's bytes to entries.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};

use tar::Header;

use crate::compression::decompress;
use crate::layer::header::{BLOCK_BYTES, checksum_is_right, number, text};
use crate::layer::{Entry, EntryKind, Timestamp, pax};

/// Most bytes of one extended header or one GNU long name.
const EXTENSION_BYTES: u64 = 1 << 20;
/// Most extended headers and long names that one entry may have.
const EXTENSIONS_PER_ENTRY: usize = 16;
/// Headers are read in pieces of 512 bytes, which is too little for a system call or a decompressor.
const BUFFER_BYTES: usize = 64 << 10;
/// Longest path and longest part of one, as Linux has them.
const PATH_BYTES: usize = 4095;
const PART_BYTES: usize = 255;

/// A layer cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadLayerError {
    /// The bytes could not be read or decompressed.
    #[error("cannot read the archive")]
    Io(#[source] io::Error),
    /// The bytes end inside a header or an entry.
    #[error("the archive is cut short at byte {offset}")]
    Truncated {
        /// Where, in the uncompressed archive.
        offset: u64,
    },
    /// A header that no archive has.
    #[error("the archive is damaged at byte {offset}: {reason}")]
    Damaged {
        /// Where, in the uncompressed archive.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// A path that could lead out of the image, or that no Linux file can have.
    #[error("archive entry `{path}` is refused: {reason}")]
    Path {
        /// The path, shortened.
        path: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A kind of entry that layers do not have.
    #[error("archive entry `{path}` is {what}, which is not supported")]
    Unsupported {
        /// The entry's path.
        path: String,
        /// What it is.
        what: String,
    },
}

impl From<io::Error> for ReadLayerError {
    /// Finds a `ReadLayerError` that went through an [`io::Error`], as it does through [`Read`].
    fn from(error: io::Error) -> Self {
        error.downcast().unwrap_or_else(Self::Io)
    }
}

impl From<ReadLayerError> for io::Error {
    fn from(error: ReadLayerError) -> Self {
        match error {
            ReadLayerError::Io(error) => error,
            ReadLayerError::Truncated { .. } => Self::new(io::ErrorKind::UnexpectedEof, error),
            _ => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}

/// Reads a layer, plain or compressed, and shows each entry with its content to `visit`, in order.
///
/// What `visit` leaves of a content is skipped; an empty reader stands for entries that have none. The whole input is
/// read, also what follows the end of the archive, so that a reader below it can check a digest.
///
/// # Errors
/// Those of `visit`, and [`ReadLayerError`] for what the input is. Where the input ends inside a content, `visit`'s
/// reader fails with `UnexpectedEof`.
pub fn read_layer<E: From<ReadLayerError>>(
    input: impl Read,
    visit: &mut dyn FnMut(Entry, &mut dyn Read) -> Result<(), E>,
) -> Result<(), E> {
    let mut reader = LayerReader::new(input)?;
    while let Some(entry) = reader.next_entry()? {
        visit(entry, &mut reader)?;
    }
    Ok(())
}

/// Reads the entries of a layer one by one; as a [`Read`], it is the content of the entry that came last.
///
/// Paths and link targets come normalised to the form of [`Entry::path`]. Memory is bounded whatever the input says.
///
/// Spec: OCI image-spec, layer.md; POSIX pax; GNU long names and base 256 numbers. Sparse files are refused.
/// An archive that ends between two entries without its two zero blocks is taken as complete, as BuildKit does.
pub struct LayerReader<'a> {
    input: BufReader<Box<dyn Read + 'a>>,
    offset: u64,
    content_left: u64,
    padding: u64,
    ended: bool,
}

/// What extended headers say about the entry after them.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size_bytes: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<Timestamp>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    is_sparse: bool,
}

impl<'a> LayerReader<'a> {
    /// Starts reading; finds out how `input` is compressed.
    ///
    /// # Errors
    /// [`ReadLayerError::Io`] where the first bytes cannot be read.
    pub fn new(input: impl Read + 'a) -> Result<Self, ReadLayerError> {
        let input = BufReader::with_capacity(BUFFER_BYTES, decompress(input)?);
        Ok(Self { input, offset: 0, content_left: 0, padding: 0, ended: false })
    }

    /// Skips what is left of the entry before and reads the next one; `None` after the last.
    ///
    /// # Errors
    /// [`ReadLayerError`]; reading on after one is of no use.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ReadLayerError> {
        let mut extensions = Extensions::default();
        for count in 0.. {
            self.skip_content()?;
            let Some(header) = self.next_header(count > 0)? else { return Ok(None) };
            let typeflag = header.as_old().linkflag[0];
            if !matches!(typeflag, b'x' | b'g' | b'L' | b'K') {
                return self.entry(&header, extensions).map(Some);
            }
            if count >= EXTENSIONS_PER_ENTRY {
                return Err(self.damaged("too many extended headers in a row"));
            }
            let content = self.extension(&header)?;
            match typeflag {
                b'x' => self.read_records(&content, &mut extensions)?,
                b'L' => extensions.path = Some(text(&content).to_vec()),
                b'K' => extensions.link = Some(text(&content).to_vec()),
                // Global headers hold comments; container tools ignore them.
                _ => {}
            }
        }
        unreachable!("the loop above ends by returning")
    }

    /// Reads a header block; `None` at the end of the archive.
    fn next_header(&mut self, inside_entry: bool) -> Result<Option<Header>, ReadLayerError> {
        let mut header = Header::new_old();
        match self.fill(header.as_mut_bytes())? {
            0 if !inside_entry => return Ok(None),
            BLOCK_BYTES => {}
            _ => return Err(self.truncated()),
        }
        if header.as_bytes().iter().all(|b| *b == 0) {
            if inside_entry {
                return Err(self.damaged("an extended header belongs to no entry"));
            }
            self.read_end()?;
            return Ok(None);
        }
        if !checksum_is_right(&header) {
            return Err(self.damaged("no tar header, or one with a wrong checksum"));
        }
        Ok(Some(header))
    }

    /// Reads on after the first zero block, to the end of the input.
    fn read_end(&mut self) -> Result<(), ReadLayerError> {
        if self.ended {
            return Ok(());
        }
        let mut second = [0; BLOCK_BYTES];
        let read = self.fill(&mut second)?;
        if second[..read].iter().any(|b| *b != 0) {
            return Err(self.damaged("a lone zero block"));
        }
        io::copy(&mut self.input, &mut io::sink())?;
        self.ended = true;
        Ok(())
    }

    /// Reads the content of an extended header.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, ReadLayerError> {
        let size_bytes = self.size(header)?;
        if size_bytes > EXTENSION_BYTES {
            return Err(self.damaged("an extended header of more than 1 MiB"));
        }
        self.set_content(size_bytes);
        let mut content = Vec::new();
        self.take(size_bytes).read_to_end(&mut content)?;
        Ok(content)
    }

    fn read_records(&self, mut records: &[u8], into: &mut Extensions) -> Result<(), ReadLayerError> {
        while !records.is_empty() {
            let (key, value, rest) =
                pax::split_first(records).ok_or_else(|| self.damaged("a malformed extended header"))?;
            records = rest;
            let decimal = || {
                let text = std::str::from_utf8(value).ok().filter(|t| t.bytes().all(|b| b.is_ascii_digit()));
                text.and_then(|t| t.parse::<u64>().ok()).ok_or_else(|| self.damaged("a malformed number"))
            };
            // An empty value takes an earlier record back.
            let given = !value.is_empty();
            match key {
                b"path" => into.path = given.then(|| value.to_vec()),
                b"linkpath" => into.link = given.then(|| value.to_vec()),
                b"size" => into.size_bytes = given.then(decimal).transpose()?,
                b"uid" => into.uid = given.then(decimal).transpose()?,
                b"gid" => into.gid = given.then(decimal).transpose()?,
                b"mtime" => {
                    let time = || pax::parse_time(value).ok_or_else(|| self.damaged("a malformed time"));
                    into.mtime = given.then(time).transpose()?;
                }
                _ if key.starts_with(b"GNU.sparse.") => into.is_sparse = true,
                _ => {
                    if let Some(name) = key.strip_prefix(pax::XATTR_PREFIX) {
                        into.xattrs.insert(name.to_vec(), value.to_vec());
                    }
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, header: &Header, extensions: Extensions) -> Result<Entry, ReadLayerError> {
        let raw_path = extensions.path.unwrap_or_else(|| path_of(header));
        let raw_link = extensions.link.unwrap_or_else(|| text(&header.as_old().linkname).to_vec());
        let typeflag = header.as_old().linkflag[0];
        if extensions.is_sparse || typeflag == b'S' {
            return Err(unsupported(&raw_path, "a sparse file (pack it without --sparse)".to_owned()));
        }
        let ends_in_slash = raw_path.ends_with(b"/");
        let kind = match typeflag {
            // Before POSIX, directories were files whose name ends in a slash.
            0 if ends_in_slash => EntryKind::Directory,
            0 | b'0' | b'7' => {
                EntryKind::File { size_bytes: extensions.size_bytes.map_or_else(|| self.size(header), Ok)? }
            }
            b'1' => EntryKind::Hardlink { target: normalise(&raw_link)? },
            b'2' => EntryKind::Symlink { target: link_text(&raw_path, raw_link)? },
            b'3' | b'4' => self.device(header)?,
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            other => {
                let what = format!("of the unknown type `{}`", other.escape_ascii());
                return Err(unsupported(&raw_path, what));
            }
        };
        let path = normalise(&raw_path)?;
        let names_the_root = match &kind {
            EntryKind::Directory => false,
            EntryKind::Hardlink { target } => path.is_empty() || target.is_empty(),
            _ => path.is_empty(),
        };
        if names_the_root {
            return Err(refused(&raw_path, "the root can only be a directory"));
        }
        let mode = self.field(&header.as_old().mode)?;
        let uid = extensions.uid.map_or_else(|| self.field(&header.as_old().uid), Ok)?;
        let gid = extensions.gid.map_or_else(|| self.field(&header.as_old().gid), Ok)?;
        let id = |id| u32::try_from(id).map_err(|_| self.damaged("an owner above 4294967295"));
        let seconds = || number(&header.as_old().mtime).ok_or_else(|| self.damaged("a malformed time"));
        let mtime = match extensions.mtime {
            Some(time) => time,
            None => Timestamp { seconds: seconds()?, nanoseconds: 0 },
        };
        let entry = Entry {
            path,
            mode: u32::try_from(mode & 0o7777).expect("at most 0o7777"),
            uid: id(uid)?,
            gid: id(gid)?,
            mtime,
            xattrs: extensions.xattrs,
            kind,
        };
        // Only files have content: the size that some programs state for links and directories counts nothing.
        self.set_content(if let EntryKind::File { size_bytes } = entry.kind { size_bytes } else { 0 });
        Ok(entry)
    }

    fn device(&self, header: &Header) -> Result<EntryKind, ReadLayerError> {
        let (major, minor) = match (header.as_ustar(), header.as_gnu()) {
            (Some(h), _) => (&h.dev_major, &h.dev_minor),
            (_, Some(h)) => (&h.dev_major, &h.dev_minor),
            _ => return Err(self.damaged("a device without numbers")),
        };
        let number = |field| {
            let number = self.field(field)?;
            u32::try_from(number).map_err(|_| self.damaged("a device number above 4294967295"))
        };
        let (major, minor) = (number(major)?, number(minor)?);
        Ok(if header.as_old().linkflag[0] == b'3' {
            EntryKind::CharDevice { major, minor }
        } else {
            EntryKind::BlockDevice { major, minor }
        })
    }

    fn size(&self, header: &Header) -> Result<u64, ReadLayerError> {
        self.field(&header.as_old().size)
    }

    fn field(&self, field: &[u8]) -> Result<u64, ReadLayerError> {
        number(field).and_then(|n| u64::try_from(n).ok()).ok_or_else(|| self.damaged("a malformed number"))
    }

    fn set_content(&mut self, size_bytes: u64) {
        let block = BLOCK_BYTES as u64;
        self.content_left = size_bytes;
        self.padding = (block - size_bytes % block) % block;
    }

    fn skip_content(&mut self) -> Result<(), ReadLayerError> {
        io::copy(self, &mut io::sink())?;
        let padding = usize::try_from(std::mem::take(&mut self.padding)).expect("below 512");
        let mut block = [0; BLOCK_BYTES];
        if self.fill(&mut block[..padding])? < padding { Err(self.truncated()) } else { Ok(()) }
    }

    /// Reads until the buffer is full or the input ends.
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.input.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.offset += filled as u64;
        Ok(filled)
    }

    fn truncated(&self) -> ReadLayerError {
        ReadLayerError::Truncated { offset: self.offset }
    }

    fn damaged(&self, reason: &'static str) -> ReadLayerError {
        ReadLayerError::Damaged { offset: self.offset, reason }
    }
}

impl Read for LayerReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.content_left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if wanted == 0 {
            return Ok(0);
        }
        let read = self.input.read(&mut buffer[..wanted])?;
        if read == 0 {
            return Err(self.truncated().into());
        }
        self.offset += read as u64;
        self.content_left -= read as u64;
        Ok(read)
    }
}

fn path_of(header: &Header) -> Vec<u8> {
    let name = text(&header.as_old().name);
    match header.as_ustar().map(|ustar| text(&ustar.prefix)) {
        Some(prefix) if !prefix.is_empty() => [prefix, b"/", name].concat(),
        _ => name.to_vec(),
    }
}

fn normalise(raw: &[u8]) -> Result<Vec<u8>, ReadLayerError> {
    if raw.is_empty() {
        return Err(refused(raw, "it has no name"));
    }
    if raw.contains(&0) {
        return Err(refused(raw, "it has a NUL byte"));
    }
    let mut path = Vec::with_capacity(raw.len());
    for part in raw.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(refused(raw, "it has a `..` part")),
            part if part.len() > PART_BYTES => return Err(refused(raw, "a part of it is over 255 bytes")),
            part => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(part);
            }
        }
    }
    if path.len() > PATH_BYTES { Err(refused(raw, "it is over 4095 bytes")) } else { Ok(path) }
}

fn link_text(path: &[u8], target: Vec<u8>) -> Result<Vec<u8>, ReadLayerError> {
    match target.len() {
        0 => Err(refused(path, "it is a symbolic link to nothing")),
        1..=PATH_BYTES if target.contains(&0) => Err(refused(path, "its link has a NUL byte")),
        1..=PATH_BYTES => Ok(target),
        _ => Err(refused(path, "its link is over 4095 bytes")),
    }
}

fn refused(path: &[u8], reason: &'static str) -> ReadLayerError {
    ReadLayerError::Path { path: shown(path), reason }
}

fn unsupported(path: &[u8], what: String) -> ReadLayerError {
    ReadLayerError::Unsupported { path: shown(path), what }
}

fn shown(path: &[u8]) -> String {
    const SHOWN_BYTES: usize = 200;
    match path.get(..SHOWN_BYTES) {
        Some(start) => format!("{}..", start.escape_ascii()),
        None => String::from_utf8_lossy(path).escape_debug().to_string(),
    }
}
