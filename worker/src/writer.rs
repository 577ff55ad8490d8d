//! Writes bytes from the network into a file, in a blocking thread, so that a slow disk blocks no task.
//!
//! The channel between the two is short: backpressure reaches the sender when the disk is slower than the network.

use bytes::Bytes;
use std::io::{self, Write};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use windrow_failpoint::failpoint;
use windrow_format::gather;
use windrow_model::Digest;

/// Pieces (of up to 1 MiB) queued for the disk.
const QUEUE_PIECES: usize = 4;

/// A file that is being written, from its current position. Dropping this drops the file after the queued pieces are
/// written.
#[derive(Debug)]
pub(crate) struct Writer<F> {
    queue: mpsc::Sender<Vec<Bytes>>,
    task: JoinHandle<io::Result<Written<F>>>,
}

/// A written file, not synced.
#[derive(Debug)]
pub(crate) struct Written<F> {
    pub file: F,
    /// Digest of the bytes that this writer wrote.
    pub digest: Digest,
}

impl<F: Write + Send + 'static> Writer<F> {
    /// `open` runs in the blocking thread. The digest is computed there only if `digested` is set.
    pub(crate) fn start(digested: bool, open: impl FnOnce() -> io::Result<F> + Send + 'static) -> Writer<F> {
        let (queue, mut pieces) = mpsc::channel::<Vec<Bytes>>(QUEUE_PIECES);
        let task = tokio::task::spawn_blocking(move || {
            let mut file = open()?;
            let mut hasher = blake3::Hasher::new();
            while let Some(parts) = pieces.blocking_recv() {
                failpoint!("fetched.write")?;
                gather::write_all(&mut file, parts.iter().map(|part| &part[..]))?;
                if digested {
                    for part in &parts {
                        hasher.update(part);
                    }
                }
            }
            Ok(Written { file, digest: Digest(*hasher.finalize().as_bytes()) })
        });
        Writer { queue, task }
    }

    /// Queues one piece, which may consist of several parts; false if the disk failed, which `finish` reports.
    pub(crate) async fn write(&self, parts: Vec<Bytes>) -> bool {
        self.queue.send(parts).await.is_ok()
    }

    /// Waits until everything is written.
    pub(crate) async fn finish(self) -> io::Result<Written<F>> {
        drop(self.queue);
        self.task.await.map_err(io::Error::other)?
    }
}
