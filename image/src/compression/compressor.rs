//! One way to compress, whatever it is.

use std::io::{self, Write};

use super::{Compression, GzipWriter};

/// Compresses what is written to it. Equal input gives equal output, with any number of threads.
pub struct Compressor<W: Write> {
    packer: Packer<W>,
}

enum Packer<W: Write> {
    None(W),
    Gzip(GzipWriter<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
    /// zstd refused its settings; shown at the first write.
    Broken(io::Error),
}

impl<W: Write> Compressor<W> {
    /// Starts a stream that is written to `out`.
    pub fn new(out: W, compression: Compression) -> Self {
        let packer = match compression {
            Compression::None => Packer::None(out),
            Compression::Gzip { level } => Packer::Gzip(GzipWriter::new(out, level)),
            Compression::Zstd { level } => match zstd_encoder(out, level) {
                Ok(encoder) => Packer::Zstd(encoder),
                Err(error) => Packer::Broken(error),
            },
        };
        Self { packer }
    }

    /// Ends the stream and hands back what it was written to.
    ///
    /// # Errors
    /// Those of writing.
    pub fn finish(self) -> io::Result<W> {
        match self.packer {
            Packer::None(out) => Ok(out),
            Packer::Gzip(gzip) => gzip.finish(),
            Packer::Zstd(zstd) => zstd.finish(),
            Packer::Broken(error) => Err(error),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.packer {
            Packer::None(out) => out.write(bytes),
            Packer::Gzip(out) => out.write(bytes),
            Packer::Zstd(out) => out.write(bytes),
            Packer::Broken(error) => Err(io::Error::new(error.kind(), error.to_string())),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn zstd_encoder<W: Write>(out: W, level: i32) -> io::Result<zstd::stream::write::Encoder<'static, W>> {
    let mut encoder = zstd::stream::write::Encoder::new(out, level)?;
    // Any number of workers from one on gives the same bytes; none at all gives others.
    encoder.multithread(u32::try_from(rayon::current_num_threads()).unwrap_or(1).max(1))?;
    Ok(encoder)
}
