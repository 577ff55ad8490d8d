//! Segments from one peer into one local file, one after the other.
//!
//! One stream per peer at a time, and `STREAMS_MAX` in all. A stream that breaks or stalls is resumed at the first
//! incomplete segment; complete segments are never fetched twice. A peer that sends too
//! little for too long is given up (`net/src/patience.rs`). A piece that was changed on its way counts as a
//! broken stream. The reader of a segment checks what its bytes mean.

mod incoming;

use crate::error::disk_failure;
use crate::writer::Writer;
use bytes::Bytes;
use incoming::Incoming;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use windrow_format::checksum::Crc32c;
use windrow_format::{private, regular_file};
use windrow_model::{Code, Failure, SegmentRef, total};
use windrow_net::connect::channel_lazy;
use windrow_net::{Access, Backoff, Connection, Patience, Silent, from_status};
use windrow_proto::pieces::Piece;
use windrow_proto::v1;

/// Streams at a time, over all peers.
const STREAMS_MAX: usize = 8;
/// Tries in a row without any progress, about a second: by then the end of a peer's process is known.
const TRIES_MAX: u32 = 5;
/// A try that has waited for a silent peer counts as this many.
const SILENT_TRIES: u32 = 2;
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Why segments could not be fetched.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FetchError {
    /// The segment at this position is not available from its holder.
    Lost(usize, Failure),
    /// This worker's own disk failed.
    Disk(Failure),
}

/// Connections to peers.
#[derive(Debug)]
pub(crate) struct Fetcher {
    access: Access,
    peers: Mutex<HashMap<String, Arc<Peer>>>,
    streams: Semaphore,
    progress_deadline: Duration,
}

#[derive(Debug)]
struct Peer {
    connection: Mutex<Connection>,
    turn: Semaphore,
}

/// How a try ended early.
enum TryError {
    /// Another try may help. With the number of tries that this one counts as.
    Broken(Failure, u32),
    /// The peer reports that it does not have the segment at this position.
    Refused(usize, Failure),
    Disk(Failure),
}

impl Fetcher {
    /// A peer that sends nothing for `progress_deadline`, or next to nothing for three of them, counts as gone.
    pub(crate) fn new(access: Access, progress_deadline: Duration) -> Self {
        Fetcher { access, peers: Mutex::default(), streams: Semaphore::new(STREAMS_MAX), progress_deadline }
    }

    /// Writes `segments`, in this order and without gaps, into the new file `path`.
    pub(crate) async fn fetch(&self, address: &str, segments: &[SegmentRef], path: &Path) -> Result<(), FetchError> {
        let peer = self.peer(address).map_err(|failure| FetchError::Lost(0, failure))?;
        // The peer's turn comes first: a fetch that waits for a busy peer blocks no stream for others.
        let _turn = peer.turn.acquire().await.expect("semaphores here are never closed");
        let _stream = self.streams.acquire().await.expect("semaphores here are never closed");
        let mut backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_MAX);
        let mut patience = Patience::new(self.progress_deadline);
        let (mut whole, mut tries) = (0, 0);
        loop {
            let before = whole;
            match self.try_fetch(&peer, segments, path, &mut whole, &mut patience).await {
                Ok(()) => return Ok(()),
                Err(TryError::Refused(at, failure)) => return Err(FetchError::Lost(at, failure)),
                Err(TryError::Disk(failure)) => return Err(FetchError::Disk(failure)),
                Err(TryError::Broken(failure, weight)) => {
                    // A peer that makes progress with each try is slow, not gone.
                    if whole > before {
                        backoff.reset();
                        tries = 0;
                    }
                    tries += weight;
                    if tries >= TRIES_MAX || patience.is_over() {
                        let failure = Failure { message: format!("{address}: {}", failure.message), ..failure };
                        return Err(FetchError::Lost(whole, failure));
                    }
                    // A silent connection stays silent until its keepalive notices.
                    let anew =
                        channel_lazy(address, &self.access).map_err(|failure| FetchError::Lost(whole, failure))?;
                    *peer.connection.lock().unwrap_or_else(PoisonError::into_inner) = anew;
                    let pause = backoff.next_delay();
                    tokio::time::sleep(pause).await;
                    patience.waited(pause, 0);
                }
            }
        }
    }

    fn peer(&self, address: &str) -> Result<Arc<Peer>, Failure> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = peers.get(address) {
            return Ok(peer.clone());
        }
        let connection = channel_lazy(address, &self.access)?;
        let peer = Arc::new(Peer { connection: Mutex::new(connection), turn: Semaphore::new(1) });
        peers.insert(address.to_string(), peer.clone());
        Ok(peer)
    }

    /// One stream, from segment `whole` on, which is advanced as segments complete on disk.
    async fn try_fetch(
        &self,
        peer: &Peer,
        segments: &[SegmentRef],
        path: &Path,
        whole: &mut usize,
        patience: &mut Patience,
    ) -> Result<(), TryError> {
        let first = *whole;
        let done_bytes = total(segments[..first].iter().map(|s| s.segment.length));
        let all_bytes = total(segments.iter().map(|s| s.segment.length));
        let target = path.to_path_buf();
        let writer = Writer::start(false, move || {
            let mut file =
                regular_file::open_with(private::options().write(true).create(true).truncate(false), &target)?;
            // Only leftovers of a broken try are cut off: ext4 flushes a file to disk on close if it was once truncated
            // to nothing.
            if file.metadata()?.len() != done_bytes {
                file.set_len(done_bytes)?;
            }
            file.seek(SeekFrom::Start(done_bytes))?;
            Ok(file)
        });
        let mut received = first;
        let outcome = self.receive(peer, segments, &mut received, &writer, patience).await;
        if let Err(e) = writer.finish().await {
            return Err(TryError::Disk(disk_failure("write", path, all_bytes - done_bytes, &e)));
        }
        *whole = received;
        outcome
    }

    async fn receive(
        &self,
        peer: &Peer,
        segments: &[SegmentRef],
        received: &mut usize,
        writer: &Writer<File>,
        patience: &mut Patience,
    ) -> Result<(), TryError> {
        let first = *received;
        let failed = |what: String| Failure::new(Code::FetchFailed, what);
        let broken = |what: String| TryError::Broken(failed(what), 1);
        let silent = |silent: Silent| TryError::Broken(failed(silent.to_string()), SILENT_TRIES);
        let lost = |s: tonic::Status| {
            let failure = from_status(&s);
            broken(format!("{}: {}", failure.code, failure.message))
        };
        let wanted = segments[first..].iter().map(|s| (*s).into()).collect();
        let request = v1::FetchSegmentsRequest { segments: wanted };
        let connection = peer.connection.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let call = Incoming::ask(connection, &request);
        let mut pieces = patience.wait(call, |_| 0).await.map_err(silent)?.map_err(lost)?;
        let mut missing = skip_empty(segments, received);
        while *received < segments.len() {
            // All available bytes are written together.
            let mut data = Vec::new();
            let mut take = |piece: Piece| {
                if let Some(failure) = piece.failure {
                    let failure = Failure::try_from(failure).unwrap_or_else(|e| e.into());
                    return Err(TryError::Refused((first + piece.index as usize).min(segments.len() - 1), failure));
                }
                let length: u64 = piece.data.iter().map(|part| part.len() as u64).sum();
                if first + piece.index as usize != *received || length > missing {
                    return Err(broken("the peer sent other bytes than it was asked for".into()));
                }
                if piece.crc32c.is_some_and(|crc| crc != checksum(&piece.data)) {
                    return Err(broken("bytes were changed on the way".into()));
                }
                data.extend(piece.data);
                missing -= length;
                if missing == 0 {
                    *received += 1;
                    missing = skip_empty(segments, received);
                }
                Ok(())
            };
            let taken = loop {
                match pieces.next_here() {
                    Ok(None) => break Ok(()),
                    Ok(Some(piece)) => match take(piece) {
                        Ok(()) => {}
                        Err(why) => break Err(why),
                    },
                    Err(status) => break Err(lost(status)),
                }
            };
            // Also the bytes before a failure.
            if !data.is_empty() && !writer.write(data).await {
                // The writer reports the reason.
                return Ok(());
            }
            taken?;
            if *received < segments.len() {
                let bytes = |more: &Result<Option<usize>, _>| more.as_ref().map_or(0, |bytes| bytes.unwrap_or(0));
                let more = patience.wait(pieces.more(), bytes).await.map_err(silent)?;
                if more.map_err(lost)?.is_none() {
                    return Err(broken("the stream ended too early".into()));
                }
            }
        }
        Ok(())
    }
}

/// CRC-32C of bytes in several parts.
fn checksum(parts: &[Bytes]) -> u32 {
    let mut crc = Crc32c::new();
    parts.iter().for_each(|part| crc.update(part));
    crc.value()
}

/// Skips to the next segment that has bytes, and returns their number.
fn skip_empty(segments: &[SegmentRef], at: &mut usize) -> u64 {
    while let Some(s) = segments.get(*at) {
        if s.segment.length > 0 {
            return s.segment.length;
        }
        *at += 1;
    }
    0
}
