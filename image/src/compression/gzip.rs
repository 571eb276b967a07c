//! gzip, compressed in parallel.
//!
//! The input is cut into blocks of 1 MiB. Each is deflated by itself, with the last 32 KiB of the block before it as
//! the dictionary, and ends on a byte boundary; so their concatenation is one deflate stream, whoever compressed which.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::time::Duration;

use flate2::{Compress, FlushCompress, Status};

const BLOCK_BYTES: usize = 1 << 20;
const DICTIONARY_BYTES: usize = 32 << 10;

/// Spec: RFC 1952, 2.3: deflate, no flags, no time, no hint, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// Writes one gzip member, compressed by the threads of the rayon pool it is used in.
///
/// The bytes depend on the input and the level only: not on the number of threads, nor on how the input was cut into
/// calls of `write`. At most two blocks per thread and two more are in memory. Without [`GzipWriter::finish`] the
/// member has no end.
pub struct GzipWriter<W: Write> {
    out: W,
    level: u32,
    block: Vec<u8>,
    previous: Option<Arc<Vec<u8>>>,
    in_flight: VecDeque<Receiver<Deflated>>,
    in_flight_limit: usize,
    crc: crc32fast::Hasher,
    /// Length of the input modulo 2^32, as gzip stores it.
    length: u32,
}

struct Deflated {
    bytes: Vec<u8>,
    input_bytes: u32,
    crc: crc32fast::Hasher,
}

impl<W: Write> GzipWriter<W> {
    /// Starts a member at `level`, 0 to 9; a higher one counts as 9.
    pub fn new(out: W, level: u32) -> Self {
        Self {
            out,
            level: level.min(9),
            block: Vec::new(),
            previous: None,
            in_flight: VecDeque::new(),
            in_flight_limit: rayon::current_num_threads() * 2 + 2,
            crc: crc32fast::Hasher::new(),
            length: 0,
        }
    }

    /// Ends the member and hands back what it was written to.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn finish(mut self) -> io::Result<W> {
        self.start()?;
        let last = deflate(&self.block, self.previous.as_deref(), self.level, FlushCompress::Finish);
        while let Some(next) = self.in_flight.pop_front() {
            self.write_out(&wait(&next)?)?;
        }
        self.write_out(&last)?;
        self.out.write_all(&self.crc.finalize().to_le_bytes())?;
        self.out.write_all(&self.length.to_le_bytes())?;
        Ok(self.out)
    }

    fn start(&mut self) -> io::Result<()> {
        if self.previous.is_none() { self.out.write_all(&HEADER) } else { Ok(()) }
    }

    /// Hands the full block to the pool and writes out what is ready.
    fn submit(&mut self) -> io::Result<()> {
        self.start()?;
        let block = Arc::new(std::mem::take(&mut self.block));
        let dictionary = self.previous.replace(Arc::clone(&block));
        let level = self.level;
        let (done, result) = sync_channel(1);
        rayon::spawn(move || {
            // The writer may have been dropped; then nobody wants it.
            let _ = done.send(deflate(&block, dictionary.as_deref(), level, FlushCompress::Sync));
        });
        self.in_flight.push_back(result);
        while let Some(next) = self.in_flight.front() {
            let deflated = match next.try_recv() {
                Ok(deflated) => deflated,
                Err(TryRecvError::Empty) if self.in_flight.len() < self.in_flight_limit => break,
                Err(_) => wait(next)?,
            };
            self.in_flight.pop_front();
            self.write_out(&deflated)?;
        }
        Ok(())
    }

    fn write_out(&mut self, deflated: &Deflated) -> io::Result<()> {
        self.crc.combine(&deflated.crc);
        self.length = self.length.wrapping_add(deflated.input_bytes);
        self.out.write_all(&deflated.bytes)
    }
}

impl<W: Write> Write for GzipWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.len() == BLOCK_BYTES {
            self.submit()?;
        }
        let taken = bytes.len().min(BLOCK_BYTES - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    /// Does nothing: cutting a block short would change the bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits for a block. A thread of the pool does other work of the pool meanwhile, since its own block may be there.
fn wait(result: &Receiver<Deflated>) -> io::Result<Deflated> {
    let lost = || io::Error::other("a compression thread ended early");
    loop {
        match result.try_recv() {
            Ok(deflated) => return Ok(deflated),
            Err(TryRecvError::Disconnected) => return Err(lost()),
            Err(TryRecvError::Empty) => {}
        }
        match rayon::yield_now() {
            None => return result.recv().map_err(|_| lost()),
            Some(rayon::Yield::Executed) => {}
            Some(rayon::Yield::Idle) => match result.recv_timeout(Duration::from_millis(1)) {
                Ok(deflated) => return Ok(deflated),
                Err(RecvTimeoutError::Disconnected) => return Err(lost()),
                Err(RecvTimeoutError::Timeout) => {}
            },
        }
    }
}

fn deflate(block: &[u8], previous: Option<&Vec<u8>>, level: u32, flush: FlushCompress) -> Deflated {
    let mut crc = crc32fast::Hasher::new();
    crc.update(block);
    let mut state = Compress::new(flate2::Compression::new(level), false);
    if let Some(previous) = previous {
        let dictionary = &previous[previous.len().saturating_sub(DICTIONARY_BYTES)..];
        state.set_dictionary(dictionary).expect("a fresh raw deflate state takes a dictionary");
    }
    // zlib's deflateBound for any setting: with that much room one call is enough, so nothing depends on the room.
    let bound = block.len() + block.len() / 8 + block.len() / 64 + 64;
    let mut bytes = Vec::with_capacity(bound);
    let status = state.compress_vec(block, &mut bytes, flush).expect("deflate cannot fail on a valid state");
    assert!(state.total_in() == block.len() as u64 && bytes.len() < bound, "deflate kept to its bound");
    assert!(
        status == Status::StreamEnd || !matches!(flush, FlushCompress::Finish),
        "deflate ended its stream"
    );
    let input_bytes = u32::try_from(block.len()).expect("a block is 1 MiB at most");
    Deflated { bytes, input_bytes, crc }
}
