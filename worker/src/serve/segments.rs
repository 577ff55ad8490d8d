//! Serves `FetchSegments` without gRPC's codec, since it is the one call that moves gigabytes.

use super::{PIECE_BYTES, QUEUE_PIECES, READER_PATIENCE, TransferService, blocking, read_into};
use crate::outputs::Outputs;
use bytes::Bytes;
use http_body::Frame;
use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::{Codec, Streaming};
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;
use tonic_prost::ProstCodec;
use windrow_format::checksum::crc32c;
use windrow_format::regular_file;
use windrow_model::{AttemptId, Code, Failure, SegmentRef, WorkerId};
use windrow_net::{MESSAGE_BYTES_MAX, to_status};
use windrow_proto::pieces::{FETCH_SEGMENTS, PIECE_HEAD_BYTES_MAX, put_failure, put_piece};
use windrow_proto::v1;
use windrow_proto::v1::transfer_server::TransferServer;

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
    let request = messages.message().await?.unwrap_or_default();
    let segments = request.segments.into_iter().map(SegmentRef::try_from).collect::<Result<_, _>>();
    let segments: Vec<SegmentRef> = segments.map_err(|e| to_status(&e.into()))?;
    let (batches, queue) = mpsc::channel(QUEUE_PIECES);
    tokio::spawn(drive(SegmentReader::new(service.worker, service.outputs, segments), batches));
    let mut response = http::Response::new(Body::new(Batches { queue, ended: false }));
    let content_type = http::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
    Ok(response)
}

/// The body of a response: batches of messages, then the status `ok`. The last message says why a stream ends early.
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

async fn drive(mut reader: SegmentReader, batches: mpsc::Sender<Bytes>) {
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

/// Reads the segments of one request in order.
struct SegmentReader {
    worker: WorkerId,
    outputs: Outputs,
    segments: Vec<SegmentRef>,
    index: usize,
    /// Bytes of the current segment that were read.
    done: u64,
    open: Option<((AttemptId, u32), File)>,
}

impl SegmentReader {
    fn new(worker: WorkerId, outputs: Outputs, segments: Vec<SegmentRef>) -> Self {
        SegmentReader { worker, outputs, segments, index: 0, done: 0, open: None }
    }

    /// About a megabyte of messages: many small segments, or a part of a large one. Empty at the end. Blocks.
    fn next_batch(&mut self) -> Bytes {
        let mut batch = Vec::new();
        let mut room = PIECE_BYTES;
        while room > 0
            && let Some(wanted) = self.segments.get(self.index).copied()
        {
            let index = self.index as u32;
            if self.done >= wanted.segment.length {
                self.index += 1;
                self.done = 0;
                continue;
            }
            let length = (wanted.segment.length - self.done).min(room as u64) as usize;
            if batch.capacity() == 0 {
                batch.reserve_exact(self.batch_bytes());
            }
            match self.read(&wanted, length, &mut batch) {
                Ok(()) => {
                    room -= length;
                    self.done += length as u64;
                }
                Err(failure) => {
                    put_failure(&mut batch, index, failure.into());
                    self.index = self.segments.len();
                }
            }
        }
        batch.into()
    }

    /// Capacity for the next batch, so that it does not reallocate.
    fn batch_bytes(&self) -> usize {
        let mut bytes = 0;
        for segment in &self.segments[self.index..] {
            let data = (segment.segment.length as usize).min(PIECE_BYTES);
            bytes += data + PIECE_HEAD_BYTES_MAX;
            if bytes >= PIECE_BYTES {
                break;
            }
        }
        bytes.min(PIECE_BYTES + PIECE_BYTES / 4)
    }

    fn read(&mut self, wanted: &SegmentRef, length: usize, batch: &mut Vec<u8>) -> Result<(), Failure> {
        let id = wanted.attempt;
        let unreadable = |e: io::Error| {
            Failure::new(Code::FetchFailed, format!("cannot read output {} of {id}: {e}", wanted.output))
        };
        // Checked for each batch: a revoked attempt is not served any further.
        let holder =
            self.outputs.get(&id).filter(|_| wanted.worker == self.worker).ok_or_else(|| {
                Failure::new(Code::StaleAttempt, format!("{} does not hold attempt {id}", self.worker))
            })?;
        let key = (id, wanted.output);
        if self.open.as_ref().is_none_or(|(open, _)| *open != key) {
            let file = regular_file::open(&holder.edge(wanted.output)).map_err(unreadable)?;
            self.open = Some((key, file));
        }
        let (_, file) = self.open.as_ref().expect("it was opened just now if it was not open");
        let offset = wanted.segment.offset.checked_add(self.done);
        let offset = offset.ok_or_else(|| Failure::new(Code::BadRequest, "a segment ends beyond every file"))?;
        let fill = |batch: &mut Vec<u8>| match read_into(batch, file, offset, length) {
            Ok(n) if n == length => Ok(()),
            Ok(_) => Err(unreadable(io::ErrorKind::UnexpectedEof.into())),
            Err(e) => Err(unreadable(e)),
        };
        put_piece(batch, self.index as u32, length, fill, crc32c)
    }
}
