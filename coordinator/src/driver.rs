//! The one owner of the scheduler: takes a message, steps the scheduler, does what it asks (`act.rs`), and sleeps until
//! the next message or deadline. Everything in it happens on one task and never waits for anything else.
//!
//! ```text
//! rpc, threads ── Message ──▶ Driver ── Event ──▶ Scheduler ── Action ──▶ act.rs ──▶ workers, threads, journal
//! ```

use crate::claims::Claims;
use crate::commit::Commit;
use crate::commit_try::Committing;
use crate::data::{BeginPut, CommitPut, DatasetOutput};
use crate::datasets::Datasets;
use crate::early_reads::HeldBack;
use crate::job_view::{JobView, Past};
use crate::journal::{Durable, Identity, JobRecord, Journal, Record, spec_digest};
use crate::mailbox::{Inventory, Mailbox, Message, Report, SessionId, ToWorker};
use crate::membership::{Membership, Verdict};
use crate::orphans::{OrphanRule, Orphans};
use crate::planning::Planners;
use crate::publishing::Publishing;
use crate::recover::Recovered;
use crate::result_files::ResultFiles;
use crate::results::Results;
use crate::sessions::Sessions;
use crate::split::{SplitJob, StagedSink, abandon};
use crate::staged::StagingLog;
use crate::staging_check::{Answer, StagingChecks};
use crate::watchers::Watchers;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use windrow_failpoint::crashpoint;
use windrow_model::{
    AttemptId, ByteSize, Code, Dataset, Digest, Epoch, Failure, JobFilter, JobId, JobSpec, JobState, JobStatus,
    KeptBytes, NodeInfo, Time, WorkerId, WorkerState, WorkerStatus,
};
use windrow_net::Clock;
use windrow_proto::v1;
use windrow_scheduler::{Collected, Event, Scheduler};
use windrow_store::{Steps, StorageCalls};

/// Messages taken in before deadlines are looked at again.
const BATCH_MAX: usize = 256;
/// A worker whose stream broke may come back within this time, and loses nothing.
const GRACE_MS: u64 = 500;
/// How long a stop waits for work on file systems.
pub(crate) const STOP_MAX: Duration = Duration::from_secs(5);
/// Plans and parameters of all jobs that have not ended may take so much memory: a coordinator that could not hold them could not
/// start again either.
const SPECS_BYTES_MAX: usize = 1 << 30;

/// What the driver knows of a job that has not ended, beside the scheduler.
#[derive(Default)]
pub(crate) struct ActiveJob {
    /// Set when the job is split; moves into `Planned` when all workers have agreed.
    pub split: Option<SplitJob>,
    pub staging: Vec<StagedSink>,
    /// Outputs that are datasets, by sink.
    pub outputs: BTreeMap<u32, DatasetOutput>,
    /// The datasets that it reads, as they were when it was submitted; until it is split.
    pub datasets: BTreeMap<String, Dataset>,
    /// Ends the planning.
    pub steps: Arc<Steps>,
    /// Tries of work on its paths that the journal has, and that have not ended.
    pub tries: u32,
    /// The journal has it, or gets it with what is recorded next.
    pub is_queued: bool,
    /// It was tried before: its planning begins when its submit is durable.
    pub splits_when_durable: bool,
    /// What its spec takes in memory.
    pub spec_bytes: usize,
    /// Bytes of collected blobs that are not stored.
    pub inline_bytes: usize,
    /// What it has collected, as the journal has it: since its commit began.
    pub result: Option<Collected>,
    /// Its commit began in an earlier life. Its staging folders may not be known: then the commit looks for them.
    pub sealed_before: bool,
    /// Its commit is tried only when an operator says so, and why.
    pub commit_held: Option<String>,
}

pub(crate) struct Driver {
    pub scheduler: Scheduler,
    pub clock: Clock,
    pub epoch: Epoch,
    pub lease_ms: u64,
    pub mailbox: Mailbox,
    pub journal: Journal,
    pub sessions: Sessions,
    pub checks: StagingChecks,
    pub claims: Claims,
    pub notes: StagingLog,
    /// Jobs whose planning was tried in earlier lives, which ended before their submit was durable.
    pub unrecorded: BTreeSet<JobId>,
    pub datasets: Datasets,
    /// Puts that begin when nothing is being deleted.
    pub waiting_puts: Vec<BeginPut>,
    /// Calls that are answered when workers have told what they hold.
    pub held_back: Vec<HeldBack>,
    /// Puts that commit when the workers have told that they hold the chunks.
    pub placing_puts: Vec<CommitPut>,
    /// Whose folders belong to this cluster.
    pub membership: Membership,
    /// Of this life, for workers.
    pub nonce: u64,
    /// Changes of datasets that the journal has recorded.
    pub revision: u64,
    /// How far workers are with reading their chunks.
    pub scrubs: BTreeMap<WorkerId, v1::ScrubProgress>,
    pub watchers: Watchers,
    pub active: BTreeMap<JobId, ActiveJob>,
    /// What the specs of all of them take in memory.
    pub spec_bytes: usize,
    /// Attempts that have placed their parts, which are being copied.
    pub publishing: BTreeMap<AttemptId, Publishing>,
    /// Jobs that commit as soon as it is known that their chunks are there.
    pub committing: BTreeMap<JobId, Commit>,
    /// And those that commit.
    pub commits: BTreeMap<JobId, Committing>,
    /// Jobs that were given up while a thread hung in their commit: their outputs are claimed until it returns.
    pub given_up: BTreeSet<JobId>,
    pub storage: StorageCalls,
    /// What calls are answered.
    pub view: JobView,
    /// Jobs whose end is being recorded.
    pub ending: BTreeSet<JobId>,
    /// Who waits for the end of a job to be recorded that they have cancelled.
    pub cancels: BTreeMap<JobId, Vec<oneshot::Sender<Result<(), Failure>>>>,
    /// Who ran something of a job; of ended jobs only while the scheduler remembers them.
    pub ran: BTreeMap<JobId, BTreeSet<WorkerId>>,
    /// Staging folders of jobs that have ended and whose end is being recorded.
    pub leftovers: BTreeMap<JobId, Vec<StagedSink>>,
    /// Collected results that are kept.
    pub results: Results,
    /// And the bytes of those that are large.
    pub files: ResultFiles,
    /// How often it is looked for results whose time is over, and when next.
    pub expiry_ms: u64,
    pub expiry_at: Time,
    /// Workers that the journal has.
    pub members: BTreeSet<WorkerId>,
    /// Restored jobs, and others for their datasets, wait for workers of an earlier life until then.
    pub awaited_until: Option<Time>,
    /// Jobs that cannot be split yet, because of their datasets.
    pub unsplit: Vec<JobId>,
    /// Nothing outlives this coordinator.
    pub temporary: bool,
    /// Jobs whose inputs are being cut, and staging folders made.
    pub splitting: BTreeSet<JobId>,
    pub planners: Planners,
    /// Splits and removals under way: whatever makes or removes staging folders of jobs that have not begun to commit.
    pub work: JoinSet<()>,
    /// Events that follow from actions.
    pub follow: VecDeque<Event>,
}

/// What a driver begins with.
pub(crate) struct Start {
    pub recovered: Recovered,
    pub claims: Claims,
    pub lease_ms: u64,
    pub unschedulable_after_ms: u64,
    pub notes: StagingLog,
    pub storage: StorageCalls,
    pub unrecorded: BTreeSet<JobId>,
    pub temporary: bool,
    pub orphans: OrphanRule,
    pub results_kept: Duration,
    pub results_bytes_max: u64,
    pub files: ResultFiles,
    pub journal: Journal,
}

impl Driver {
    pub fn new(start: Start, mailbox: Mailbox) -> Self {
        let config = windrow_scheduler::Config {
            lease_ms: start.lease_ms,
            unschedulable_after_ms: start.unschedulable_after_ms,
            ..Default::default()
        };
        let Recovered { epoch, identity, past, running, datasets, workers, collected } = start.recovered;
        let Identity { cluster, lineage, revision, dropped, orphans } = identity;
        let mut driver = Driver {
            scheduler: Scheduler::new(config, epoch),
            clock: Clock::new(),
            epoch,
            lease_ms: start.lease_ms,
            mailbox,
            journal: start.journal,
            sessions: Sessions::default(),
            checks: StagingChecks::default(),
            claims: start.claims,
            notes: start.notes,
            unrecorded: start.unrecorded,
            datasets: Datasets::new(datasets, dropped, Orphans::new(start.orphans, orphans)),
            waiting_puts: Vec::new(),
            held_back: Vec::new(),
            placing_puts: Vec::new(),
            nonce: lineage.0.get(&epoch).map_or(0, |life| life.nonce),
            membership: Membership::new(cluster, lineage),
            revision,
            scrubs: BTreeMap::new(),
            watchers: Watchers::default(),
            active: BTreeMap::new(),
            spec_bytes: 0,
            publishing: BTreeMap::new(),
            committing: BTreeMap::new(),
            commits: BTreeMap::new(),
            given_up: BTreeSet::new(),
            storage: start.storage,
            view: JobView::new(past, running.iter().map(|r| (r.job.spec.id, r.state())).collect()),
            ending: BTreeSet::new(),
            cancels: BTreeMap::new(),
            leftovers: BTreeMap::new(),
            ran: BTreeMap::new(),
            results: Results::new(collected, start.results_bytes_max, start.results_kept.as_millis() as u64),
            files: start.files,
            expiry_ms: (start.results_kept.as_millis() as u64 / 8).clamp(20, 60_000),
            expiry_at: Time(0),
            members: workers.into_iter().collect(),
            awaited_until: None,
            unsplit: Vec::new(),
            temporary: start.temporary,
            splitting: BTreeSet::new(),
            planners: Planners::default(),
            work: JoinSet::new(),
            follow: VecDeque::new(),
        };
        driver.restore(running);
        driver
    }

    /// Runs until `stop`. Then every session and every watcher's stream ends, and nothing that makes staging folders is under
    /// way. Says which jobs go on with the next life; what others have staged may go when the journal has all records.
    pub async fn run(
        mut self,
        mut messages: mpsc::Receiver<Message>,
        mut stop: oneshot::Receiver<()>,
    ) -> BTreeSet<JobId> {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            let deadline = self.next_deadline();
            let wake = async {
                match deadline {
                    Some(at) => tokio::time::sleep(Duration::from_millis(at.since_ms(self.clock.now()))).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = &mut stop => break,
                _ = messages.recv_many(&mut batch, BATCH_MAX) => {}
                () = wake => {}
            }
            for message in batch.drain(..) {
                self.handle(message);
            }
            self.handle_deadlines();
            self.reconcile_datasets();
            self.finish_what_is_copied();
            self.commit_what_is_ready();
            self.look_for_watchers();
            while self.work.try_join_next().is_some() {}
        }
        // Nobody waits for an answer of this driver any more.
        drop(messages);
        for (job, active) in &self.active {
            active.steps.cancel();
            if active.tries > 0 && self.is_try_counted(*job) {
                // A stop is no crash.
                self.journal.note(Record::Tries(*job, active.tries.saturating_sub(1)));
            }
        }
        if let Some(changes) = self.datasets.take_orphan_changes(self.clock.now(), true) {
            self.journal.note(Record::Orphans(Box::new(changes)));
        }
        let ended = async { while self.work.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_MAX, ended).await.is_err() {
            tracing::warn!(threads = self.work.len(), "a file system does not answer: stopping without its threads");
            self.work.detach_all();
        }
        let going_on = match self.temporary {
            true => BTreeSet::new(),
            false => self.active.keys().copied().collect(),
        };
        let active = self.active.into_values().flat_map(|job| job.staging);
        let staged: Vec<StagedSink> = match self.temporary {
            true => active.chain(self.leftovers.into_values().flatten()).collect(),
            false => Vec::new(),
        };
        if !staged.is_empty() {
            let removing = tokio::task::spawn_blocking(move || abandon(staged.iter().map(|s| &s.staging)));
            match tokio::time::timeout(STOP_MAX, removing).await {
                Ok(Ok(())) => {}
                Ok(Err(e)) => tracing::warn!("removing staging folders: {e}"),
                Err(_) => tracing::warn!("removing staging folders takes too long: they stay"),
            }
        }
        going_on
    }

    fn next_deadline(&self) -> Option<Time> {
        let all = [
            self.scheduler.next_deadline(),
            self.sessions.next_deadline(),
            self.checks.next_deadline(),
            self.watchers.next_deadline(),
            self.datasets.next_deadline(),
            self.datasets.next_orphan_note(),
            self.placing_deadline(),
            self.held_back_deadline(),
            self.next_commit(),
            self.awaited_until,
            self.results.next_expiry_unix_ms().map(|_| self.expiry_at),
        ];
        all.into_iter().flatten().min()
    }

    fn handle_deadlines(&mut self) {
        let now = self.clock.now();
        while let Some(worker) = self.sessions.pop_gone(now) {
            self.forget_member(worker);
            self.step(Event::WorkerLeft { worker });
        }
        self.awaited_until.take_if(|at| *at <= now);
        if self.expiry_at <= now {
            self.expire_results();
            self.expiry_at = now.plus_ms(self.expiry_ms);
        }
        self.retry_commits(now);
        while let Some(job) = self.checks.pop_overdue(now) {
            self.plan_if_checked(job);
        }
        if self.scheduler.next_deadline().is_some_and(|at| at <= now) {
            self.step(Event::Tick);
        }
    }

    fn look_for_watchers(&mut self) {
        let now = self.clock.now();
        let (scheduler, view) = (&self.scheduler, &self.view);
        self.watchers.look(now, |job| view.status(job, || scheduler.status(job, now)));
    }

    /// Gives the scheduler an event and does what it asks for, and what follows from that.
    pub fn step(&mut self, event: Event) {
        self.follow.push_back(event);
        self.step_on();
    }

    /// The same with the events that wait.
    pub fn step_on(&mut self) {
        if self.follow.is_empty() {
            return;
        }
        while let Some(event) = self.follow.pop_front() {
            for action in self.scheduler.step(self.clock.now(), event) {
                self.act(action);
            }
        }
        self.watchers.touch();
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Submit { spec, answer } => self.handle_submit(spec, answer),
            Message::Cancel { job, answer } => self.handle_cancel(job, answer),
            Message::Watch { job, answer } => drop(answer.send(self.watch(job))),
            Message::Get { job, answer } => drop(answer.send(self.status(job))),
            Message::List { filter, answer } => drop(answer.send(self.list(&filter))),
            Message::Collected { job, answer } => drop(answer.send(self.collected(job))),
            Message::Workers { answer } => drop(answer.send(self.workers())),
            Message::DrainWorker { worker, answer } => drop(answer.send(self.handle_drain(worker))),
            Message::KnownTasks { answer } => drop(answer.send(self.known_tasks())),
            Message::ArtifactsInUse { answer } => drop(answer.send(self.artifacts_in_use())),
            Message::Data(message) => self.handle_data(message),
            Message::Backup { answer } => {
                let artifacts = self.artifacts_in_use();
                self.journal.snapshot(Box::new(move |snapshot| {
                    let _ = answer.send(snapshot.map(|snapshot| (artifacts, snapshot)));
                }));
            }
            Message::LogHolders { job, answer } => drop(answer.send(self.log_holders(job))),
            Message::SessionBegan { node, life, inventory, to_worker, answer } => {
                let began = self.handle_session_began(node, life, inventory, to_worker);
                let _ = answer.send(began);
            }
            Message::FromWorker { session, worker, report } => self.handle_report(session, worker, report),
            Message::SessionEnded { session, worker } => self.handle_session_ended(session, worker),
            Message::Split { job, result } => self.handle_split(job, result),
            Message::CommitTried { job, tried } => self.commit_tried(job, tried),
            Message::DecideCommit { job, give_up, answer } => self.decide_commit(job, give_up, answer),
            Message::MaySplit { job, result: Ok(_) } => self.split(job),
            Message::MaySplit { job, result: Err(failure) } => self.step(Event::PlanFailed { job, failure }),
            Message::SplitRecorded { job, durable } => {
                self.view.advance(job, JobState::Running, durable);
                self.watchers.touch();
            }
            Message::Sealed { job, commit, result: Ok(durable) } => {
                self.view.advance(job, JobState::Committing, durable);
                self.watchers.touch();
                self.sealed(job, commit);
            }
            Message::Sealed { job, result: Err(failure), .. } => self.step(Event::CommitFailed { job, failure }),
            Message::ResultStored { worker, attempt, report, result } => {
                self.result_stored(worker, attempt, *report, result);
            }
            Message::CollectedStored { storing, result } => self.collected_stored(*storing, result),
            Message::Fetched { job } => self.fetched(job),
            Message::EndRecorded { job, past, durable } => self.end_recorded(job, *past, durable),
            Message::SubmitRecorded { job, answer, durable } => {
                if self.active.contains_key(&job) || self.ending.contains(&job) {
                    self.view.advance(job, JobState::Planning, durable);
                    self.watchers.touch();
                }
                crashpoint!("submit.before-reply");
                let _ = answer.send(Ok(()));
                crashpoint!("submit.replied");
                let waits = |active: &mut ActiveJob| std::mem::take(&mut active.splits_when_durable);
                if self.active.get_mut(&job).is_some_and(waits) {
                    self.split(job);
                }
            }
            Message::SubmitNotRecorded { job } => self.step(Event::Cancelled { job }),
        }
    }

    /// The end of a job is durable: it is told, and what the job had is free again.
    fn end_recorded(&mut self, job: JobId, past: Past, durable: Durable) {
        crashpoint!("job.end-recorded");
        // Only what is on record orders the deletion of chunks.
        self.datasets.unpin(job);
        if !self.given_up.contains(&job) {
            self.claims.release(job);
        }
        let status = past.status.clone();
        self.ending.remove(&job);
        self.view.end(job, past, durable);
        self.cancels.remove(&job).into_iter().flatten().for_each(|answer| drop(answer.send(Ok(()))));
        let staging = self.leftovers.remove(&job).unwrap_or_default();
        self.remove(job, staging);
        if self.results.get(job).is_none() {
            self.files.remove(job);
        }
        self.watchers.finish(job, status);
        self.forget_old_jobs();
    }

    fn handle_submit(&mut self, spec: Box<JobSpec>, answer: oneshot::Sender<Result<(), Failure>>) {
        let job = spec.id;
        let digest = spec_digest(&spec);
        if self.spec_digest_of(job).is_some_and(|known| known != digest) {
            let what = format!("{job} was submitted with another plan, other parameters or other options");
            return drop(answer.send(Err(Failure::new(Code::JobExists, what))));
        }
        let (program, binary) = (spec.program.clone(), spec.binary);
        let spec_bytes = spec.kept_bytes();
        let is_known = self.view.past(job).is_some() || self.ending.contains(&job) || self.active.contains_key(&job);
        if !is_known && self.spec_bytes + spec_bytes > SPECS_BYTES_MAX {
            let what = format!(
                "the plans and parameters of {} jobs that have not ended take {}, and this one's {} would be too much: wait \
                 until some have ended",
                self.active.len(),
                ByteSize(self.spec_bytes as u64),
                ByteSize(spec_bytes as u64)
            );
            return drop(answer.send(Err(Failure::new(Code::BadRequest, what))));
        }
        if !is_known {
            self.spec_bytes += spec_bytes;
            let tries = u32::from(self.unrecorded.remove(&job));
            self.active.insert(job, ActiveJob { tries, spec_bytes, ..ActiveJob::default() });
            tracing::info!(%job, name = ?spec.name, program = ?spec.program, "job submitted");
            self.journal.note(Record::Spec(spec.clone()));
            self.step(Event::Submitted { spec, unix_ms: unix_ms() });
        }
        // Splitting goes on meanwhile: a job that cannot be recorded is cancelled before anybody was told of it.
        let mailbox = self.mailbox.clone();
        let done = Box::new(move |recorded: Result<Durable, Failure>| match recorded {
            Ok(durable) => drop(mailbox.blocking_send(Message::SubmitRecorded { job, answer, durable })),
            Err(failure) => {
                mailbox.blocking_send(Message::SubmitNotRecorded { job });
                let _ = answer.send(Err(failure));
            }
        });
        let status = self.scheduler.status(job, self.clock.now()).filter(|s| !s.state.is_final());
        match (self.active.get_mut(&job), status) {
            (Some(active), Some(status)) if !is_known => {
                active.is_queued = true;
                self.journal
                    .record(JobRecord { status, program, binary, spec: Some(digest), collects: None }.into(), done);
            }
            // What is recorded of it is on the way to the journal, or there: also the end of one that the step has ended at once.
            _ => self.journal.after_all(done),
        }
    }

    /// What a known job was submitted with.
    fn spec_digest_of(&self, job: JobId) -> Option<Digest> {
        match self.view.past(job) {
            Some(past) => past.spec,
            None => self.scheduler.spec(job).map(spec_digest),
        }
    }

    /// Answered when it is on record, if there is anything to record: a commit that has begun wins.
    fn handle_cancel(&mut self, job: JobId, answer: oneshot::Sender<Result<(), Failure>>) {
        crashpoint!("cancel.begun");
        let now = self.clock.now();
        if self.view.past(job).is_none() && self.scheduler.status(job, now).is_none() {
            return drop(answer.send(Err(Failure::new(Code::JobNotFound, format!("there is no {job}")))));
        }
        self.step(Event::Cancelled { job });
        match self.ending.contains(&job) {
            true => self.cancels.entry(job).or_default().push(answer),
            false => drop(answer.send(Ok(()))),
        }
    }

    pub fn status(&self, job: JobId) -> Result<JobStatus, Failure> {
        self.view.find(job, || self.scheduler.status(job, self.clock.now()))
    }

    fn watch(&mut self, job: JobId) -> Result<watch::Receiver<JobStatus>, Failure> {
        let status = self.status(job)?;
        if self.view.past(job).is_some() {
            // Nobody will write to this one: it has one value, and ends.
            return Ok(watch::channel(status).1);
        }
        Ok(self.watchers.watch(job, status))
    }

    fn list(&self, filter: &JobFilter) -> (Vec<JobStatus>, u64) {
        self.view.list(filter, self.scheduler.statuses(self.clock.now()))
    }

    fn collected(&self, job: JobId) -> Result<Collected, Failure> {
        let status = self.status(job)?;
        match (status.state, status.error) {
            (JobState::Done, _) => {}
            (_, Some(failure)) => return Err(failure),
            (state, None) => {
                return Err(Failure::new(Code::BadRequest, format!("{job} is {}, not done", state.as_str())));
            }
        }
        if self.view.past(job).is_some_and(|past| past.collects == Some(false)) {
            return Ok(Vec::new());
        }
        self.results
            .get(job)
            .map(|result| result.collected.clone())
            .ok_or_else(|| Failure::new(Code::JobNotFound, format!("the result of {job} is not kept any more")))
    }

    fn known_tasks(&self) -> BTreeMap<JobId, u64> {
        let now = self.clock.now();
        let tasks = |job: &JobId| self.scheduler.status(*job, now).map_or(0, |status| status.tasks.total);
        self.active.keys().map(|job| (*job, tasks(job))).collect()
    }

    fn artifacts_in_use(&self) -> BTreeSet<Digest> {
        let specs = self.active.keys().filter_map(|job| self.scheduler.spec(*job));
        specs.flat_map(|spec| std::iter::once(spec.binary).chain(spec.plan.sides.iter().map(|s| s.digest))).collect()
    }

    fn log_holders(&self, job: JobId) -> Result<Vec<(WorkerId, String)>, Failure> {
        self.status(job)?;
        let workers = self.ran.get(&job).into_iter().flatten();
        Ok(workers.filter_map(|w| Some((*w, self.scheduler.worker_address(*w)?.to_string()))).collect())
    }

    /// Workers as lists show them. Why one drains that is asked to end, only its session knows.
    fn workers(&self) -> Vec<WorkerStatus> {
        let mut workers = self.scheduler.workers();
        for worker in workers.iter_mut().filter(|w| w.state == WorkerState::Draining) {
            if let Some(waits_for) = self.sessions.waits_for(worker.id) {
                worker.reason = Some(waits_for);
            }
        }
        workers
    }

    fn handle_drain(&mut self, worker: WorkerId) -> Result<(), Failure> {
        if self.scheduler.worker_address(worker).is_none() {
            return Err(Failure::new(Code::WorkerNotFound, format!("there is no {worker}")));
        }
        self.sessions.set_draining(worker, v1::Draining::default());
        self.step(Event::WorkerDrains { worker });
        self.sessions.send(worker, v1::to_worker::Message::Drain(v1::Drain {}));
        Ok(())
    }

    fn handle_session_began(
        &mut self,
        node: NodeInfo,
        life: u64,
        inventory: Inventory,
        to_worker: ToWorker,
    ) -> Result<SessionId, Failure> {
        let worker = node.worker;
        self.admit(&node, &inventory)?;
        let Some(session) = self.sessions.begin(worker, node.incarnation, life, to_worker) else {
            let other = self.scheduler.worker_address(worker).unwrap_or("an unknown address").to_string();
            let message = format!(
                "another process is registered as {worker}, at {other}: one of the two runs on a copy of the other's data folder"
            );
            tracing::warn!("a worker at {} is refused: {message}", node.address);
            // Releases that do not tell their life know the other code, and try again.
            let code = if life == 0 { Code::StaleAttempt } else { Code::DataDirInUse };
            return Err(Failure::new(code, message));
        };
        // What an older session was asked will not be answered in this one.
        self.drop_checks_of(worker);
        let registered = v1::Registered {
            protocol: Some(windrow_proto::own_range()),
            epoch: self.epoch.0,
            lease_ms: self.lease_ms,
            cluster: Some(self.membership.cluster.into()),
            nonce: self.nonce,
            revision: self.revision,
        };
        self.sessions.send(worker, v1::to_worker::Message::Registered(registered));
        let Inventory { held, jobs, dropped, left, .. } = inventory;
        for job in dropped {
            let drop = v1::DropJob { job: Some(job.into()) };
            self.sessions.send(worker, v1::to_worker::Message::DropJob(drop));
        }
        let named: BTreeSet<JobId> = held.iter().map(|t| t.attempt.task.job).chain(jobs).collect();
        for job in &named {
            match self.active.contains_key(job) {
                true => drop(self.ran.entry(*job).or_default().insert(worker)),
                false => {
                    let drop = v1::DropJob { job: Some((*job).into()) };
                    self.sessions.send(worker, v1::to_worker::Message::DropJob(drop));
                }
            }
        }
        self.sessions.names(worker, named);
        self.datasets.worker_joined(worker, node.incarnation, self.clock.now());
        if self.members.insert(worker) {
            self.journal.note(Record::Worker(worker, true));
        }
        let (host, address, slots) = (&node.host, &node.address, node.slots);
        tracing::info!(%worker, ?host, ?address, slots, attempts = held.len(), "worker joined");
        self.step(Event::WorkerJoined { node, held, left });
        if self.members.iter().all(|w| self.sessions.is_live(*w)) {
            self.awaited_until = None;
            self.datasets.all_are_back();
        }
        Ok(session)
    }

    /// Whether a worker's folder belongs to this cluster. While one has seen a newer journal, nothing is deleted.
    fn admit(&mut self, node: &NodeInfo, inventory: &Inventory) -> Result<(), Failure> {
        let Inventory { folder, chunks, .. } = inventory;
        let is_known = |digest: &Digest| self.datasets.is_known(digest);
        let verdict = self.membership.judge(node, *folder, chunks, self.revision, is_known);
        self.datasets.set_frozen(self.membership.is_behind());
        match verdict {
            Verdict::Admitted => {
                if folder.cluster.is_none() {
                    let (worker, chunks) = (node.worker, folder.chunks);
                    tracing::info!(%worker, host = %node.host, chunks, "a worker's data folder joins the cluster");
                }
                Ok(())
            }
            Verdict::Refused { failure, is_news, above } => {
                if is_news {
                    let (worker, code) = (node.worker, failure.code);
                    let hint = code.hint();
                    tracing::error!(%worker, host = %node.host, %code, "a worker is refused: {}; {hint}", failure.message);
                }
                if let Some(epoch) = above.filter(|_| is_news) {
                    tracing::error!(%epoch, "the next start of this coordinator begins above what the worker has seen: restart it");
                    self.journal.note(Record::RestoreAbove(epoch));
                }
                Err(failure)
            }
        }
    }

    fn forget_member(&mut self, worker: WorkerId) {
        if self.members.remove(&worker) {
            self.journal.note(Record::Worker(worker, false));
        }
    }

    fn handle_report(&mut self, session: SessionId, worker: WorkerId, report: Report) {
        if !self.sessions.is_current(worker, session) {
            return;
        }
        if self.scheduler.worker_address(worker).is_none() {
            // Its lease ran out while its stream stayed open. It must register again to be of use.
            self.forget_member(worker);
            self.sessions.end(worker);
            self.drop_checks_of(worker);
            return;
        }
        match report {
            Report::Draining(said) => {
                self.sessions.set_draining(worker, said);
                self.step(Event::WorkerDrains { worker });
            }
            Report::Event(event) => match *event {
                Event::AttemptDone { worker, attempt, report } => self.attempt_done(worker, attempt, report),
                event => self.step(event),
            },
            Report::Beat { progress, lists_all, full, scrub } => {
                self.datasets.note_room(worker, full);
                if let Some(scrub) = scrub {
                    self.scrubs.insert(worker, scrub);
                }
                self.step(Event::WorkerBeat { worker, progress, lists_all, full: Some(full) });
            }
            Report::Published { attempt, chunks } => self.handle_published(worker, attempt, &chunks),
            Report::Chunks(report) => {
                self.step(Event::WorkerBeat { worker, progress: Vec::new(), lists_all: false, full: None });
                self.handle_chunk_report(worker, report);
            }
            Report::StagingChecked { request, failure } => {
                self.step(Event::WorkerBeat { worker, progress: Vec::new(), lists_all: false, full: None });
                match self.checks.answered(request, worker, failure) {
                    Some(Answer::Counted(job)) => self.plan_if_checked(job),
                    Some(Answer::TakenIn(job)) => self.step(Event::TakenIn { job, worker }),
                    Some(Answer::LeftOut(job, failure)) => self.leave_out(job, worker, failure),
                    None => {}
                }
            }
        }
    }

    fn handle_session_ended(&mut self, session: SessionId, worker: WorkerId) {
        if !self.sessions.is_current(worker, session) {
            return;
        }
        let running = self.scheduler.workers().iter().find(|w| w.id == worker).map_or(0, |w| w.running);
        let at_once = self.sessions.is_draining(worker) && running == 0;
        self.sessions.end(worker);
        self.drop_checks_of(worker);
        let grace = if at_once { 0 } else { GRACE_MS.min(self.lease_ms / 4) };
        self.sessions.leaves_at(worker, self.clock.now().plus_ms(grace));
    }

    fn drop_checks_of(&mut self, worker: WorkerId) {
        for job in self.checks.worker_gone(worker) {
            self.plan_if_checked(job);
        }
    }
}

/// Milliseconds since 1970, for display only.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}
