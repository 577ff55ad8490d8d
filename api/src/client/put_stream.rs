//! The stream of a put to the coordinator. It is opened again when it breaks, for about half a minute: the chunks that workers
//! have stored by then are named once more, and none of them is sent again.
//!
//! The coordinator of the new stream must know the workers that hold the chunks, so right after its restart it is asked until
//! they have registered. If the answer to the commit is lost, the dataset under the name tells whether the put was recorded.

use super::{Cluster, failure};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use windrow_model::{Code, Digest, Failure, WorkerId};
use windrow_net::connect::channel_lazy;
use windrow_net::{Backoff, Connection, clients};
use windrow_proto::v1::{self, put_reply, put_request};

/// Most tries to open a broken stream again: about half a minute.
const TRIES_MAX: u32 = 20;
/// Most messages about chunks that are on their way to the coordinator.
const PLACED_AHEAD: usize = 64;

/// A worker that takes chunks.
pub(super) type Holder = (WorkerId, Connection);

/// A put that has begun.
pub(super) struct PutStream<'a> {
    cluster: &'a Cluster,
    begin: v1::BeginPut,
    open: Open,
    /// What was placed so far, in order.
    placed: Vec<v1::PlacedChunk>,
    /// Whether the stream broke: a coordinator that went on may have deleted the chunks of the put.
    broke: bool,
}

/// A stream that has not broken yet.
struct Open {
    requests: mpsc::Sender<v1::PutRequest>,
    replies: Streaming<v1::PutReply>,
    began: v1::PutBegan,
}

/// Why a message did not get through.
enum Broken {
    /// Another stream may get further.
    Lost(Failure),
    /// The coordinator refuses the put.
    Refused(Failure),
}

impl Broken {
    fn of(status: tonic::Status) -> Broken {
        let lost = windrow_net::is_lost(&status);
        let failure = failure(status);
        match lost || failure.code == Code::Unreachable {
            true => Broken::Lost(failure),
            false => Broken::Refused(failure),
        }
    }
}

impl<'a> PutStream<'a> {
    /// Begins a put.
    ///
    /// # Errors
    /// `DATASET_EXISTS`, `CHUNK_UNAVAILABLE` without workers, `UNREACHABLE`.
    pub(super) async fn begin(cluster: &'a Cluster, begin: v1::BeginPut) -> Result<PutStream<'a>, Failure> {
        let open = match open(cluster, begin.clone()).await {
            Ok(open) => open,
            Err(Broken::Lost(failure) | Broken::Refused(failure)) => return Err(failure),
        };
        // A reopened stream asks for the same number of copies, for any number of workers that are back by then.
        let begin = v1::BeginPut { replicas: open.began.replicas, ..begin };
        Ok(PutStream { cluster, begin, open, placed: Vec::new(), broke: false })
    }

    /// The number of copies of each chunk.
    pub(super) fn replicas(&self) -> u32 {
        self.open.began.replicas
    }

    /// The cluster that workers compare with theirs.
    pub(super) fn cluster(&self) -> Option<v1::ClusterId> {
        self.open.began.cluster.clone()
    }

    /// The workers that take chunks; others after the stream was opened again.
    pub(super) fn holders(&self) -> Result<Vec<Holder>, Failure> {
        let connect = |peer: &v1::Peer| {
            let worker = peer.worker.clone().ok_or_else(|| Failure::new(Code::BadRequest, "a worker without an id"))?;
            Ok((worker.try_into()?, channel_lazy(&peer.address, &self.cluster.access)?))
        };
        self.open.began.workers.iter().map(connect).collect()
    }

    /// Whether the stream broke since the put began.
    pub(super) fn broke(&self) -> bool {
        self.broke
    }

    /// Names the next chunk, which workers have stored. Returns true if other workers may take the next chunks.
    ///
    /// # Errors
    /// The coordinator refuses the put, or does not come back.
    pub(super) async fn place(&mut self, chunk: v1::PlacedChunk) -> Result<bool, Failure> {
        self.placed.push(chunk.clone());
        match say(&mut self.open, put_request::Message::Chunk(chunk)).await {
            Ok(()) => Ok(false),
            Err(Broken::Refused(failure)) => Err(failure),
            Err(Broken::Lost(failure)) => self.reopen(failure).await.map(|()| true),
        }
    }

    /// Commits the put, and returns the version of the dataset.
    ///
    /// # Errors
    /// The coordinator refuses the put, or does not come back: then `data ls` shows whether the put was recorded.
    pub(super) async fn commit(&mut self) -> Result<u64, Failure> {
        let mut backoff = Backoff::reconnect();
        loop {
            let lost = match commit(&mut self.open).await {
                Ok(version) => return Ok(version),
                Err(Broken::Refused(failure)) => return Err(failure),
                Err(Broken::Lost(failure)) => failure,
            };
            if backoff.tries() >= TRIES_MAX {
                return Err(lost);
            }
            sleep(backoff.next_delay()).await;
            match self.recorded().await {
                Ok(Some(version)) => return Ok(version),
                Ok(None) => match self.reopen(lost).await {
                    // The commit whose answer was lost may be on its way to the journal.
                    Err(failure) if failure.code == Code::DatasetExists => {}
                    reopened => reopened?,
                },
                // The next try asks again.
                Err(failure) if failure.code == Code::Unreachable => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    /// The version of the dataset under the name, if it holds exactly what this put holds.
    async fn recorded(&self) -> Result<Option<u64>, Failure> {
        let (status, places) = match self.cluster.places_of(&self.begin.name).await {
            Ok(found) => found,
            Err(failure) if failure.code == Code::DatasetNotFound => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let own = self.placed.iter().map(|chunk| chunk.digest.clone().map(Digest::try_from).transpose());
        let own = own.collect::<Result<Vec<_>, _>>()?;
        let is_same = own.into_iter().eq(places.iter().map(|place| Some(place.digest)));
        Ok(is_same.then_some(status.version))
    }

    /// Opens the stream again and names all chunks. Fails with `lost` if the coordinator does not come back.
    async fn reopen(&mut self, mut lost: Failure) -> Result<(), Failure> {
        self.broke = true;
        let mut backoff = Backoff::reconnect();
        while backoff.tries() < TRIES_MAX {
            sleep(backoff.next_delay()).await;
            match self.open_again().await {
                Ok(open) => {
                    self.open = open;
                    return Ok(());
                }
                Err(Broken::Refused(failure)) => return Err(failure),
                Err(Broken::Lost(failure)) => lost = failure,
            }
        }
        let what = format!("the put was broken off, and its dataset is unchanged: {}", lost.message);
        Err(Failure { message: what, ..lost })
    }

    async fn open_again(&self) -> Result<Open, Broken> {
        let mut open = match open(self.cluster, self.begin.clone()).await {
            // Too few workers are back.
            Err(Broken::Refused(failure)) if matches!(failure.code, Code::ChunkUnavailable | Code::BadRequest) => {
                return Err(Broken::Lost(failure));
            }
            opened => opened?,
        };
        if open.began.cluster != self.open.began.cluster {
            let what = "the coordinator that came back is of another cluster";
            return Err(Broken::Refused(Failure::new(Code::ClusterMismatch, what)));
        }
        let is_back =
            |holder: &v1::WorkerId| open.began.workers.iter().any(|peer| peer.worker.as_ref() == Some(holder));
        if let Some(missing) = self.placed.iter().flat_map(|chunk| &chunk.holders).find(|holder| !is_back(holder)) {
            let worker = WorkerId::try_from(missing.clone()).map_or("a worker".to_string(), |w| w.to_string());
            let what = format!("{worker}, which has stored chunks of this put, has not come back");
            return Err(Broken::Lost(Failure::new(Code::ChunkUnavailable, what)));
        }
        for chunk in &self.placed {
            say(&mut open, put_request::Message::Chunk(chunk.clone())).await?;
        }
        Ok(open)
    }
}

async fn open(cluster: &Cluster, begin: v1::BeginPut) -> Result<Open, Broken> {
    let (requests, stream) = mpsc::channel(PLACED_AHEAD);
    // There is room for the first message.
    let _ = requests.send(v1::PutRequest { message: Some(put_request::Message::Begin(begin)) }).await;
    let mut client = clients::data(cluster.connection.clone());
    let mut replies = client.put(ReceiverStream::new(stream)).await.map_err(Broken::of)?.into_inner();
    match replies.message().await.map_err(Broken::of)?.and_then(|m| m.message) {
        Some(put_reply::Message::Began(began)) => Ok(Open { requests, replies, began }),
        Some(_) => Err(Broken::Refused(Failure::new(Code::BadRequest, "the coordinator did not begin the put"))),
        None => Err(ended()),
    }
}

async fn say(open: &mut Open, message: put_request::Message) -> Result<(), Broken> {
    match open.requests.send(v1::PutRequest { message: Some(message) }).await {
        Ok(()) => Ok(()),
        // Its answer gives the reason.
        Err(_) => Err(answer(open).await.err().unwrap_or_else(ended)),
    }
}

async fn commit(open: &mut Open) -> Result<u64, Broken> {
    say(open, put_request::Message::Commit(v1::Empty {})).await?;
    match answer(open).await? {
        Some(put_reply::Message::Committed(committed)) => Ok(committed.version),
        _ => Err(ended()),
    }
}

async fn answer(open: &mut Open) -> Result<Option<put_reply::Message>, Broken> {
    open.replies.message().await.map_err(Broken::of).map(|reply| reply.and_then(|m| m.message))
}

fn ended() -> Broken {
    Broken::Lost(Failure::new(Code::Unreachable, "the coordinator has ended the put"))
}
