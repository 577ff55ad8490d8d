//! Puts and lists of datasets whose messages the test sends itself.

use super::{Coordinator, FakeWorker, failure, soon};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use windrow_model::{DatasetStatus, Digest, Failure, Framing, WorkerId};
use windrow_net::clients;
use windrow_proto::v1::{self, put_request};

pub async fn listed(coordinator: &Coordinator, name: &str) -> Option<DatasetStatus> {
    let mut client = clients::data(coordinator.connect().await);
    let all = client.list(v1::ListDatasetsRequest {}).await.unwrap().into_inner().datasets;
    all.into_iter().map(|d| d.try_into().unwrap()).find(|d: &DatasetStatus| d.name == name)
}

/// An open put whose messages the test sends itself.
pub struct Put {
    say: mpsc::UnboundedSender<v1::PutRequest>,
    hear: tonic::Streaming<v1::PutReply>,
    /// Number of copies of each chunk that it must make.
    pub replicas: u32,
}

pub fn begin(name: &str) -> v1::PutRequest {
    begin_copies(name, 1)
}

fn begin_copies(name: &str, replicas: u32) -> v1::PutRequest {
    let framing = Some(Framing::Delimiter(b'\n').into());
    let begin = v1::BeginPut { name: name.into(), framing, overwrite: false, replicas };
    v1::PutRequest { message: Some(put_request::Message::Begin(begin)) }
}

impl Put {
    pub async fn begin(coordinator: &Coordinator, name: &str) -> Put {
        Put::begin_copies(coordinator, name, 1).await
    }
    /// Copies of each chunk; 0: the usual number.
    pub async fn begin_copies(coordinator: &Coordinator, name: &str, replicas: u32) -> Put {
        let (say, said) = mpsc::unbounded_channel();
        say.send(begin_copies(name, replicas)).unwrap();
        let mut client = clients::data(coordinator.connect().await);
        let put = soon("the put to begin", client.put(UnboundedReceiverStream::new(said))).await.map_err(failure);
        let mut hear = put.unwrap().into_inner();
        let first = soon("the put has begun", hear.message()).await.unwrap().unwrap();
        let Some(v1::put_reply::Message::Began(began)) = first.message else { panic!("no beginning") };
        Put { say, hear, replicas: began.replicas }
    }
    /// The named worker also reports the chunk.
    pub async fn commit(self, digest: Digest, holder: &FakeWorker) {
        holder.holds(&[digest], false);
        self.try_commit(digest, holder.id).await.unwrap();
    }
    pub async fn try_commit(mut self, digest: Digest, holder: WorkerId) -> Result<(), Failure> {
        let chunk = v1::PlacedChunk { digest: Some(digest.into()), length: 8, holders: vec![holder.into()] };
        for message in [put_request::Message::Chunk(chunk), put_request::Message::Commit(v1::Empty {})] {
            self.say.send(v1::PutRequest { message: Some(message) }).unwrap();
        }
        soon("the commit", self.hear.message()).await.map_err(failure).map(drop)
    }
}
