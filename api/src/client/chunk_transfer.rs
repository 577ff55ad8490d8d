//! Transfers one chunk from or to a worker, which may stall: each piece has a deadline, after which another worker is
//! tried.

use super::{answered, failure};
use futures_util::StreamExt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::timeout;
use windrow_model::{Code, Digest, Failure};
use windrow_net::{Connection, Patience, Silent};
use windrow_proto::v1::{self, transfer_client::TransferClient};

/// Timeout for the next piece of a chunk from a worker.
pub(super) const FETCH_PATIENCE: Duration = Duration::from_secs(20);
/// Timeout for a worker to accept the next piece, and after the last piece to store the chunk.
pub(super) const STORE_PATIENCE: Duration = Duration::from_secs(120);

/// Fetches the bytes that a worker has under this digest, without verifying them.
///
/// # Errors
/// The worker's error; `FETCH_FAILED` if it sends nothing for `patience`, or another number of bytes than `length`.
pub(super) async fn fetch(
    mut client: TransferClient<Connection>,
    digest: Digest,
    length: u64,
    patience: Duration,
) -> Result<Vec<u8>, Failure> {
    let stalled = |silent: Silent| Failure::new(Code::FetchFailed, silent.to_string());
    let mut patience = Patience::new(patience);
    let request = v1::GetChunkRequest { digest: Some(digest.into()) };
    let mut pieces = answered(patience.wait(client.get_chunk(request), |_| 0).await.map_err(stalled)?)?;
    let mut bytes = Vec::new();
    loop {
        let piece = patience.message(&mut pieces, |piece| piece.data.len()).await.map_err(stalled)?;
        let Some(piece) = piece.map_err(failure)? else { break };
        bytes.extend_from_slice(&piece.data);
        if bytes.len() as u64 > length {
            return Err(Failure::new(Code::FetchFailed, "the worker sent more bytes than the chunk has"));
        }
    }
    if (bytes.len() as u64) < length {
        let what = format!("the worker sent {} bytes instead of {length}", bytes.len());
        return Err(Failure::new(Code::FetchFailed, what));
    }
    Ok(bytes)
}

/// Stores a chunk on a worker. The pieces carry digest and cluster.
///
/// # Errors
/// The worker's error; `UNREACHABLE` if it accepts nothing for `patience`.
pub(super) async fn store(
    mut client: TransferClient<Connection>,
    pieces: Vec<v1::ChunkPiece>,
    patience: Duration,
) -> Result<(), Failure> {
    let taken = Arc::new(AtomicUsize::new(0));
    let count = taken.clone();
    let pieces = futures_util::stream::iter(pieces).inspect(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let mut stored = pin!(client.put_chunk(pieces));
    let mut before = None;
    loop {
        match timeout(patience, &mut stored).await {
            Ok(answer) => return answered(answer).map(drop),
            Err(_) => {
                let now = Some(taken.load(Ordering::Relaxed));
                if std::mem::replace(&mut before, now) == now {
                    return Err(Failure::new(
                        Code::Unreachable,
                        format!("the worker has accepted nothing for {patience:?}"),
                    ));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::future::pending;
    use tokio::net::TcpListener;
    use tokio_stream::wrappers::ReceiverStream;
    use tonic::{Request, Response, Status, Streaming};
    use windrow_net::{Access, Role, Server, channel, clients, serve::serve};
    use windrow_proto::v1::transfer_server::{Transfer, TransferServer};

    /// Answers calls for the chunk of all ones with three bytes and the end, of all twos with three bytes and no end;
    /// refuses other calls.
    struct Worker;

    #[tonic::async_trait]
    impl Transfer for Worker {
        type FetchSegmentsStream = ReceiverStream<Result<v1::SegmentPiece, Status>>;
        type ReadLogsStream = ReceiverStream<Result<v1::LogChunk, Status>>;
        type GetChunkStream = ReceiverStream<Result<v1::Piece, Status>>;

        async fn fetch_segments(
            &self,
            _: Request<v1::FetchSegmentsRequest>,
        ) -> Result<Response<Self::FetchSegmentsStream>, Status> {
            pending().await
        }
        async fn locate_outputs(
            &self,
            _: Request<v1::LocateOutputsRequest>,
        ) -> Result<Response<v1::LocateOutputsReply>, Status> {
            pending().await
        }
        async fn read_logs(&self, _: Request<v1::ReadLogsRequest>) -> Result<Response<Self::ReadLogsStream>, Status> {
            pending().await
        }
        async fn put_chunk(
            &self,
            _: Request<Streaming<v1::ChunkPiece>>,
        ) -> Result<Response<v1::PutChunkReply>, Status> {
            pending().await
        }
        async fn get_chunk(
            &self,
            request: Request<v1::GetChunkRequest>,
        ) -> Result<Response<Self::GetChunkStream>, Status> {
            let digest: Digest = request.into_inner().digest.unwrap().try_into().unwrap();
            let (send, stream) = tokio::sync::mpsc::channel(1);
            if digest.0[0] > 2 {
                pending::<()>().await;
            }
            tokio::spawn(async move {
                let _ = send.send(Ok(v1::Piece { data: Bytes::from_static(b"abc") })).await;
                if digest.0[0] == 2 {
                    pending::<()>().await;
                }
            });
            Ok(Response::new(ReceiverStream::new(stream)))
        }
    }

    #[tokio::test]
    async fn stalled_worker_is_abandoned() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = tonic::service::Routes::new(TransferServer::new(Worker));
        let server = tokio::spawn(serve(listener, routes, Server::new(Role::Worker, None, None), pending()));
        let connection = channel(&url, &Access::default()).await.unwrap();
        let client = || clients::transfer(connection.clone());
        let code = async |n, length| {
            let patience = Duration::from_millis(300);
            fetch(client(), Digest([n; 32]), length, patience).await.map_err(|failure| failure.code)
        };
        assert_eq!(code(1, 3).await, Ok(b"abc".to_vec()));
        for (n, length) in [(1, 2), (1, 4), (2, 3), (3, 3)] {
            assert_eq!(code(n, length).await, Err(Code::FetchFailed), "{n} {length}");
        }
        let piece = v1::ChunkPiece { data: Bytes::from_static(b"abc"), ..v1::ChunkPiece::default() };
        let stored = store(client(), vec![piece], Duration::from_millis(300)).await;
        assert_eq!(stored.unwrap_err().code, Code::Unreachable);
        server.abort();
    }
}
