//! Bytes that arrive over the network into a file, written by a blocking thread so that a slow disk stops no task.
//!
//! The channel between the two is short: a sender is held back when the disk is slower than the network.

use bytes::Bytes;
use std::fs::File;
use std::io::{self, Write};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use windrow_failpoint::failpoint;
use windrow_model::Digest;

/// Pieces (of up to 1 MiB) on their way to the disk.
const QUEUE_PIECES: usize = 4;

/// A file that is being written, from its current position.
#[derive(Debug)]
pub struct Writer {
    queue: mpsc::Sender<Bytes>,
    task: JoinHandle<io::Result<Written>>,
}

/// A file that has been written, not synced.
#[derive(Debug)]
pub struct Written {
    pub file: File,
    /// Of what this writer wrote.
    pub digest: Digest,
}

impl Writer {
    /// `open` runs in the blocking thread. The digest is computed there only if it is asked for.
    pub fn start(digested: bool, open: impl FnOnce() -> io::Result<File> + Send + 'static) -> Writer {
        let (queue, mut pieces) = mpsc::channel::<Bytes>(QUEUE_PIECES);
        let task = tokio::task::spawn_blocking(move || {
            let mut file = open()?;
            let mut hasher = blake3::Hasher::new();
            while let Some(piece) = pieces.blocking_recv() {
                failpoint!("fetched.write")?;
                file.write_all(&piece)?;
                if digested {
                    hasher.update(&piece);
                }
            }
            Ok(Written { file, digest: Digest(*hasher.finalize().as_bytes()) })
        });
        Writer { queue, task }
    }

    /// Hands over one piece; false if the disk failed, which `finish` explains.
    pub async fn write(&self, piece: Bytes) -> bool {
        self.queue.send(piece).await.is_ok()
    }

    /// Waits until all is written.
    pub async fn finish(self) -> io::Result<Written> {
        drop(self.queue);
        self.task.await.map_err(io::Error::other)?
    }
}
