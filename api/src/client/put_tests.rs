//! Puts through streams that break, against a coordinator and workers that count.

use super::{Cluster, PutOptions};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};
use windrow_model::{Code, DatasetStatus, Failure, Framing, WorkerId};
use windrow_net::{Access, Connection, Role, Server, channel, serve, to_status};
use windrow_proto::v1::{self, put_reply, put_request};

const CHUNKS: usize = 8;

/// What a stream of a put does.
#[derive(Clone, Copy)]
enum Stream {
    /// Breaks after this many chunks.
    Breaks(usize),
    /// Records the dataset, and breaks before it says so.
    LosesAnswer,
    /// Refuses the commit, since a chunk is gone.
    Refuses,
    Commits,
}

/// What the coordinator and the workers have counted.
#[derive(Default)]
struct Counts {
    streams: usize,
    commits: usize,
    /// Chunks that workers were sent.
    stored: usize,
    /// Names of chunks in the order of the put, once it is recorded.
    recorded: Option<Vec<v1::Digest>>,
}

#[derive(Clone)]
struct Coordinator {
    counts: Arc<Mutex<Counts>>,
    /// What each stream does, in order.
    script: Vec<Stream>,
    peers: Vec<v1::Peer>,
}

type Answers<T> = ReceiverStream<Result<T, Status>>;

fn nothing<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not a part of this test"))
}

fn reply(message: put_reply::Message) -> Result<v1::PutReply, Status> {
    Ok(v1::PutReply { message: Some(message) })
}

#[tonic::async_trait]
impl v1::data_server::Data for Coordinator {
    type PutStream = Answers<v1::PutReply>;
    type GetStream = Answers<v1::ChunkPlace>;
    type BackupStream = Answers<v1::BackupPiece>;

    async fn put(&self, request: Request<Streaming<v1::PutRequest>>) -> Result<Response<Self::PutStream>, Status> {
        let mut requests = request.into_inner();
        let Some(put_request::Message::Begin(begin)) = requests.message().await?.and_then(|m| m.message) else {
            return Err(Status::aborted("no beginning"));
        };
        assert_eq!(begin.name, "set");
        let number = {
            let mut counts = self.counts.lock().unwrap();
            counts.streams += 1;
            counts.streams - 1
        };
        let does = self.script[number];
        let (send, stream) = mpsc::channel(4);
        let (counts, peers) = (self.counts.clone(), self.peers.clone());
        tokio::spawn(async move {
            let began = v1::PutBegan { workers: peers, replicas: 2, cluster: None };
            send.send(reply(put_reply::Message::Began(began))).await.unwrap();
            let broken = || Err(to_status(&Failure::new(Code::Unreachable, "the coordinator is stopping")));
            let mut chunks: Vec<v1::PlacedChunk> = Vec::new();
            let answer = loop {
                if let Stream::Breaks(after) = does
                    && chunks.len() == after
                {
                    break broken();
                }
                match requests.message().await.unwrap().and_then(|m| m.message) {
                    Some(put_request::Message::Chunk(chunk)) => chunks.push(chunk),
                    Some(put_request::Message::Commit(_)) => {
                        let mut counts = counts.lock().unwrap();
                        counts.commits += 1;
                        if let Stream::Refuses = does {
                            break Err(to_status(&Failure::new(Code::BadRequest, "a chunk is not there")));
                        }
                        counts.recorded = Some(chunks.iter().map(|c| c.digest.clone().unwrap()).collect());
                        break match does {
                            Stream::LosesAnswer => broken(),
                            _ => reply(put_reply::Message::Committed(v1::PutCommitted { version: 7 })),
                        };
                    }
                    _ => return,
                }
            };
            let _ = send.send(answer).await;
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn get(&self, _: Request<v1::GetDatasetRequest>) -> Result<Response<Self::GetStream>, Status> {
        let Some(recorded) = self.counts.lock().unwrap().recorded.clone() else {
            return Err(to_status(&Failure::new(Code::DatasetNotFound, "set")));
        };
        let (send, stream) = mpsc::channel(CHUNKS + 1);
        let status = DatasetStatus {
            name: "set".into(),
            version: 7,
            framing: Framing::Whole,
            bytes: 0,
            chunks: 0,
            replicas: 2,
            copies_min: 2,
        };
        let first = v1::ChunkPlace { status: Some(status.into()), chunk: None, length: 0 };
        send.send(Ok(first)).await.unwrap();
        for digest in recorded {
            let chunk = v1::ChunkSource { digest: Some(digest), addresses: Vec::new() };
            send.send(Ok(v1::ChunkPlace { status: None, chunk: Some(chunk), length: 1 })).await.unwrap();
        }
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn list(&self, _: Request<v1::ListDatasetsRequest>) -> Result<Response<v1::ListDatasetsReply>, Status> {
        nothing()
    }
    async fn remove(&self, _: Request<v1::RemoveDatasetRequest>) -> Result<Response<v1::RemoveDatasetReply>, Status> {
        nothing()
    }
    async fn list_orphans(&self, _: Request<v1::ListOrphansRequest>) -> Result<Response<v1::ListOrphansReply>, Status> {
        nothing()
    }
    async fn adopt(&self, _: Request<v1::AdoptRequest>) -> Result<Response<v1::AdoptReply>, Status> {
        nothing()
    }
    async fn list_scrubs(&self, _: Request<v1::ListScrubsRequest>) -> Result<Response<v1::ListScrubsReply>, Status> {
        nothing()
    }
    async fn backup(&self, _: Request<v1::BackupRequest>) -> Result<Response<Self::BackupStream>, Status> {
        nothing()
    }
}

/// Takes every chunk, and counts.
struct Worker(Arc<Mutex<Counts>>);

#[tonic::async_trait]
impl v1::transfer_server::Transfer for Worker {
    type FetchSegmentsStream = Answers<v1::SegmentPiece>;
    type ReadLogsStream = Answers<v1::LogChunk>;
    type GetChunkStream = Answers<v1::Piece>;

    async fn fetch_segments(
        &self,
        _: Request<v1::FetchSegmentsRequest>,
    ) -> Result<Response<Self::FetchSegmentsStream>, Status> {
        nothing()
    }
    async fn locate_outputs(
        &self,
        _: Request<v1::LocateOutputsRequest>,
    ) -> Result<Response<v1::LocateOutputsReply>, Status> {
        nothing()
    }
    async fn read_logs(&self, _: Request<v1::ReadLogsRequest>) -> Result<Response<Self::ReadLogsStream>, Status> {
        nothing()
    }
    async fn put_chunk(
        &self,
        request: Request<Streaming<v1::ChunkPiece>>,
    ) -> Result<Response<v1::PutChunkReply>, Status> {
        let mut pieces = request.into_inner();
        while pieces.message().await?.is_some() {}
        self.0.lock().unwrap().stored += 1;
        Ok(Response::new(v1::PutChunkReply {}))
    }
    async fn get_chunk(&self, _: Request<v1::GetChunkRequest>) -> Result<Response<Self::GetChunkStream>, Status> {
        nothing()
    }
}

async fn start(role: Role, routes: Routes) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve(listener, routes, Server::new(role, None, None), std::future::pending()));
    url
}

/// A put of eight chunks to two workers through such streams: its outcome, and the counts.
async fn put(script: &[Stream]) -> (Result<u64, Code>, Counts) {
    let counts: Arc<Mutex<Counts>> = Arc::default();
    let mut peers = Vec::new();
    for number in 1..=2 {
        let worker = v1::transfer_server::TransferServer::new(Worker(counts.clone()));
        let address = start(Role::Worker, Routes::new(worker)).await;
        peers.push(v1::Peer { worker: Some(WorkerId::from_bytes([number; 16]).into()), address, home: None });
    }
    let coordinator = Coordinator { counts: counts.clone(), script: script.to_vec(), peers };
    let url = start(Role::Coordinator, Routes::new(v1::data_server::DataServer::new(coordinator))).await;
    let connection: Connection = channel(&url, &Access::default()).await.unwrap();
    let cluster = Cluster { url, connection, access: Access::default() };
    let folder = tempfile::tempdir().unwrap();
    let lines: String = (0..CHUNKS).map(|n| format!("{n:09}\n")).collect();
    std::fs::write(folder.path().join("lines"), lines).unwrap();
    let options = PutOptions {
        framing: Framing::Delimiter(b'\n'),
        chunk_bytes: 10,
        replicas: 0,
        overwrite: false,
        decompress: true,
    };
    let inputs = vec![folder.path().to_str().unwrap().to_string()];
    let done = cluster.put_dataset(inputs, "set", options, |_| {}).await;
    let counts = std::mem::take(&mut *counts.lock().unwrap());
    if let Ok(put) = &done {
        assert_eq!((put.chunks, put.bytes, put.replicas), (CHUNKS as u64, 10 * CHUNKS as u64, 2));
        let distinct: HashSet<_> = counts.recorded.iter().flatten().map(|d| d.blake3.to_vec()).collect();
        assert_eq!((counts.recorded.as_ref().unwrap().len(), distinct.len()), (CHUNKS, CHUNKS), "each once");
    }
    (done.map(|put| put.version).map_err(|failure| failure.code), counts)
}

#[tokio::test]
async fn put_goes_on_without_sending_chunks_again() {
    for breaks in [vec![0], vec![3], vec![3, 5, 8], vec![8]] {
        let script: Vec<_> = breaks.iter().map(|n| Stream::Breaks(*n)).chain([Stream::Commits]).collect();
        let (version, counts) = put(&script).await;
        assert_eq!((version, counts.streams, counts.commits), (Ok(7), breaks.len() + 1, 1), "{breaks:?}");
        assert_eq!(counts.stored, 2 * CHUNKS, "{breaks:?}: each chunk was sent to each worker once");
    }
}

#[tokio::test]
async fn lost_answer_to_a_commit_is_found_out() {
    let (version, counts) = put(&[Stream::LosesAnswer]).await;
    assert_eq!((version, counts.streams, counts.commits, counts.stored), (Ok(7), 1, 1, 2 * CHUNKS));
}

#[tokio::test]
async fn chunks_deleted_meanwhile_are_sent_once_more() {
    let (version, counts) = put(&[Stream::Breaks(4), Stream::Refuses, Stream::Commits]).await;
    assert_eq!((version, counts.streams, counts.commits, counts.stored), (Ok(7), 3, 2, 4 * CHUNKS));
    // Without a break the refusal is about something else.
    let (version, counts) = put(&[Stream::Refuses]).await;
    assert_eq!((version, counts.streams, counts.stored), (Err(Code::BadRequest), 1, 2 * CHUNKS));
    let (version, counts) = put(&[Stream::Breaks(4), Stream::Refuses, Stream::Refuses]).await;
    assert_eq!((version, counts.streams, counts.stored), (Err(Code::BadRequest), 3, 4 * CHUNKS));
}
