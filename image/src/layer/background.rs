//! SHA-256 beside other work.

use std::io::{self, Write};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use sha2::{Digest as _, Sha256};

use crate::Digest;

const CHUNK_BYTES: usize = 256 << 10;
const CHUNKS_WAITING: usize = 8;

/// Digests what is written to it, on a thread of its own once there is more than one chunk.
pub(super) struct BackgroundSha256 {
    chunk: Vec<u8>,
    bytes: u64,
    worker: Worker,
}

enum Worker {
    /// Nothing was handed over yet.
    NotStarted,
    Running(SyncSender<Vec<u8>>, JoinHandle<Sha256>),
    /// The system gave no thread.
    Inline(Sha256),
}

impl BackgroundSha256 {
    pub(super) fn new() -> Self {
        Self { chunk: Vec::new(), bytes: 0, worker: Worker::NotStarted }
    }

    /// Returns the digest of everything written, and its length.
    pub(super) fn finish(mut self) -> (Digest, u64) {
        let mut state = match self.worker {
            Worker::NotStarted => Sha256::new(),
            Worker::Inline(state) => state,
            Worker::Running(sender, thread) => {
                drop(sender);
                thread.join().expect("hashing does not panic")
            }
        };
        state.update(&self.chunk);
        self.chunk.clear();
        (Digest::from_sha256(state), self.bytes)
    }

    fn hand_over(&mut self) {
        if matches!(self.worker, Worker::NotStarted) {
            self.worker = start();
        }
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK_BYTES));
        match &mut self.worker {
            Worker::Running(sender, _) => sender.send(chunk).expect("the hashing thread waits for chunks"),
            Worker::Inline(state) => state.update(&chunk),
            Worker::NotStarted => unreachable!("it was started above"),
        }
    }
}

impl Write for BackgroundSha256 {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.chunk.len() == CHUNK_BYTES {
            self.hand_over();
        }
        let taken = bytes.len().min(CHUNK_BYTES - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        self.bytes += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn start() -> Worker {
    let (sender, receiver) = sync_channel::<Vec<u8>>(CHUNKS_WAITING);
    let hash_all = move || {
        let mut state = Sha256::new();
        for chunk in receiver {
            state.update(&chunk);
        }
        state
    };
    match std::thread::Builder::new().name("layer-sha256".to_owned()).spawn(hash_all) {
        Ok(thread) => Worker::Running(sender, thread),
        Err(_) => Worker::Inline(Sha256::new()),
    }
}
