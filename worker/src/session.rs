//! The stream to the coordinator: connect, register, beat, pass messages, and reconnect.
//!
//! It runs until the coordinator refuses this worker permanently. The incarnation belongs to the process: it begins
//! with the coordinator's first answer, and stays when sessions break, since attempts go on without one. A task of its
//! own sends beats; a call of the health service on the same connection follows each, and its answer proves that the
//! beat before it has arrived. The node interprets the messages.

use crate::chunks::Chunks;
use crate::config::Config;
use crate::disk_space::Room;
use crate::error::Error;
use crate::membership::{Known, Membership};
use crate::progress::{Here, Progress};
use crate::scratch::Scratch;
use crate::scrub;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::Streaming;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use windrow_attempts::Lease;
use windrow_model::{ClusterId, Code, Digest, Epoch, Failure, Folder, Incarnation, NodeInfo, Seen};
use windrow_net::{Backoff, Clock, Connection, channel, clients, from_status};
use windrow_proto::v1::{self, from_worker, to_worker};

/// A coordinator that accepts a connection answers a registration within this time.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause between registrations of a folder that has joined no cluster and whose chunks are unknown.
const UNJOINED_PAUSE: Duration = Duration::from_secs(3);

/// Channel for messages to the coordinator while a session lasts.
pub(crate) type Outgoing = mpsc::UnboundedSender<v1::FromWorker>;

/// A session that has begun.
#[derive(Debug)]
pub(crate) struct Up {
    pub incarnation: Incarnation,
    /// For fetching artifacts.
    pub connection: Connection,
    /// Changes of datasets that the coordinator's journal has recorded.
    pub revision: u64,
}

/// An event of the session, for the node.
#[derive(Debug)]
pub(crate) enum Event {
    /// A registration begins: the inventory goes into this channel, and every later message. With the chunks of a
    /// folder that has joined no cluster.
    Registers(Outgoing, Vec<Digest>),
    /// The coordinator has registered this worker.
    Up(Up),
    Message(Box<v1::ToWorker>),
    /// The registration or session that began last is over.
    Down(Failure),
    /// There will be no session.
    Refused(Error),
}

/// The worker's data for registrations; the incarnation is set at the first one.
#[derive(Debug)]
pub(crate) struct Session {
    pub config: Arc<Config>,
    pub scratch: Arc<Scratch>,
    pub node: NodeInfo,
    /// Random, identifies this process.
    pub process: u64,
    pub clock: Clock,
    /// Sent with each beat, like `room`.
    pub progress: Progress,
    pub room: Room,
    pub scrub: scrub::Progress,
    pub chunks: Chunks,
    pub membership: Arc<Membership>,
    /// A coordinator has registered this process. If it is replaced by another one, this process waits for the other's
    /// end.
    pub has_joined: bool,
    pub events: mpsc::UnboundedSender<Event>,
}

/// Which of successive failures were logged: the first, and each whose code differs from the one before. A coordinator
/// that is away and returns with a wrong data folder logs two.
#[derive(Debug, Default)]
struct Logged(Option<Code>);

impl Logged {
    /// Whether to log this failure, after `before` failures in a row.
    fn is_news(&mut self, code: Code, before: u32) -> bool {
        self.0.replace(code) != Some(code) || before == 0
    }
}

enum Ended {
    /// Try again.
    Lost(Failure),
    Refused(Error),
    /// The node is gone.
    Unheard,
}

impl Session {
    /// Keeps a session with the coordinator until it refuses.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::reconnect();
        let mut logged = Logged::default();
        loop {
            match self.one(&mut backoff).await {
                Ended::Lost(failure) => {
                    if logged.is_news(failure.code, backoff.tries()) {
                        let coordinator = &self.config.coordinator_url;
                        match failure.code {
                            Code::ClusterMismatch | Code::JournalBehind => {
                                let hint = failure.code.hint();
                                tracing::error!(%coordinator, "{failure}; {hint}; trying again");
                            }
                            _ => tracing::warn!(%coordinator, "{failure}; trying again"),
                        }
                    }
                    let pause = backoff.next_delay();
                    // Such a worker sends the names of all its chunks each time, and waits for an operator.
                    let is_unjoined =
                        failure.code == Code::ClusterMismatch && self.membership.known().cluster.is_none();
                    tokio::time::sleep(if is_unjoined { pause.max(UNJOINED_PAUSE) } else { pause }).await;
                }
                Ended::Refused(error) => {
                    let _ = self.events.send(Event::Refused(error));
                    return;
                }
                Ended::Unheard => return,
            }
        }
    }

    /// One session, from the connection to its end.
    async fn one(&mut self, backoff: &mut Backoff) -> Ended {
        let connection = match channel(&self.config.coordinator_url, &self.config.access).await {
            Ok(connection) => connection,
            // An invalid URL stays invalid.
            Err(failure) if failure.code == Code::BadRequest => return self.unconnected(failure),
            // It was the right coordinator before: another program has its port, and may end again.
            Err(failure) if self.node.incarnation != Incarnation(0) => return Ended::Lost(failure),
            // An unreadable certificate file, a certificate that does not fit, another token.
            Err(failure) if failure.code != Code::Unreachable => return self.unconnected(failure),
            Err(failure) => return Ended::Lost(failure),
        };
        if self.node.incarnation == Incarnation(0) {
            self.node.incarnation = match self.scratch.next_incarnation() {
                Ok(incarnation) => incarnation,
                // Files of earlier starts are being deleted, and operators make room.
                Err(error) if error.code() == Code::NoSpace => return Ended::Lost(error.into()),
                Err(error) => return Ended::Refused(error),
            };
        }
        let (folder, unjoined) = match self.folder().await {
            Ok(folder) => folder,
            Err(failure) => return self.ended(failure),
        };
        let (outgoing, queue) = mpsc::unbounded_channel();
        let register = v1::Register { life: self.process, folder: Some(folder.into()), ..self.node.clone().into() };
        let _ = outgoing.send(v1::FromWorker { message: Some(from_worker::Message::Register(register)) });
        if self.events.send(Event::Registers(outgoing.clone(), unjoined)).is_err() {
            return Ended::Unheard;
        }
        let failure = self.registered(connection, outgoing, queue, backoff).await;
        self.membership.set_in_session(false);
        match self.events.send(Event::Down(failure.clone())) {
            Ok(()) => self.ended(failure),
            Err(_) => Ended::Unheard,
        }
    }

    /// The cluster as recorded in the data folder; with its chunks, if it has joined none.
    async fn folder(&self) -> Result<(Folder, Vec<Digest>), Failure> {
        let Known { cluster, seen } = self.membership.known();
        if cluster.is_some() {
            return Ok((Folder { cluster, seen, chunks: 0 }, Vec::new()));
        }
        let chunks = self.chunks.clone();
        let listed = tokio::task::spawn_blocking(move || chunks.list()).await.map_err(std::io::Error::other).flatten();
        // A folder that cannot be listed is not an empty one.
        let unlisted = |e| Failure::new(Code::IoError, format!("cannot list the chunks of datasets: {e}"));
        let (held, _) = listed.map_err(unlisted)?;
        let digests: Vec<Digest> = held.into_iter().map(|(digest, _)| digest).collect();
        Ok((Folder { cluster, seen, chunks: digests.len() as u64 }, digests))
    }

    /// Joins the folder to this coordinator's cluster: durable before any of its orders is carried out.
    async fn join(&self, registered: &v1::Registered) -> Result<(), Failure> {
        let Some(cluster) = registered.cluster.clone() else {
            let what = "the coordinator's release knows no cluster ids, without which its orders to delete chunks do not count";
            return Err(Failure::new(Code::VersionMismatch, what));
        };
        let cluster = ClusterId::try_from(cluster)?;
        let seen = Seen { epoch: Epoch(registered.epoch), nonce: registered.nonce, revision: registered.revision };
        let membership = self.membership.clone();
        let joined = tokio::task::spawn_blocking(move || membership.join(cluster, seen)).await;
        joined.map_err(|e| Failure::new(Code::Internal, e.to_string())).flatten()
    }

    /// Registers, and passes messages on until the session ends.
    async fn registered(
        &mut self,
        connection: Connection,
        outgoing: Outgoing,
        queue: mpsc::UnboundedReceiver<v1::FromWorker>,
        backoff: &mut Backoff,
    ) -> Failure {
        let sent = self.clock.now();
        let mut client = clients::session(connection.clone());
        let greeting = async {
            let mut incoming = client.connect(UnboundedReceiverStream::new(queue)).await?.into_inner();
            let first = incoming.message().await?;
            Ok::<_, tonic::Status>((incoming, first))
        };
        let (mut incoming, first) = match timeout(REGISTER_TIMEOUT, greeting).await {
            Ok(Ok(greeting)) => greeting,
            Ok(Err(status)) => return from_status(&status),
            Err(_) => return Failure::new(Code::Unreachable, "the coordinator does not answer"),
        };
        let registered = match first.and_then(|m| m.message) {
            Some(to_worker::Message::Registered(registered)) => registered,
            _ => return Failure::new(Code::Unreachable, "the coordinator ended the registration"),
        };
        if let Err(failure) = windrow_proto::check_range(registered.protocol.as_ref()) {
            return failure;
        }
        if let Err(failure) = self.join(&registered).await {
            return failure;
        }
        self.membership.set_in_session(true);
        self.has_joined = true;
        backoff.reset();
        let lease = Arc::new(Lease::new(registered.lease_ms, sent));
        let revision = registered.revision;
        let up = Up { incarnation: self.node.incarnation, connection: connection.clone(), revision };
        if self.events.send(Event::Up(up)).is_err() {
            return Failure::new(Code::Interrupted, "the worker is stopping");
        }
        let state = BeatState { progress: self.progress.clone(), room: self.room.clone(), scrub: self.scrub.clone() };
        let beats = tokio::spawn(beat(outgoing, connection, lease, self.clock, state));
        self.pump(&mut incoming, beats).await
    }

    /// Passes messages on until the stream or the lease ends.
    async fn pump(&self, incoming: &mut Streaming<v1::ToWorker>, beats: tokio::task::JoinHandle<()>) -> Failure {
        let mut beats = AbortOnDropHandle::new(beats);
        loop {
            tokio::select! {
                message = incoming.message() => match message {
                    Ok(Some(message)) => {
                        if self.events.send(Event::Message(Box::new(message))).is_err() {
                            return Failure::new(Code::Interrupted, "the worker is stopping");
                        }
                    }
                    Ok(None) => return Failure::new(Code::Unreachable, "the coordinator ended the session"),
                    Err(status) => return from_status(&status),
                },
                _ = &mut beats => {
                    return Failure::new(Code::Unreachable, "no answer from the coordinator for as long as the lease");
                }
            }
        }
    }

    /// Whether another try may succeed.
    fn ended(&self, failure: Failure) -> Ended {
        match failure.code {
            // Another process has this worker's id: a copy of the data folder. Neither waiting nor a new id would be
            // right here, since the finished outputs in it are known by the id.
            Code::Unauthorised | Code::VersionMismatch | Code::DataDirInUse => self.refused(failure),
            // A coordinator on a wrong or old data folder will be repaired, and then this worker is needed again; a
            // folder that has to be adopted waits for that. A folder that was never in the cluster must not seem to
            // work.
            Code::ClusterMismatch | Code::JournalBehind
                if !self.has_joined && self.membership.known().cluster.is_some() =>
            {
                self.refused(failure)
            }
            _ => Ended::Lost(failure),
        }
    }

    fn unconnected(&self, failure: Failure) -> Ended {
        Ended::Refused(Error::Unconnected { url: self.config.coordinator_url.clone(), failure: failure.into() })
    }

    fn refused(&self, failure: Failure) -> Ended {
        Ended::Refused(Error::Refused { url: self.config.coordinator_url.clone(), failure: failure.into() })
    }
}

/// The state that each beat carries.
struct BeatState {
    progress: Progress,
    room: Room,
    scrub: scrub::Progress,
}

/// Beats until the lease has expired, which is also checked at its expiry. After a pause of the whole process that
/// check comes first. Messages of the coordinator do not extend the lease: they may have waited in the socket through
/// the pause.
async fn beat(outgoing: Outgoing, connection: Connection, lease: Arc<Lease>, clock: Clock, state: BeatState) {
    let period_ms = lease.beat_every_ms();
    loop {
        let now = clock.now();
        let one = |here: Here| v1::AttemptProgress {
            attempt: Some(here.attempt.into()),
            permille: here.pace.permille,
            mark: here.pace.mark,
            waits: here.waits,
            records: here.pace.records,
        };
        let no_room = state.room.is_full();
        let progress = state.progress.list().into_iter().map(one).collect();
        let beat = v1::Beat { progress, no_room, lists_all: true, scrub: Some(state.scrub.get()) };
        let beat = v1::FromWorker { message: Some(from_worker::Message::Beat(beat)) };
        if lease.has_run_out(now) || outgoing.send(beat).is_err() {
            return;
        }
        let mut health = HealthClient::new(connection.clone());
        let answered = lease.clone();
        // Not awaited here: a slow answer must not delay the next beat. It ends with the connection at the latest.
        tokio::spawn(async move {
            let answer = timeout(
                Duration::from_millis(3 * period_ms),
                health.check(HealthCheckRequest { service: String::new() }),
            )
            .await;
            if matches!(answer, Ok(Ok(_))) {
                answered.contact(now);
            }
        });
        sleep(Duration::from_millis(period_ms.min(lease.left_ms(now)).max(1))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_failures_are_logged_by_kind() {
        let mut logged = Logged::default();
        let row =
            [Code::Unreachable, Code::Unreachable, Code::ClusterMismatch, Code::ClusterMismatch, Code::Unreachable];
        let news: Vec<bool> = (0..).zip(row).map(|(before, code)| logged.is_news(code, before)).collect();
        assert_eq!(news, [true, false, true, false, true]);
        assert!(logged.is_news(Code::Unreachable, 0), "there was a session since");
    }
}
