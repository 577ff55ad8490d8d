//! Serves outputs of finished attempts, logs and chunks to other processes.
//!
//! Files are read with pread in a blocking thread, about 1 MiB at a time, and only after the last megabyte was put into
//! the stream: a slow reader costs this worker neither memory nor a thread. Callers are authorised before a call gets
//! here.

mod batch_buffers;
mod holdings;
mod segments;

use crate::chunks::Chunks;
use crate::file_list::FileList;
use crate::known_lists::KnownLists;
use crate::logs::Logs;
use crate::membership::Membership;
use crate::outputs::Outputs;
use bytes::Bytes;
pub(crate) use holdings::Holding;
use segments::Served;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use windrow_failpoint::failpoint;
use windrow_format::fill::fill;
use windrow_format::stage_index::OutputImage;
use windrow_model::{ClusterId, Code, Digest, Failure, JobId, WorkerId};
use windrow_net::{MESSAGE_BYTES_MAX, Patience, Silent, to_status};
use windrow_proto::convert::path_to_bytes;
use windrow_proto::v1;
use windrow_proto::v1::transfer_server::{Transfer, TransferServer};

/// Bytes of one message, and of one read.
const PIECE_BYTES: usize = 1 << 20;
/// Messages queued in one stream.
const QUEUE_PIECES: usize = 2;

/// From this length on, bytes are read into memory that was not filled with zeros before, which costs a call more.
const UNFILLED_BYTES_MIN: usize = 32 << 10;

/// A chunk upload without a byte for this long, or with next to none for longer, is aborted.
const PIECE_PATIENCE: Duration = Duration::from_secs(60);
/// A reader that takes nothing for so long has gone: a stream to it ends too early, and what waits for it is dropped.
const READER_PATIENCE: Duration = Duration::from_secs(60);

/// The service behind this worker's port.
#[derive(Clone, Debug)]
pub(crate) struct TransferService {
    pub worker: WorkerId,
    /// The data folder.
    pub root: PathBuf,
    pub outputs: Outputs,
    pub lists: Arc<KnownLists<Holding>>,
    pub logs: Logs,
    pub chunks: Chunks,
    pub membership: Arc<Membership>,
}

impl TransferService {
    /// The service with its message limits.
    pub(crate) fn into_server(self) -> Served {
        let others = TransferServer::new(self.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Served::new(self, others)
    }
}

impl TransferService {
    /// The outputs that a request names. `None` if their list is needed.
    fn holding(&self, wanted: Option<v1::WantedOutputs>) -> Result<Option<Arc<Holding>>, Status> {
        let wanted = wanted.ok_or_else(|| bad("no outputs are named"))?;
        self.lists.get(wanted, self.worker).map_err(|e| to_status(&e.into()))
    }

    /// Where these outputs lie below the data folder. Reads the file system.
    fn places(&self, holding: &Holding) -> v1::LocateOutputsReply {
        let wanted = holding.wanted();
        let images = match self.outputs.locate(wanted.attempts.iter().copied(), wanted.output) {
            Ok(images) => images,
            Err((failed, failure)) => {
                return v1::LocateOutputsReply { failure: Some(failure.into()), failed, ..Default::default() };
            }
        };
        let mut files = FileList::default();
        let mut number = |image: &OutputImage| if image.length > 0 { 1 + files.number(&image.file) } else { 0 };
        let file = images.iter().map(&mut number).collect();
        // Every file of this worker lies there. The reader refuses a reply without files.
        let files = files.files().iter().map(|file| relative(file, &self.root)).collect::<Option<_>>();
        v1::LocateOutputsReply {
            files: files.unwrap_or_default(),
            file,
            base: images.iter().map(|image| image.base).collect(),
            length: images.iter().map(|image| image.length).collect(),
            ..Default::default()
        }
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
        let _ = request;
        Err(Status::unimplemented("this call is answered before it gets here"))
    }

    async fn locate_outputs(
        &self,
        request: Request<v1::LocateOutputsRequest>,
    ) -> Result<Response<v1::LocateOutputsReply>, Status> {
        let Some(holding) = self.holding(request.into_inner().wanted)? else {
            return Ok(Response::new(v1::LocateOutputsReply { unknown: true, ..Default::default() }));
        };
        let service = self.clone();
        Ok(Response::new(blocking(move || service.places(&holding)).await))
    }

    async fn read_logs(&self, request: Request<v1::ReadLogsRequest>) -> Result<Response<Self::ReadLogsStream>, Status> {
        let job = request.into_inner().job.ok_or_else(|| bad("no job is named"))?;
        let job = JobId::try_from(job).map_err(|e| to_status(&e.into()))?;
        let kept = self.logs.read(job);
        let (pieces, stream) = mpsc::channel(QUEUE_PIECES);
        tokio::spawn(async move {
            for (attempt, data) in kept {
                let chunk = v1::LogChunk { attempt: attempt.map(Into::into), data };
                if !timeout(READER_PATIENCE, pieces.send(Ok(chunk))).await.is_ok_and(|sent| sent.is_ok()) {
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
        let cluster = first.cluster.map(ClusterId::try_from).transpose().map_err(|e| to_status(&e.into()))?;
        self.membership.check(cluster).map_err(|failure| to_status(&failure))?;
        let closed = |_| to_status(&Failure::new(Code::Interrupted, "the worker is stopping"));
        let _arrival = self.chunks.arrival().await.map_err(closed)?;
        let put = self.chunks.begin_for_client(digest);
        let mut patience = Patience::new(PIECE_PATIENCE);
        let mut data = first.data;
        loop {
            if !put.write(data).await {
                break;
            }
            let next = patience.message(&mut pieces, |piece| piece.data.len()).await;
            let stalled = |silent: Silent| {
                let what = format!("chunk {digest} has stalled on its way: {silent}");
                to_status(&Failure::new(Code::Unreachable, what))
            };
            match next.map_err(stalled)?? {
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
        let chunks = self.chunks.clone();
        let (pieces, stream) = mpsc::channel(QUEUE_PIECES);
        tokio::spawn(async move {
            let mut offset = 0;
            let mut hasher = blake3::Hasher::new();
            while let Ok(Ok(permit)) = timeout(READER_PATIENCE, pieces.reserve()).await {
                let (back, hashed, read) = blocking(move || {
                    let read = read_at(&file, offset, PIECE_BYTES as u64);
                    if let Ok(data) = &read {
                        hasher.update(data);
                    }
                    (file, hasher, read)
                })
                .await;
                (file, hasher) = (back, hashed);
                match read {
                    Ok(data) if data.is_empty() => {
                        if Digest(*hasher.finalize().as_bytes()) != digest {
                            // The reader cannot report a damaged copy to the coordinator, so this worker does.
                            chunks.is_whole(digest).await;
                            let failure =
                                Failure::new(Code::FetchFailed, format!("chunk {digest} is damaged on this worker"));
                            permit.send(Err(to_status(&failure)));
                        }
                        return;
                    }
                    Ok(data) => {
                        offset += data.len() as u64;
                        permit.send(Ok(v1::Piece { data }));
                    }
                    Err(e) => {
                        let failure = Failure::new(Code::IoError, format!("cannot read chunk {digest}: {e}"));
                        permit.send(Err(to_status(&failure)));
                        // Verifies the whole chunk, so that the coordinator learns whether this copy is damaged.
                        chunks.is_whole(digest).await;
                        return;
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// A path relative to a data folder, as bytes for the wire. `None` if the file is not below the folder.
fn relative(file: &Path, root: &Path) -> Option<Vec<u8>> {
    Some(path_to_bytes(file.strip_prefix(root).ok()?))
}

fn bad(what: &str) -> Status {
    to_status(&Failure::new(Code::BadRequest, what))
}

/// Runs `work` in a blocking thread; a panic there is propagated.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(e) => std::panic::resume_unwind(e.try_into_panic().unwrap_or_else(|e| Box::new(e.to_string()))),
    }
}

/// At most `length` bytes from `offset`; fewer only at the end of the file.
fn read_at(file: &File, offset: u64, length: u64) -> io::Result<Bytes> {
    let mut data = Vec::new();
    read_into(&mut data, file, offset, length.min(PIECE_BYTES as u64) as usize)?;
    Ok(data.into())
}

/// Appends `length` bytes from `offset`, or those up to the end of the file; returns their number. Moves the file's position.
fn read_into(data: &mut Vec<u8>, file: &File, offset: u64, length: usize) -> io::Result<usize> {
    failpoint!("serve.read")?;
    if length >= UNFILLED_BYTES_MIN {
        let mut file = file;
        file.seek(SeekFrom::Start(offset))?;
        return file.take(length as u64).read_to_end(data);
    }
    let start = data.len();
    data.resize(start + length, 0);
    let done = fill(&mut data[start..], |at, buf| file.read_at(buf, offset + at))?;
    data.truncate(start + done);
    Ok(done)
}
