//! The service for datasets. A put is one stream: it is over, committed or not, when the stream is.

use super::{Answers, PIECES_MAX, begun, field, refuse};
use crate::data::{BeginPut, DataMessage, PutStart};
use crate::datasets::PutId;
use crate::mailbox::{Mailbox, Message};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use windrow_model::{Code, Dataset, DatasetChunk, Digest, Failure, Framing, WorkerId};
use windrow_proto::v1::{self, put_reply, put_request};

pub(crate) struct Data {
    pub mailbox: Mailbox,
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
            let PutStart { id, workers, replicas } = match mailbox.try_ask(ask).await {
                Ok(began) => began,
                Err(failure) => return drop(start.send(Err(failure))),
            };
            let _ = start.send(Ok(()));
            let peer =
                |(worker, address): (WorkerId, String)| v1::Peer { worker: Some(worker.into()), address, home: None };
            let began = v1::PutBegan { workers: workers.into_iter().map(peer).collect(), replicas };
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
        let listed = self.mailbox.ask(|answer| Message::Data(DataMessage::List { answer })).await.map_err(refuse)?;
        Ok(Response::new(v1::ListDatasetsReply { datasets: listed.into_iter().map(Into::into).collect() }))
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
                if send.send(Ok(place)).await.is_err() {
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
}

/// Takes in chunks until the commit, and gives the version that it made visible.
async fn receive(
    put: PutId,
    mut dataset: Dataset,
    mut requests: Streaming<v1::PutRequest>,
    mailbox: &Mailbox,
) -> Result<u64, Status> {
    let mut placed: Vec<(Digest, Vec<WorkerId>)> = Vec::new();
    loop {
        match requests.message().await?.and_then(|m| m.message) {
            Some(put_request::Message::Chunk(chunk)) => {
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

fn bad(what: &str) -> Status {
    refuse(Failure::new(Code::BadRequest, what))
}
