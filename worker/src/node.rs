//! The owner of the daemon's state: one task with a mailbox. Events come in, `windrow-attempts` decides, `act` acts.
//!
//! It waits for nothing but its mailbox: staging, publishing, deleting and executors run in tasks of their own and
//! report back as events. Beside the attempts it holds the means to act: the session, setups of jobs, handles of
//! executors and stagings.

mod act;
mod chunks;
mod room;
mod shuffle;

use crate::artifacts::Artifacts;
use crate::deletions::Deletions;
use crate::disk_space::Room;
use crate::error::Error;
use crate::executor::{self, Left, Notice, Spawner};
use crate::heap::Heap;
use crate::job::JobSetup;
use crate::known_lists::KnownLists;
use crate::logs::Logs;
use crate::membership::Membership;
use crate::neighbours::Whereabouts;
use crate::outputs::{Outputs, Spooled};
use crate::progress::Progress;
use crate::publish::{PublishedParts, check_shared};
use crate::recovered_outputs::Recovered;
use crate::replicas::Sources;
use crate::report_log::ReportLog;
use crate::scratch::Scratch;
use crate::serve::Holding;
use crate::session::{self, Up};
use crate::spare_files::SpareFiles;
use crate::staging::{Staged, Staging};
use crate::tables::Tables;
use prost::Message;
use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use windrow_attempts::{Attempts, Event, Needs, Report};
use windrow_model::{AttemptId, Code, Digest, Failure, Home, Incarnation, JobId, Port, Task, TaskOutput, WorkerId};
use windrow_proto::v1::{self, from_worker, to_worker};
use windrow_store::StorageCalls;

/// Approximate size of one inventory message.
const INVENTORY_BYTES: usize = 256 << 10;
/// Bound on the wait for executors and deletions at the end.
const STOP_MAX: Duration = Duration::from_secs(5);

/// The parts that a node is built from.
#[derive(Debug)]
pub(crate) struct Parts {
    pub slots: u32,
    pub memory_bytes: u64,
    pub scratch_quota_bytes: Option<u64>,
    /// A stopping worker ends after this time, even if jobs still need it.
    pub stop_timeout: Duration,
    /// Compress the shuffle output of executors.
    pub compress: bool,
    pub scratch: Arc<Scratch>,
    pub membership: Arc<Membership>,
    pub outputs: Outputs,
    /// Lists of outputs that peers want.
    pub lists: Arc<KnownLists<Holding>>,
    pub logs: Logs,
    pub progress: Progress,
    pub room: Room,
    pub spawner: Spawner,
    /// Attempts that ran when the last incarnation ended. Sent when a session has begun.
    pub left: Vec<Left>,
    /// The runtime that moves bytes between workers.
    pub transfers: Handle,
}

#[derive(Debug)]
enum Mail {
    Attempt(Event),
    Executor(Notice),
    Staged(AttemptId, Staged),
    /// The parts of an attempt are published.
    Published(AttemptId, PublishedParts),
    /// Chunks of datasets that are here now.
    ChunksHeld(Vec<Digest>),
    ChunkNotCopied(Digest, Failure),
    ChunksDropped,
    /// A task failed at its input, a chunk of a dataset, which has been verified since.
    ChunksLookedAt(Box<Event>),
    /// Every writer to the folders of an ended job has stopped.
    JobQuiet(JobId),
    /// An attempt failed for want of space, and the disk has been checked since.
    LookedForRoom(AttemptId, Failure),
}

#[derive(Debug)]
struct Job {
    setup: JobSetup,
    folder: PathBuf,
    executor: Option<executor::Handle>,
    /// Executors that ended or were replaced: their processes end before the job's files are removed.
    gone: Vec<executor::Handle>,
    /// The places of outputs that the executor knows, by their ids.
    told_places: HashMap<Port, u64>,
    /// The log of its finished attempts.
    reports: Arc<ReportLog>,
    /// Files of inputs that were read.
    spare: Arc<SpareFiles>,
}

/// A task that makes or removes files of an attempt: it stages inputs or clears outputs.
#[derive(Debug)]
struct StagingTask {
    cancel: CancellationToken,
    /// Returns the files that are to be removed if the attempt does not run.
    task: JoinHandle<Vec<PathBuf>>,
}

/// An attempt that was given to an executor and has not ended.
#[derive(Debug)]
struct Begun {
    at: Instant,
    /// What its executor may be writing.
    outputs: Vec<TaskOutput>,
}

/// The daemon's state.
#[derive(Debug)]
pub(crate) struct Node {
    parts: Parts,
    artifacts: Arc<Artifacts>,
    staging: Arc<Staging>,
    attempts: Attempts,
    /// Present while the coordinator has this worker registered.
    session: Option<Up>,
    /// Channel to the coordinator, from the beginning of the registration on.
    outgoing: Option<session::Outgoing>,
    peers: Arc<HashMap<WorkerId, Whereabouts>>,
    /// Tables of outputs that came in this session.
    tables: Tables,
    /// Outputs in spools of attempts that are about to be served.
    in_spool: HashMap<AttemptId, shuffle::InSpool>,
    /// The same of attempts of earlier incarnations.
    recovered: HashMap<AttemptId, Vec<Spooled>>,
    jobs: HashMap<JobId, Job>,
    stagings: HashMap<AttemptId, StagingTask>,
    staged: HashMap<AttemptId, Staged>,
    /// Attempts that run.
    began: HashMap<AttemptId, Begun>,
    /// What is reported of published parts, again if the answer is lost.
    published: HashMap<AttemptId, PublishedParts>,
    /// Locations of the chunks that assigned tasks need, until they are staged.
    sources: HashMap<AttemptId, Sources>,
    post: mpsc::UnboundedSender<Mail>,
    mail: mpsc::UnboundedReceiver<Mail>,
    background: TaskTracker,
    heap: Heap,
    deletions: Deletions,
    /// For excerpts of records in messages.
    looks: StorageCalls,
    /// It takes no new tasks, and says so in each session: by order of the coordinator, or because it is stopping.
    draining: bool,
    /// The reason why it has not stopped yet, if it is stopping.
    waits_for: Option<Needs>,
    /// When unused artifacts were last collected.
    collected: Option<Instant>,
    /// The attempt whose files were ordered to be deleted last, and that deletion.
    last_removal: Option<(AttemptId, JoinHandle<()>)>,
    /// Changes of datasets that the journal has recorded, as far as this session has reported.
    revision: u64,
}

impl Node {
    /// A node that holds only the finished outputs of earlier incarnations.
    pub(crate) fn new(parts: Parts, staging: Arc<Staging>, kept: Vec<Recovered>) -> Node {
        let (post, mail) = mpsc::unbounded_channel();
        let mut node = Node {
            artifacts: Arc::new(Artifacts::new(parts.scratch.clone())),
            staging,
            attempts: Attempts::new(parts.slots),
            parts,
            session: None,
            outgoing: None,
            peers: Arc::default(),
            tables: Tables::default(),
            in_spool: HashMap::new(),
            recovered: HashMap::new(),
            jobs: HashMap::new(),
            stagings: HashMap::new(),
            staged: HashMap::new(),
            began: HashMap::new(),
            sources: HashMap::new(),
            published: HashMap::new(),
            post,
            mail,
            background: TaskTracker::new(),
            heap: Heap::default(),
            deletions: Deletions::default(),
            looks: StorageCalls::new(executor::LOOK_MAX),
            draining: false,
            waits_for: None,
            collected: None,
            last_removal: None,
            revision: 0,
        };
        for Recovered { attempt, report, spooled } in kept {
            node.recovered.insert(attempt, spooled);
            node.step(Event::Kept(attempt, report));
        }
        node
    }

    /// Runs until `shutdown` and the drain after it are over, or the coordinator refuses this worker.
    pub(crate) async fn run(
        mut self,
        mut session: mpsc::UnboundedReceiver<session::Event>,
        shutdown: impl Future<Output = ()>,
        on_registered: impl FnOnce(WorkerId),
    ) -> Result<(), Error> {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut on_registered = Some(on_registered);
        let mut end_by: Option<Instant> = None;
        let result = loop {
            tokio::select! {
                // In this order: the loss of a session is handled before reports are sent into it.
                biased;
                event = session.recv() => {
                    let Some(event) = event else { break Ok(()) };
                    if let Err(error) = self.handle_session(event, end_by.is_some(), &mut on_registered) {
                        break Err(error);
                    }
                }
                mail = self.mail.recv() => match mail {
                    Some(mail) => self.handle_mail(mail),
                    None => break Ok(()),
                },
                () = self.staging.replicas.chunks.has_news() => self.send_chunk_news(),
                () = &mut shutdown, if end_by.is_none() => {
                    end_by = Some(Instant::now() + self.parts.stop_timeout);
                    self.draining = true;
                }
                () = sleep_until(end_by.unwrap_or_else(Instant::now)), if end_by.is_some() => break Ok(()),
            }
            // Outputs are served as long as their job lives and the coordinator is there to need them. Running attempts
            // go on without it. A worker that is only drained stays until it is stopped.
            if let Some(end_by) = end_by
                && self.nothing_needs_it(end_by)
            {
                break Ok(());
            }
        };
        self.stop().await;
        result
    }

    /// Handles what the session with the coordinator reports. An error is the coordinator's refusal of this worker.
    fn handle_session(
        &mut self,
        event: session::Event,
        stopping: bool,
        on_registered: &mut Option<impl FnOnce(WorkerId)>,
    ) -> Result<(), Error> {
        match event {
            session::Event::Registers(outgoing, unjoined) => self.send_inventory(outgoing, unjoined),
            session::Event::Up(up) => {
                self.revision = up.revision;
                self.session = Some(up);
                self.parts.left.clear();
                self.send_chunks();
                if let Some(on_registered) = on_registered.take() {
                    on_registered(self.parts.scratch.worker());
                }
                // A stopping worker reports that itself, with its reason for waiting.
                self.waits_for = None;
                if self.draining && !stopping {
                    self.send(from_worker::Message::Draining(v1::Draining::default()));
                }
            }
            session::Event::Message(message) => self.hear(*message),
            session::Event::Down(failure) => {
                if self.session.is_some() {
                    tracing::warn!("the session with the coordinator is lost: {failure}");
                }
                // Attempts continue: the next session gets the inventory.
                (self.session, self.outgoing) = (None, None);
            }
            session::Event::Refused(error) => return Err(error),
        }
        Ok(())
    }

    /// Handles what a background task of this worker reports. News of chunks is sent before the events that follow from
    /// it: the coordinator believes the latest message.
    fn handle_mail(&mut self, mail: Mail) {
        self.send_chunk_news();
        match mail {
            Mail::Attempt(event) => self.step(event),
            Mail::Executor(notice) => self.handle_notice(notice),
            Mail::ChunksLookedAt(event) => self.step(*event),
            Mail::Published(attempt, parts) => {
                self.published.insert(attempt, parts);
                self.step(Event::Published(attempt))
            }
            Mail::ChunksHeld(digests) => self.chunks_held(&digests),
            Mail::ChunkNotCopied(digest, failure) => self.chunk_not_copied(digest, failure),
            Mail::JobQuiet(job) => self.sweep_job(job),
            Mail::LookedForRoom(id, failure) => self.looked_for_room(id, failure),
            Mail::ChunksDropped => self.send(from_worker::Message::ChunksDropped(v1::ChunksDropped {})),
            Mail::Staged(attempt, staged) => {
                self.chunks_held(&staged.new_chunks);
                // What was staged for an attempt that was forgotten meanwhile is removed with its staging.
                if self.attempts.task(attempt).is_some() {
                    self.staged.insert(attempt, staged);
                }
                self.step(Event::Staged(attempt));
            }
        }
    }

    fn drain(&mut self) {
        if !std::mem::replace(&mut self.draining, true) {
            self.send(from_worker::Message::Draining(v1::Draining::default()));
        }
    }

    /// Whether a stopping worker may end now. When its reasons for waiting change, it logs them and sends them to the
    /// coordinator.
    fn nothing_needs_it(&mut self, end_by: Instant) -> bool {
        let needs = self.attempts.needs();
        let over = needs.is_nothing() || self.session.is_none() && self.attempts.nothing_runs();
        if self.waits_for == Some(needs) {
            return over;
        }
        self.waits_for = Some(needs);
        let Needs { running, unpublished, served } = needs;
        let seconds = end_by.saturating_duration_since(Instant::now()).as_secs();
        if !over {
            tracing::info!(
                "ends when {running} tasks have run, {unpublished} have published their parts, and the jobs are over that \
                 may read the outputs of {served}; in {seconds} s at the latest"
            );
        }
        self.send(from_worker::Message::Draining(v1::Draining {
            running: running as u64,
            unpublished: unpublished as u64,
            served: served as u64,
            stops_in_ms: seconds * 1_000,
        }));
        over
    }

    async fn stop(mut self) {
        self.step(Event::Stopping);
        self.background.close();
        // The sweep of the next start deletes the rest.
        let _ = timeout(STOP_MAX, self.background.wait()).await;
    }

    /// Registration: the coordinator gets the inventory, and every later event.
    fn send_inventory(&mut self, outgoing: session::Outgoing, unjoined: Vec<Digest>) {
        self.peers = Arc::default();
        self.tables.clear();
        let send = |inventory| {
            let message = Some(from_worker::Message::Inventory(inventory));
            let _ = outgoing.send(v1::FromWorker { message });
        };
        let mut next = v1::Inventory::default();
        let mut bytes = 0;
        for (id, report) in self.attempts.inventory() {
            let held = v1::HeldAttempt { attempt: Some(id.into()), report: report.cloned().map(Into::into) };
            bytes += held.encoded_len();
            next.attempts.push(held);
            if bytes >= INVENTORY_BYTES {
                bytes = 0;
                send(std::mem::take(&mut next));
            }
        }
        for digests in unjoined.chunks(chunks::DIGESTS_MAX) {
            let chunks = digests.iter().map(|digest| (*digest).into()).collect();
            send(v1::Inventory { chunks, ..Default::default() });
        }
        next.left = self.parts.left.iter().map(|left| left.clone().into()).collect();
        next.jobs = self.jobs.keys().map(|job| (*job).into()).collect();
        next.last = true;
        send(next);
        self.outgoing = Some(outgoing);
    }

    /// Handles one message of the coordinator.
    fn hear(&mut self, message: v1::ToWorker) {
        let attempt = |wire: Option<v1::AttemptId>| wire.and_then(|w| AttemptId::try_from(w).ok());
        match message.message {
            Some(to_worker::Message::Assign(assign)) => self.assigned(assign),
            Some(to_worker::Message::Revoke(v1::Revoke { attempt: wire })) => {
                attempt(wire).into_iter().for_each(|id| self.step(Event::Revoked(id)));
            }
            Some(to_worker::Message::Grant(v1::Grant { attempt: wire })) => {
                attempt(wire).into_iter().for_each(|id| self.step(Event::Granted(id)));
            }
            Some(to_worker::Message::DropJob(v1::DropJob { job })) => {
                if let Some(job) = job.and_then(|j| JobId::try_from(j).ok()) {
                    self.step(Event::JobDropped(job));
                }
            }
            Some(to_worker::Message::Drain(_)) => self.drain(),
            Some(to_worker::Message::CheckStaging(check)) => self.check_staging(check),
            Some(to_worker::Message::CopyChunk(order)) => self.copy_chunk(order),
            Some(to_worker::Message::DropChunks(order)) => self.drop_chunks(order),
            Some(to_worker::Message::Revision(v1::Revision { revision })) => self.learn_revision(revision),
            // A newer coordinator's message, or a second greeting: there is nothing to answer.
            Some(to_worker::Message::Registered(_)) | None => {}
        }
    }

    fn assigned(&mut self, assign: v1::Assign) {
        for peer in assign.peers {
            if let Some(worker) = peer.worker.and_then(|w| WorkerId::try_from(w).ok()) {
                // An invalid home is no failure: the segments are then fetched over the network.
                let home = peer.home.and_then(|wire| Home::try_from(wire).ok());
                let place = Whereabouts { address: peer.address, home };
                if self.peers.get(&worker) != Some(&place) {
                    Arc::make_mut(&mut self.peers).insert(worker, place);
                }
            }
        }
        let Some(wire) = assign.task else { return };
        let named = wire.attempt.clone().and_then(|w| AttemptId::try_from(w).ok());
        let accepted = Task::try_from(wire).map_err(Failure::from).and_then(|task| {
            let id = task.attempt;
            if self.session.as_ref().is_none_or(|s| s.incarnation != id.incarnation) {
                return Err(Failure::new(Code::StaleAttempt, format!("attempt {id} is of another incarnation")));
            }
            if let Some(setup) = assign.setup {
                self.set_up(JobSetup::try_from(setup)?, id.incarnation);
            }
            match self.jobs.contains_key(&id.task.job) {
                true => Ok(task),
                false => Err(Failure::new(Code::BadRequest, format!("attempt {id} came without its job's setup"))),
            }
        });
        // After the setup: if it ends an earlier run of the job, that run's tables go with it.
        self.learn_tables(&assign.tables);
        match (accepted, named) {
            (Ok(task), _) => {
                self.sources.insert(task.attempt, chunks::sources(assign.chunks));
                self.step(Event::Assigned(Box::new(task)))
            }
            (Err(failure), Some(id)) => self.report(Report::Failed(id, failure)),
            (Err(failure), None) => tracing::warn!("an assignment that names no attempt: {failure}"),
        }
    }

    /// A coordinator that lost its record of a job restarts it under the same id when it is submitted again: the files
    /// of the first run are obsolete then.
    fn set_up(&mut self, setup: JobSetup, incarnation: Incarnation) {
        let id = setup.job;
        if self.jobs.get(&id).is_some_and(|job| job.setup != setup) {
            self.step(Event::JobDropped(id));
        }
        let folder = self.parts.scratch.job(incarnation, id);
        self.jobs.entry(id).or_insert_with(|| Job {
            reports: shuffle::reports(&folder),
            folder,
            executor: None,
            gone: Vec::new(),
            told_places: HashMap::new(),
            spare: Arc::default(),
            setup,
        });
    }

    fn check_staging(&mut self, check: v1::CheckStaging) {
        let Some(outgoing) = self.outgoing.clone() else { return };
        let storage = self.staging.storage.clone();
        self.background.spawn(async move {
            let request = check.request;
            let failure = check_shared(check, &storage).await.err().map(Into::into);
            let answer = v1::StagingChecked { request, failure };
            // If the session is over, so is the question.
            let _ = outgoing.send(v1::FromWorker { message: Some(from_worker::Message::StagingChecked(answer)) });
        });
    }

    fn step(&mut self, event: Event) {
        for action in self.attempts.step(event) {
            self.act(action);
        }
        // After the reports were sent: a beat does not list attempts whose end was reported.
        self.parts.progress.set_here(self.attempts.here());
    }
}
