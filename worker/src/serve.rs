//! What this worker gives to others: segments of finished attempts, logs, chunks.
//!
//! A segment is read with pread in a blocking thread, about 1 MiB at a time, and only when the last megabyte has found
//! its way into the stream: a slow reader costs this worker neither memory nor a thread. Who may call is decided
//! before a call gets here.

use crate::chunks::Chunks;
use crate::logs::Logs;
use crate::outputs::Outputs;
use bytes::Bytes;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use windrow_failpoint::failpoint;
use windrow_format::checksum::crc32c;
use windrow_model::{AttemptId, Code, Digest, Failure, JobId, SegmentRef, WorkerId};
use windrow_net::{MESSAGE_BYTES_MAX, to_status};
use windrow_proto::v1;
use windrow_proto::v1::transfer_server::{Transfer, TransferServer};

/// Bytes of one message, and read in one go.
const PIECE_BYTES: usize = 1 << 20;
/// Messages that wait in one stream.
const QUEUE_PIECES: usize = 2;

/// The service behind this worker's port.
#[derive(Clone, Debug)]
pub struct TransferService {
    pub worker: WorkerId,
    pub outputs: Outputs,
    pub logs: Logs,
    pub chunks: Chunks,
}

impl TransferService {
    /// The service with its message limits.
    pub fn into_server(self) -> TransferServer<Self> {
        TransferServer::new(self)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

type Pieces<T> = ReceiverStream<Result<T, Status>>;

#[tonic::async_trait]
impl Transfer for TransferService {
    type FetchSegmentsStream = Pieces<v1::SegmentPiece>;
    type ReadLogsStream = Pieces<v1::LogChunk>;
    type GetChunkStream = Pieces<v1::Piece>;

    async fn fetch_segments(
        &self,
        request: Request<v1::FetchSegmentsRequest>,
    ) -> Result<Response<Self::FetchSegmentsStream>, Status> {
        let segments = request.into_inner().segments.into_iter().map(SegmentRef::try_from).collect::<Result<_, _>>();
        let segments: Vec<SegmentRef> = segments.map_err(|e| to_status(&e.into()))?;
        let (pieces, stream) = mpsc::channel(QUEUE_PIECES);
        let reader = SegmentReader::new(self.worker, self.outputs.clone(), segments);
        tokio::spawn(drive_segments(reader, pieces));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn read_logs(&self, request: Request<v1::ReadLogsRequest>) -> Result<Response<Self::ReadLogsStream>, Status> {
        let job = request.into_inner().job.ok_or_else(|| bad("no job is named"))?;
        let job = JobId::try_from(job).map_err(|e| to_status(&e.into()))?;
        let kept = self.logs.read(job);
        let (pieces, stream) = mpsc::channel(QUEUE_PIECES);
        tokio::spawn(async move {
            for (attempt, data) in kept {
                let chunk = v1::LogChunk { attempt: attempt.map(Into::into), data };
                if pieces.send(Ok(chunk)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn put_chunk(
        &self,
        request: Request<Streaming<v1::ChunkPiece>>,
    ) -> Result<Response<v1::PutChunkReply>, Status> {
        let mut pieces = request.into_inner();
        let first = pieces.message().await?.ok_or_else(|| bad("no chunk came"))?;
        let digest = first.digest.ok_or_else(|| bad("the first piece of a chunk names no digest"))?;
        let digest = Digest::try_from(digest).map_err(|e| to_status(&e.into()))?;
        let put = self.chunks.begin(digest).map_err(|f| to_status(&f))?;
        let mut data = first.data;
        loop {
            if !put.write(data).await {
                break;
            }
            match pieces.message().await? {
                Some(piece) => data = piece.data,
                None => break,
            }
        }
        put.finish().await.map_err(|f| to_status(&f))?;
        Ok(Response::new(v1::PutChunkReply {}))
    }

    async fn get_chunk(&self, request: Request<v1::GetChunkRequest>) -> Result<Response<Self::GetChunkStream>, Status> {
        let digest = request.into_inner().digest.ok_or_else(|| bad("no digest is given"))?;
        let digest = Digest::try_from(digest).map_err(|e| to_status(&e.into()))?;
        let mut file = self.chunks.open(digest).await.map_err(|f| to_status(&f))?;
        let (pieces, stream) = mpsc::channel(QUEUE_PIECES);
        tokio::spawn(async move {
            let mut offset = 0;
            while let Ok(permit) = pieces.reserve().await {
                let (back, read) = blocking(move || {
                    let read = read_at(&file, offset, PIECE_BYTES as u64);
                    (file, read)
                })
                .await;
                file = back;
                match read {
                    Ok(data) if data.is_empty() => return,
                    Ok(data) => {
                        offset += data.len() as u64;
                        permit.send(Ok(v1::Piece { data }));
                    }
                    Err(e) => {
                        let failure = Failure::new(Code::IoError, format!("cannot read chunk {digest}: {e}"));
                        return permit.send(Err(to_status(&failure)));
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

fn bad(what: &str) -> Status {
    to_status(&Failure::new(Code::BadRequest, what))
}

/// Runs in a blocking thread; a panic there goes on here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(e) => std::panic::resume_unwind(e.try_into_panic().unwrap_or_else(|e| Box::new(e.to_string()))),
    }
}

/// At most `length` bytes from `offset`; fewer only at the end of the file.
fn read_at(file: &File, offset: u64, length: u64) -> io::Result<Bytes> {
    failpoint!("serve.read")?;
    let mut data = vec![0; length.min(PIECE_BYTES as u64) as usize];
    let mut filled = 0;
    while filled < data.len() {
        match file.read_at(&mut data[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    data.truncate(filled);
    Ok(data.into())
}

async fn drive_segments(mut reader: SegmentReader, pieces: mpsc::Sender<Result<v1::SegmentPiece, Status>>) {
    // The first permit is awaited before the disk is touched; the reader gives up when the peer does.
    while let Ok(permit) = pieces.reserve().await {
        drop(permit);
        let (back, batch) = blocking(move || {
            let batch = reader.next_batch();
            (reader, batch)
        })
        .await;
        reader = back;
        if batch.is_empty() {
            return;
        }
        for piece in batch {
            let last = piece.failure.is_some();
            if pieces.send(Ok(piece)).await.is_err() || last {
                return;
            }
        }
    }
}

/// Walks through the segments of one request.
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

    /// About a megabyte: many small segments, or a part of a large one. Empty at the end. Blocks.
    fn next_batch(&mut self) -> Vec<v1::SegmentPiece> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < PIECE_BYTES as u64
            && let Some(wanted) = self.segments.get(self.index).copied()
        {
            let index = self.index as u32;
            if self.done >= wanted.segment.length {
                self.index += 1;
                self.done = 0;
                continue;
            }
            match self.read(&wanted, PIECE_BYTES as u64 - bytes) {
                Ok(data) => {
                    bytes += data.len() as u64;
                    self.done += data.len() as u64;
                    let crc32c = Some(crc32c(&data));
                    batch.push(v1::SegmentPiece { index, data, failure: None, crc32c });
                }
                Err(failure) => {
                    let failure = Some(failure.into());
                    batch.push(v1::SegmentPiece { index, data: Bytes::new(), failure, crc32c: None });
                    self.index = self.segments.len();
                }
            }
        }
        batch
    }

    fn read(&mut self, wanted: &SegmentRef, length_max: u64) -> Result<Bytes, Failure> {
        let id = wanted.attempt;
        let unreadable = |e: io::Error| {
            Failure::new(Code::FetchFailed, format!("cannot read output {} of {id}: {e}", wanted.output))
        };
        // Asked for each batch: an attempt that was revoked meanwhile is not served any further.
        let holder =
            self.outputs.get(&id).filter(|_| wanted.worker == self.worker).ok_or_else(|| {
                Failure::new(Code::StaleAttempt, format!("{} does not hold attempt {id}", self.worker))
            })?;
        let key = (id, wanted.output);
        if self.open.as_ref().is_none_or(|(open, _)| *open != key) {
            let file = File::open(holder.edge(wanted.output)).map_err(unreadable)?;
            self.open = Some((key, file));
        }
        let (_, file) = self.open.as_ref().expect("it was opened just now if it was not open");
        let left = wanted.segment.length - self.done;
        let offset = wanted.segment.offset.checked_add(self.done);
        let offset = offset.ok_or_else(|| Failure::new(Code::BadRequest, "a segment ends beyond every file"))?;
        let data = read_at(file, offset, left.min(length_max)).map_err(unreadable)?;
        if data.is_empty() {
            return Err(unreadable(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(data)
    }
}
