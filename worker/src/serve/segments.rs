//! Serves `FetchSegments` without gRPC's codec, since it is the one call that moves gigabytes.

use super::batch_buffers;
use super::holdings::{Holding, INDEXES_BYTES_MAX, unreadable};
use super::{PIECE_BYTES, QUEUE_PIECES, READER_PATIENCE, TransferService, bad, blocking, read_into};
use crate::known_lists::KnownLists;
use crate::outputs::Outputs;
use bytes::Bytes;
use http_body::Frame;
use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::{Codec, Streaming};
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;
use tonic_prost::ProstCodec;
use windrow_format::checksum::{Crc32c, crc32c};
use windrow_format::regular_file;
use windrow_model::{AttemptId, Code, Failure, Segment, WorkerId};
use windrow_net::MESSAGE_BYTES_MAX;
use windrow_proto::pieces::{
    FETCH_SEGMENTS, PIECE_HEAD_BYTES_MAX, head_bytes, put_failure, put_last, put_piece, put_unknown,
};
use windrow_proto::v1;
use windrow_proto::v1::transfer_server::TransferServer;

#[cfg(test)]
mod tests;

/// Most segments of one piece. Their heads are a few bytes each.
const PIECE_SEGMENTS_MAX: usize = 16 << 10;

/// All calls of the service.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    own: TransferService,
    others: TransferServer<TransferService>,
}

impl Served {
    pub(crate) fn new(own: TransferService, others: TransferServer<TransferService>) -> Self {
        Served { own, others }
    }
}

impl NamedService for Served {
    const NAME: &'static str = <TransferServer<TransferService> as NamedService>::NAME;
}

impl Service<http::Request<Body>> for Served {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != FETCH_SEGMENTS {
            return self.others.call(request);
        }
        let own = self.own.clone();
        Box::pin(async move { Ok(answer(own, request).await.unwrap_or_else(Status::into_http)) })
    }
}

async fn answer(service: TransferService, request: http::Request<Body>) -> Result<http::Response<Body>, Status> {
    let decoder = ProstCodec::<(), v1::FetchSegmentsRequest>::default().decoder();
    let mut messages = Streaming::new_request(decoder, request.into_body(), None, Some(MESSAGE_BYTES_MAX));
    let v1::FetchSegmentsRequest { wanted, partition, first } = messages.message().await?.unwrap_or_default();
    let holding = service.holding(wanted)?;
    let (batches, queue) = mpsc::channel(QUEUE_PIECES);
    match holding {
        Some(holding) => {
            let partitions = holding.wanted().partitions;
            if partition >= partitions {
                return Err(bad(&format!("partition {partition} of {partitions} does not exist")));
            }
            let reader = PartitionReader::new(service, holding, partition, first);
            tokio::spawn(drive(reader, batches));
        }
        None => {
            let mut unknown = Vec::new();
            put_unknown(&mut unknown);
            // The queue is empty and has a receiver.
            let _ = batches.try_send(unknown.into());
        }
    }
    let mut response = http::Response::new(Body::new(Batches { queue, ended: false }));
    let content_type = http::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
    Ok(response)
}

/// The body of a response: batches of messages, then the status `ok`. The last message says why the stream ends.
struct Batches {
    queue: mpsc::Receiver<Bytes>,
    ended: bool,
}

impl http_body::Body for Batches {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(match ready!(self.queue.poll_recv(cx)) {
            Some(batch) => Some(Ok(Frame::data(batch))),
            None if std::mem::replace(&mut self.ended, true) => None,
            None => {
                let mut trailers = http::HeaderMap::new();
                trailers.insert(Status::GRPC_STATUS, http::HeaderValue::from_static("0"));
                Some(Ok(Frame::trailers(trailers)))
            }
        })
    }
}

async fn drive(mut reader: PartitionReader, batches: mpsc::Sender<Bytes>) {
    // The permit is awaited before the disk is read; the reader stops when the peer is gone.
    while let Ok(Ok(permit)) = timeout(READER_PATIENCE, batches.reserve()).await {
        let (back, batch) = blocking(move || {
            let batch = reader.next_batch();
            (reader, batch)
        })
        .await;
        reader = back;
        if batch.is_empty() {
            return;
        }
        permit.send(batch);
    }
}

/// Reads one partition of the outputs of one request, in their order.
struct PartitionReader {
    worker: WorkerId,
    outputs: Outputs,
    lists: Arc<KnownLists<Holding>>,
    holding: Arc<Holding>,
    partition: u32,
    /// Position of the first output whose segment is wanted.
    first: u32,
    /// The wanted segments with the positions of their outputs, once the index was asked.
    segments: Option<Vec<(u32, Segment)>>,
    /// Index of the next segment in that list.
    next: usize,
    /// Bytes of it that were read.
    done: u64,
    ended: bool,
    open: Option<(Arc<Path>, File)>,
    /// Checksum of the heads that were sent.
    heads: Crc32c,
}

/// A part of a segment, of one piece.
struct Part {
    position: u32,
    offset: u64,
    length: usize,
}

/// What a piece is made of.
struct Taken {
    parts: Vec<Part>,
    /// The segments that begin in it.
    heads: v1::SegmentHeads,
    /// The output after these parts, if it is not here any more.
    missing: Option<(u32, Failure)>,
}

impl PartitionReader {
    fn new(service: TransferService, holding: Arc<Holding>, partition: u32, first: u32) -> Self {
        let TransferService { worker, outputs, lists, .. } = service;
        PartitionReader {
            worker,
            outputs,
            lists,
            holding,
            partition,
            first,
            segments: None,
            next: 0,
            done: 0,
            ended: false,
            open: None,
            heads: Crc32c::new(),
        }
    }

    /// One message of about a megabyte of data: many small segments, or a part of a large one; and what ends the stream.
    /// Empty after that. Blocks.
    fn next_batch(&mut self) -> Bytes {
        let mut batch = Vec::new();
        if !self.ended
            && let Err((position, failure)) = self.put_next(&mut batch)
        {
            self.ended = true;
            put_failure(&mut batch, position, failure.into());
        }
        batch_buffers::into_bytes(batch)
    }

    /// Appends the next piece, and the end of the stream after the last one. An error names the position of its output.
    fn put_next(&mut self, batch: &mut Vec<u8>) -> Result<(), (u32, Failure)> {
        let taken = self.take_parts()?;
        self.put_parts(batch, &taken)?;
        if let Some(missing) = taken.missing {
            return Err(missing);
        }
        if self.segments.as_ref().is_some_and(|segments| self.next == segments.len()) {
            self.ended = true;
            put_last(batch, self.heads.value());
        }
        Ok(())
    }

    /// Puts these parts as one piece into an empty batch, which stays empty after an error.
    fn put_parts(&mut self, batch: &mut Vec<u8>, Taken { parts, heads, .. }: &Taken) -> Result<(), (u32, Failure)> {
        if parts.is_empty() {
            return Ok(());
        }
        let bytes = parts.iter().map(|part| part.length).sum();
        *batch = batch_buffers::with_capacity(bytes + PIECE_HEAD_BYTES_MAX + prost::Message::encoded_len(heads));
        head_bytes(heads).for_each(|head| self.heads.update(&head));
        let sum = self.heads.value();
        put_piece(batch, heads, sum, bytes, |out| parts.iter().try_for_each(|part| self.read(part, out)), crc32c)?;
        // The place of a revoked output may have been erased before it was read.
        let held = parts.iter().try_for_each(|part| self.check_held(part.position));
        held.inspect_err(|_| batch.clear())
    }

    /// Takes what comes next, for one piece.
    fn take_parts(&mut self) -> Result<Taken, (u32, Failure)> {
        let segments = match self.segments.take() {
            Some(segments) => segments,
            None => {
                let index = self.holding.index(&self.outputs)?;
                let mut segments = index.partition(self.partition).map_err(unreadable)?;
                self.lists.bound_memory(&self.holding, INDEXES_BYTES_MAX);
                segments.retain(|(position, _)| *position >= self.first);
                segments
            }
        };
        let (mut parts, mut heads, mut missing) = (Vec::new(), v1::SegmentHeads::default(), None);
        let mut room = PIECE_BYTES as u64;
        while room > 0
            && parts.len() < PIECE_SEGMENTS_MAX
            && let Some((position, segment)) = segments.get(self.next)
        {
            // Checked for each piece: a revoked attempt is not served any further.
            if let Err(revoked) = self.check_held(*position) {
                missing = Some(revoked);
                break;
            }
            if self.done == 0 {
                heads.index.push(*position);
                heads.length.push(segment.length);
                heads.records.push(segment.records);
                heads.raw_length.push(segment.raw_length);
            }
            let length = (segment.length - self.done).min(room);
            let offset = segment.offset.saturating_add(self.done);
            parts.push(Part { position: *position, offset, length: length as usize });
            room -= length;
            self.done += length;
            if self.done == segment.length {
                (self.next, self.done) = (self.next + 1, 0);
            }
        }
        self.segments = Some(segments);
        Ok(Taken { parts, heads, missing })
    }

    /// Checks that the attempt of an output has not been revoked.
    fn check_held(&self, position: u32) -> Result<(), (u32, Failure)> {
        let attempt = self.attempt(position);
        match self.outputs.has(&attempt) {
            true => Ok(()),
            false => {
                let what = format!("{} does not hold attempt {attempt}", self.worker);
                Err((position, Failure::new(Code::StaleAttempt, what)))
            }
        }
    }

    fn attempt(&self, position: u32) -> AttemptId {
        self.holding.wanted().attempts[position as usize]
    }

    fn read(&mut self, part: &Part, out: &mut Vec<u8>) -> Result<(), (u32, Failure)> {
        let at = part.position;
        let (output, attempt) = (self.holding.wanted().output, self.attempt(at));
        let wrong = |e: io::Error| {
            (at, Failure::new(Code::FetchFailed, format!("cannot read output {output} of {attempt}: {e}")))
        };
        let index = self.holding.index(&self.outputs)?;
        let image = &index.images()[at as usize];
        if self.open.as_ref().is_none_or(|(open, _)| *open != image.file) {
            let file = regular_file::open(&image.file).map_err(wrong)?;
            self.open = Some((image.file.clone(), file));
        }
        let (_, file) = self.open.as_ref().expect("it was opened just now if it was not open");
        match read_into(out, file, part.offset, part.length) {
            Ok(n) if n == part.length => Ok(()),
            Ok(_) => Err(wrong(io::ErrorKind::UnexpectedEof.into())),
            Err(e) => Err(wrong(e)),
        }
    }
}
