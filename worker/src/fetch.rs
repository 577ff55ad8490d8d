//! A partition of many outputs from one peer into one local file, one segment after the other.
//!
//! The peer says from its own indexes which segments there are. One stream per peer at a time, and `STREAMS_MAX` in all. A
//! stream that breaks or stalls is resumed at the first incomplete segment; complete segments are never fetched twice. A
//! peer that sends too little for too long is given up (`net/src/patience.rs`). A piece that was changed on its way counts
//! as a broken stream. The reader of a segment checks what its bytes mean.

mod arrived;
mod incoming;

use crate::error::disk_failure;
use crate::made_files::NewFile;
use crate::wanted::WantedOutputs;
use crate::writer::Writer;
use arrived::Arrived;
use bytes::Bytes;
use incoming::Incoming;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use windrow_format::checksum::Crc32c;
use windrow_format::{private, regular_file};
use windrow_model::{Code, Failure};
use windrow_net::connect::channel_lazy;
use windrow_net::{Access, Backoff, Connection, Patience, Silent, clients, from_status};
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

/// Why outputs could not be fetched or located.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FetchError {
    /// The output at this position is not available from its holder.
    Lost(u32, Failure),
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
    /// The peer reports that it does not have the output at this position.
    Refused(u32, Failure),
    /// The peer does not know the list of outputs.
    Unknown,
    Disk(Failure),
}

impl Fetcher {
    /// A peer that sends nothing for `progress_deadline`, or next to nothing for three of them, counts as gone.
    pub(crate) fn new(access: Access, progress_deadline: Duration) -> Self {
        Fetcher { access, peers: Mutex::default(), streams: Semaphore::new(STREAMS_MAX), progress_deadline }
    }

    /// Writes one partition of these outputs, in their order and without gaps, into the new file `to`, which is not made for a
    /// partition without segments. Says which segments it holds.
    pub(crate) async fn fetch(
        &self,
        address: &str,
        outputs: &WantedOutputs,
        partition: u32,
        to: &NewFile,
    ) -> Result<v1::FetchedFile, FetchError> {
        let peer = self.peer(address).map_err(|failure| FetchError::Lost(0, failure))?;
        // The peer's turn comes first: a fetch that waits for a busy peer blocks no stream for others.
        let _turn = peer.turn.acquire().await.expect("semaphores here are never closed");
        let _stream = self.streams.acquire().await.expect("semaphores here are never closed");
        let mut backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_MAX);
        let mut patience = Patience::new(self.progress_deadline);
        let mut arrived = Arrived::default();
        let (mut tries, mut with_list) = (0, outputs.is_first_request());
        loop {
            let before = arrived.complete();
            let wanted = Wanted { outputs, partition, with_list };
            match self.try_fetch(&peer, &wanted, to, &mut arrived, &mut patience).await {
                Ok(()) => return Ok(arrived.into_file(&to.path, outputs)),
                Err(TryError::Refused(at, failure)) => return Err(FetchError::Lost(at, failure)),
                Err(TryError::Disk(failure)) => return Err(FetchError::Disk(failure)),
                Err(TryError::Unknown) if !with_list => with_list = true,
                Err(TryError::Unknown) => {
                    let what = format!("{address} does not know the list of outputs that it has just got");
                    return Err(FetchError::Lost(0, Failure::new(Code::FetchFailed, what)));
                }
                Err(TryError::Broken(failure, weight)) => {
                    // A peer that makes progress with each try is slow, not gone.
                    if arrived.complete() > before {
                        backoff.reset();
                        tries = 0;
                    }
                    tries += weight;
                    if tries >= TRIES_MAX || patience.is_over() {
                        let failure = Failure { message: format!("{address}: {}", failure.message), ..failure };
                        return Err(FetchError::Lost(arrived.next_position(), failure));
                    }
                    // A silent connection stays silent until its keepalive notices.
                    let anew = channel_lazy(address, &self.access)
                        .map_err(|failure| FetchError::Lost(arrived.next_position(), failure))?;
                    *peer.connection.lock().unwrap_or_else(PoisonError::into_inner) = anew;
                    // The holder has got it, unless it says otherwise.
                    with_list = false;
                    let pause = backoff.next_delay();
                    tokio::time::sleep(pause).await;
                    patience.waited(pause, 0);
                }
            }
        }
    }

    /// Asks a peer where these outputs lie in its data folder. One try.
    pub(crate) async fn locate(
        &self,
        address: &str,
        outputs: &WantedOutputs,
    ) -> Result<v1::LocateOutputsReply, FetchError> {
        let lost = |failure| FetchError::Lost(0, failure);
        let peer = self.peer(address).map_err(lost)?;
        let connection = peer.connection.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut client = clients::transfer(connection);
        let with_list = outputs.is_first_request();
        for with_list in [with_list, true] {
            let request = v1::LocateOutputsRequest { wanted: Some(outputs.wire(with_list)) };
            let call = tokio::time::timeout(self.progress_deadline, client.locate_outputs(request)).await;
            let silent = |_| lost(Failure::new(Code::FetchFailed, format!("{address} does not answer")));
            let reply = call.map_err(silent)?.map_err(|s| lost(from_status(&s)))?.into_inner();
            match reply.failure {
                Some(failure) => {
                    let failure = Failure::try_from(failure).unwrap_or_else(|e| e.into());
                    return Err(FetchError::Lost(reply.failed, failure));
                }
                None if reply.unknown => {}
                None => return Ok(reply),
            }
        }
        Err(lost(Failure::new(Code::FetchFailed, format!("{address} does not know the list that it has just got"))))
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

    /// One stream, from the first incomplete segment on.
    async fn try_fetch(
        &self,
        peer: &Peer,
        wanted: &Wanted<'_>,
        to: &NewFile,
        arrived: &mut Arrived,
        patience: &mut Patience,
    ) -> Result<(), TryError> {
        let is_there = arrived.bytes() > 0;
        arrived.begin_stream();
        let done_bytes = arrived.bytes();
        let mut writer = FirstBytes { to, done_bytes, is_there, writer: None };
        if is_there {
            // Cuts off what is not complete.
            writer.start();
        }
        let outcome = self.receive(peer, wanted, arrived, &mut writer, patience).await;
        let bytes = arrived.bytes();
        if let Some(writer) = writer.writer
            && let Err(e) = writer.finish().await
        {
            return Err(TryError::Disk(disk_failure("write", &to.path, bytes - done_bytes, &e)));
        }
        outcome
    }

    async fn receive(
        &self,
        peer: &Peer,
        wanted: &Wanted<'_>,
        arrived: &mut Arrived,
        writer: &mut FirstBytes<'_>,
        patience: &mut Patience,
    ) -> Result<(), TryError> {
        let failed = |what: String| Failure::new(Code::FetchFailed, what);
        let broken = |what: &str| TryError::Broken(failed(what.to_string()), 1);
        let silent = |silent: Silent| TryError::Broken(failed(silent.to_string()), SILENT_TRIES);
        let lost = |s: tonic::Status| {
            let failure = from_status(&s);
            // The peer would refuse the same request again.
            let weight = if failure.code == Code::BadRequest { TRIES_MAX } else { 1 };
            TryError::Broken(failed(format!("{}: {}", failure.code, failure.message)), weight)
        };
        let request = v1::FetchSegmentsRequest {
            wanted: Some(wanted.outputs.wire(wanted.with_list)),
            partition: wanted.partition,
            first: arrived.next_position(),
        };
        let connection = peer.connection.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let call = Incoming::ask(connection, &request);
        let mut pieces = patience.wait(call, |_| 0).await.map_err(silent)?.map_err(lost)?;
        loop {
            // All available bytes are written together.
            let mut data = Vec::new();
            let mut take = |piece: Piece| {
                if piece.unknown {
                    return Err(TryError::Unknown);
                }
                if let Some(failure) = piece.failure {
                    let failure = Failure::try_from(failure).unwrap_or_else(|e| e.into());
                    return Err(TryError::Refused(piece.index, failure));
                }
                if piece.crc32c.is_some_and(|crc| crc != checksum(&piece.data)) {
                    return Err(broken("bytes were changed on the way"));
                }
                let length: u64 = piece.data.iter().map(|part| part.len() as u64).sum();
                let heads = piece.heads.unwrap_or_default();
                // Every piece brings the end nearer: segments and their bytes are finite.
                if !piece.last && length == 0 && heads.index.is_empty() {
                    return Err(broken("the peer sent a piece without segments and bytes"));
                }
                let outputs = wanted.outputs.attempts.len() as u32;
                if !arrived.add(heads, piece.heads_crc32c, outputs) || !arrived.receive(length) {
                    return Err(broken("the peer sent other bytes than it was asked for"));
                }
                data.extend(piece.data);
                Ok(piece.last)
            };
            let taken = loop {
                match pieces.next_here() {
                    Ok(None) => break Ok(false),
                    Ok(Some(piece)) => match take(piece) {
                        Ok(false) => {}
                        Ok(true) => break Ok(true),
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
            if taken? {
                return match arrived.is_whole() {
                    true => Ok(()),
                    false => Err(broken("the peer ended in the middle of a segment")),
                };
            }
            let bytes = |more: &Result<Option<usize>, _>| more.as_ref().map_or(0, |bytes| bytes.unwrap_or(0));
            let more = patience.wait(pieces.more(), bytes).await.map_err(silent)?;
            if more.map_err(lost)?.is_none() {
                return Err(broken("the stream ended too early"));
            }
        }
    }
}

/// The file of a fetch, which is opened when there are bytes for it.
struct FirstBytes<'f> {
    to: &'f NewFile,
    /// Bytes of earlier tries, which stay.
    done_bytes: u64,
    /// Whether an earlier try has made the file.
    is_there: bool,
    writer: Option<Writer<File>>,
}

impl FirstBytes<'_> {
    /// Queues these bytes; false if the disk failed, which the writer reports.
    async fn write(&mut self, parts: Vec<Bytes>) -> bool {
        self.start().write(parts).await
    }

    fn start(&mut self) -> &Writer<File> {
        let FirstBytes { to, done_bytes, is_there, .. } = *self;
        self.writer.get_or_insert_with(|| {
            let to = to.clone();
            Writer::start(false, move || {
                let mut options = private::options();
                options.write(true).create(true).truncate(false);
                let mut file = to.open(|path| regular_file::open_with(&mut options, path))?;
                // Only leftovers of a broken try are cut off: a spare file keeps its pages, and ext4 flushes a file to disk on
                // close if it was once truncated to nothing.
                if is_there {
                    file.set_len(done_bytes)?;
                }
                file.seek(SeekFrom::Start(done_bytes))?;
                Ok(file)
            })
        })
    }
}

/// What a stream is asked for.
struct Wanted<'w> {
    outputs: &'w WantedOutputs,
    partition: u32,
    with_list: bool,
}

/// CRC-32C of bytes in several parts.
fn checksum(parts: &[Bytes]) -> u32 {
    let mut crc = Crc32c::new();
    parts.iter().for_each(|part| crc.update(part));
    crc.value()
}
