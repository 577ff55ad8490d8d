//! The service for datasets. A put is one stream: it ends with the stream, committed or not.

use super::{Answers, PIECE_BYTES, PIECES_MAX, begun, field, give, refuse};
use crate::mailbox::{BeginPut, DataMessage, Mailbox, Message, OrphanList, PutStart};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use windrow_datasets::PutId;
use windrow_model::{Code, Dataset, DatasetChunk, Digest, Failure, Framing, WorkerId};
use windrow_proto::v1::{self, adopt_request, put_reply, put_request};

/// Orphans in one answer.
const ORPHANS_MAX: usize = 100_000;

/// Longest pause of a put, long enough for a chunk on a slow link. A longer one ends the put, since nothing is deleted while it is
/// open.
const PUT_PATIENCE: Duration = Duration::from_secs(30 * 60);

/// Chunks of one dataset.
const CHUNKS_MAX: usize = 4_000_000;

pub(crate) struct Data {
    pub mailbox: Mailbox,
    /// One at a time.
    pub backups: Arc<Semaphore>,
}

#[tonic::async_trait]
impl v1::data_server::Data for Data {
    type PutStream = Answers<v1::PutReply>;
    type GetStream = Answers<v1::ChunkPlace>;

    async fn put(&self, request: Request<Streaming<v1::PutRequest>>) -> Result<Response<Self::PutStream>, Status> {
        let mut requests = request.into_inner();
        let Some(put_request::Message::Begin(begin)) = requests.message().await?.and_then(|m| m.message) else {
            return Err(bad("a put begins with `BeginPut`"));
        };
        let framing: Framing = field(begin.framing, "framing")?;
        let v1::BeginPut { name, overwrite, replicas, .. } = begin;
        let ask = move |answer| Message::Data(DataMessage::BeginPut(BeginPut { name, overwrite, replicas, answer }));
        let (start, started) = oneshot::channel();
        let (replies, stream) = mpsc::channel(PIECES_MAX);
        let mailbox = self.mailbox.clone();
        // A task of its own: this call ends with its client, even while the put waits for its begin, and what has begun must end.
        tokio::spawn(async move {
            let PutStart { id, workers, replicas, cluster } = match mailbox.try_ask(ask).await {
                Ok(began) => began,
                Err(failure) => return drop(start.send(Err(failure))),
            };
            let _ = start.send(Ok(()));
            let peer =
                |(worker, address): (WorkerId, String)| v1::Peer { worker: Some(worker.into()), address, home: None };
            let workers = workers.into_iter().map(peer).collect();
            let began = v1::PutBegan { workers, replicas, cluster: Some(cluster.into()) };
            let reply = |message| Ok(v1::PutReply { message: Some(message) });
            let _ = replies.send(reply(put_reply::Message::Began(began))).await;
            let dataset = Dataset { name: String::new(), version: 0, framing, replicas, chunks: Vec::new() };
            let answer = match receive(id, dataset, requests, &mailbox).await {
                Ok(version) => reply(put_reply::Message::Committed(v1::PutCommitted { version })),
                Err(status) => Err(status),
            };
            mailbox.send(Message::Data(DataMessage::EndPut { put: id })).await;
            let _ = replies.send(answer).await;
        });
        begun(started).await?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn list(&self, _: Request<v1::ListDatasetsRequest>) -> Result<Response<v1::ListDatasetsReply>, Status> {
        let asked = self.mailbox.ask(|answer| Message::Data(DataMessage::List { answer })).await;
        let (listed, notices) = asked.map_err(refuse)?;
        let datasets = listed.into_iter().map(Into::into).collect();
        Ok(Response::new(v1::ListDatasetsReply { datasets, notices }))
    }

    async fn get(&self, request: Request<v1::GetDatasetRequest>) -> Result<Response<Self::GetStream>, Status> {
        let name = request.into_inner().name;
        let asked = self.mailbox.try_ask(|answer| Message::Data(DataMessage::Get { name, answer })).await;
        let (status, places) = asked.map_err(refuse)?;
        let (send, stream) = mpsc::channel(PIECES_MAX);
        tokio::spawn(async move {
            let first = v1::ChunkPlace { status: Some(status.into()), chunk: None, length: 0 };
            let places = places.into_iter().map(|(chunk, addresses)| v1::ChunkPlace {
                status: None,
                chunk: Some(v1::ChunkSource { digest: Some(chunk.digest.into()), addresses }),
                length: chunk.length,
            });
            for place in std::iter::once(first).chain(places) {
                if !give(&send, Ok(place)).await {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn remove(
        &self,
        request: Request<v1::RemoveDatasetRequest>,
    ) -> Result<Response<v1::RemoveDatasetReply>, Status> {
        let name = request.into_inner().name;
        let removed = self.mailbox.try_ask(|answer| Message::Data(DataMessage::Remove { name, answer })).await;
        removed.map_err(refuse)?;
        Ok(Response::new(v1::RemoveDatasetReply {}))
    }

    async fn list_orphans(&self, _: Request<v1::ListOrphansRequest>) -> Result<Response<v1::ListOrphansReply>, Status> {
        let asked = self.mailbox.ask(|answer| Message::Data(DataMessage::Orphans { answer })).await;
        let OrphanList { mut chunks, unjoined } = asked.map_err(refuse)?;
        let left_off = chunks.len().saturating_sub(ORPHANS_MAX) as u64;
        chunks.truncate(ORPHANS_MAX);
        let chunks = chunks.into_iter().map(|orphan| v1::OrphanChunk {
            digest: Some(orphan.digest.into()),
            length: orphan.length.unwrap_or(0),
            holders: orphan.holders.into_iter().map(Into::into).collect(),
            trashed: orphan.trashed.into_iter().map(Into::into).collect(),
            for_ms: orphan.for_ms,
            kept_ms: orphan.kept_ms,
        });
        let unjoined = unjoined.into_iter().map(|(worker, host, chunks)| v1::UnjoinedWorker {
            worker: Some(worker.into()),
            host,
            chunks,
        });
        let reply = v1::ListOrphansReply { chunks: chunks.collect(), left_off, unjoined: unjoined.collect() };
        Ok(Response::new(reply))
    }

    async fn adopt(&self, request: Request<v1::AdoptRequest>) -> Result<Response<v1::AdoptReply>, Status> {
        let adopted = match request.into_inner().what {
            Some(adopt_request::What::Worker(worker)) => {
                let worker = field(Some(worker), "worker")?;
                self.mailbox.try_ask(|answer| Message::Data(DataMessage::AdoptWorker { worker, answer })).await
            }
            Some(adopt_request::What::Chunks(v1::AdoptChunks { name, framing, digests })) => {
                let framing = field(framing, "framing")?;
                let digests = digests.into_iter().map(|d| field(Some(d), "digest")).collect::<Result<_, _>>()?;
                let ask = |answer| Message::Data(DataMessage::AdoptChunks { name, framing, digests, answer });
                self.mailbox.try_ask(ask).await
            }
            None => return Err(bad("neither chunks nor a worker are named")),
        };
        Ok(Response::new(v1::AdoptReply { version: adopted.map_err(refuse)? }))
    }

    async fn list_scrubs(&self, _: Request<v1::ListScrubsRequest>) -> Result<Response<v1::ListScrubsReply>, Status> {
        let scrubs = self.mailbox.ask(|answer| Message::Data(DataMessage::Scrubs { answer })).await.map_err(refuse)?;
        let status = |(worker, progress): (WorkerId, _)| v1::ScrubStatus {
            worker: Some(worker.into()),
            progress: Some(progress),
        };
        Ok(Response::new(v1::ListScrubsReply { scrubs: scrubs.into_iter().map(status).collect() }))
    }

    type BackupStream = Answers<v1::BackupPiece>;

    async fn backup(&self, _: Request<v1::BackupRequest>) -> Result<Response<Self::BackupStream>, Status> {
        let Ok(only) = self.backups.clone().try_acquire_owned() else {
            return Err(bad("another backup is being taken"));
        };
        let (send, stream) = mpsc::channel(PIECES_MAX);
        let (artifacts, snapshot) = self.mailbox.try_ask(|answer| Message::Backup { answer }).await.map_err(refuse)?;
        let artifacts = artifacts.into_iter().map(Into::into).collect();
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || {
            let _only = only;
            // The journal's file cannot reuse what the snapshot needs: a client that reads nothing is given up.
            let give = |piece| match runtime.block_on(give(&send, piece)) {
                true => Ok(()),
                false => Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe)),
            };
            let taken = give(Ok(v1::BackupPiece { artifacts, data: Vec::new() })).and_then(|()| {
                let piece = |data| give(Ok(v1::BackupPiece { artifacts: Vec::new(), data }));
                crate::dump::write(snapshot, PIECE_BYTES, piece)
            });
            match taken {
                Ok(()) => tracing::info!("a backup of the journal was taken"),
                Err(e) => {
                    tracing::warn!("a backup of the journal was broken off: {e}");
                    let _ = give(Err(refuse(Failure::new(Code::IoError, e.to_string()))));
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Receives chunks until the commit, and returns the version that it made visible.
async fn receive(
    put: PutId,
    mut dataset: Dataset,
    mut requests: Streaming<v1::PutRequest>,
    mailbox: &Mailbox,
) -> Result<u64, Status> {
    let mut placed: Vec<(Digest, Vec<WorkerId>)> = Vec::new();
    loop {
        match next(requests.message(), PUT_PATIENCE).await??.and_then(|m| m.message) {
            Some(put_request::Message::Chunk(chunk)) => {
                if placed.len() == CHUNKS_MAX {
                    return Err(bad(&format!("a dataset has up to {CHUNKS_MAX} chunks: make them larger")));
                }
                let (chunk, holders): (DatasetChunk, Vec<WorkerId>) = field(Some(chunk), "chunk")?;
                placed.push((chunk.digest, holders));
                dataset.chunks.push(chunk);
            }
            Some(put_request::Message::Commit(_)) => break,
            Some(put_request::Message::Begin(_)) => return Err(bad("a put begins once")),
            None => return Err(bad("the put was broken off")),
        }
    }
    let commit = |answer| Message::Data(DataMessage::CommitPut { put, dataset, placed, answer });
    mailbox.try_ask(commit).await.map_err(refuse)
}

/// The next message, if it comes within `patience`.
async fn next<T>(coming: impl Future<Output = T>, patience: Duration) -> Result<T, Status> {
    tokio::time::timeout(patience, coming).await.map_err(|_| {
        let what = format!("nothing came of the put for {} s", patience.as_secs());
        refuse(Failure::new(Code::Unreachable, what))
    })
}

fn bad(what: &str) -> Status {
    refuse(Failure::new(Code::BadRequest, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silent_put_is_broken_off() {
        let silent = next(std::future::pending::<()>(), PUT_PATIENCE).await.unwrap_err();
        assert_eq!(windrow_net::from_status(&silent).code, Code::Unreachable);
        assert_eq!(next(async { 7 }, PUT_PATIENCE).await.unwrap(), 7);
    }
}
