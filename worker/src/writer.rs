//! Bytes that arrive over the network into a file, written by a blocking thread so that a slow disk stops no task.
//!
//! The channel between the two is short: a sender is held back when the disk is slower than the network.

use bytes::Bytes;
use std::io::{self, IoSlice, Write};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use windrow_failpoint::failpoint;
use windrow_model::Digest;

/// Pieces (of up to 1 MiB) on their way to the disk.
const QUEUE_PIECES: usize = 4;

/// A file that is being written, from its current position. Dropping this drops the file once what is queued is written.
#[derive(Debug)]
pub struct Writer<F> {
    queue: mpsc::Sender<Vec<Bytes>>,
    task: JoinHandle<io::Result<Written<F>>>,
}

/// A file that has been written, not synced.
#[derive(Debug)]
pub struct Written<F> {
    pub file: F,
    /// Of what this writer wrote.
    pub digest: Digest,
}

impl<F: Write + Send + 'static> Writer<F> {
    /// `open` runs in the blocking thread. The digest is computed there only if it is asked for.
    pub fn start(digested: bool, open: impl FnOnce() -> io::Result<F> + Send + 'static) -> Writer<F> {
        let (queue, mut pieces) = mpsc::channel::<Vec<Bytes>>(QUEUE_PIECES);
        let task = tokio::task::spawn_blocking(move || {
            let mut file = open()?;
            let mut hasher = blake3::Hasher::new();
            while let Some(parts) = pieces.blocking_recv() {
                failpoint!("fetched.write")?;
                write_all(&mut file, &parts)?;
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

    /// Hands over one piece, which may be in several parts; false if the disk failed, which `finish` explains.
    pub async fn write(&self, parts: Vec<Bytes>) -> bool {
        self.queue.send(parts).await.is_ok()
    }

    /// Waits until all is written.
    pub async fn finish(self) -> io::Result<Written<F>> {
        drop(self.queue);
        self.task.await.map_err(io::Error::other)?
    }
}

/// Writes all parts, as many of them at a time as the system takes.
fn write_all(file: &mut impl Write, parts: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let mut left = &mut slices[..];
    // Empty ones would look like a file that takes nothing.
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match file.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => IoSlice::advance_slices(&mut left, n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
