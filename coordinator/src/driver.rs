//! The driver: the only owner of the scheduler. It takes a message, steps the scheduler, performs the resulting actions (`act.rs`), and
//! sleeps until the next message or deadline. All of it runs on one task, which never blocks.
//!
//! ```text
//! rpc, threads ── Message ──▶ Driver ── Event ──▶ Scheduler ── Action ──▶ act.rs ──▶ workers, threads, journal
//! ```

mod act;
mod calls;
mod chunks;
mod collecting;
mod committing;
mod data;
mod dispatch;
mod early_reads;
mod ending;
mod inputs;
mod kept_results;
mod outputs;
mod page_facts;
mod plan;
mod publishing;
mod restore;
mod sealing;
mod start;
mod submit;
mod tables;
mod workers;

pub(crate) use start::Start;

use crate::addresses::Addresses;
use crate::claims::Claims;
use crate::encoded_tables::EncodedTables;
use crate::history::History;
use crate::job_states::JobStates;
use crate::jobs::Jobs;
use crate::journal::{Journal, Record};
use crate::mailbox::{Mailbox, Message};
use crate::planning::Planners;
use crate::ran_on::RanOn;
use crate::result_files::ResultFiles;
use crate::results::Results;
use crate::sessions::Sessions;
use crate::staged::StagingLog;
use crate::staged_outputs::StagedOutputs;
use crate::staging_check::StagingChecks;
use crate::waiting_calls::WaitingCalls;
use crate::watchers::Watchers;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use windrow_datasets::{Datasets, Membership};
use windrow_model::{Epoch, JobId, Time, WorkerId};
use windrow_net::Clock;
use windrow_proto::v1;
use windrow_scheduler::{Event, Scheduler};
use windrow_store::StorageCalls;

/// Messages that are handled before deadlines are checked again.
const BATCH_MAX: usize = 256;
/// How long a stop waits for work on file systems.
pub(crate) const STOP_MAX: Duration = Duration::from_secs(5);

/// The state of one coordinator.
pub(crate) struct Driver {
    pub scheduler: Scheduler,
    pub clock: Clock,
    pub epoch: Epoch,
    pub lease_ms: u64,
    pub mailbox: Mailbox,
    pub journal: Journal,
    pub sessions: Sessions,
    pub addresses: Addresses,
    pub encoded_tables: EncodedTables,
    pub checks: StagingChecks,
    pub claims: Claims,
    pub notes: StagingLog,
    /// Jobs whose planning was tried in earlier epochs, which ended before the submit was durable.
    pub unrecorded: BTreeSet<JobId>,
    pub datasets: Datasets,
    pub waiting_calls: WaitingCalls,
    /// Which workers' folders belong to this cluster.
    pub membership: Membership,
    /// Random number of this epoch, for workers.
    pub nonce: u64,
    /// Number of changes of datasets in the journal.
    pub revision: u64,
    /// The progress of workers' scrubs.
    pub scrubs: BTreeMap<WorkerId, v1::ScrubProgress>,
    pub watchers: Watchers,
    pub jobs: Jobs,
    pub storage: StorageCalls,
    /// The states that calls are answered with.
    pub job_states: JobStates,
    pub ran_on: RanOn,
    /// Collected results that are kept.
    pub results: Results,
    /// The bytes of large results.
    pub files: ResultFiles,
    /// Milliseconds between searches for expired results, and the time of the next one.
    pub expiry_ms: u64,
    pub expiry_at: Time,
    /// Workers that the journal lists.
    pub members: BTreeSet<WorkerId>,
    /// Until then restored jobs wait for the workers of the earlier epoch, and so do new jobs that read datasets.
    pub awaited_until: Option<Time>,
    /// The data folder is removed at the end: no job continues with another coordinator.
    pub temporary: bool,
    pub planners: Planners,
    pub history: History,
    /// Running tasks that make or remove stagings: plans and removals.
    pub work: JoinSet<()>,
    /// Events that follow from the actions of the present step.
    pub follow: VecDeque<Event>,
}

impl Driver {
    /// Runs until `stop`. Then every session and every watcher's stream ends, and no task makes stagings. Returns the jobs that
    /// continue in the next epoch; the stagings of others may be removed when the journal has all records.
    pub(crate) async fn run(
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
            self.finish_copied_attempts();
            self.commit_ready_jobs();
            self.update_watchers();
            while self.work.try_join_next().is_some() {}
        }
        // The driver answers no more messages.
        drop(messages);
        self.jobs.cancel_plans();
        for (job, tries) in self.jobs.counted_tries() {
            // An orderly stop does not count as a crash.
            self.journal.note(Record::Tries(job, tries));
        }
        if let Some(changes) = self.datasets.take_orphan_changes(self.clock.now(), true) {
            self.journal.note(Record::Orphans(Box::new(changes)));
        }
        let ended = async { while self.work.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_MAX, ended).await.is_err() {
            tracing::warn!(threads = self.work.len(), "a file system does not answer: stopping without its threads");
            self.work.detach_all();
        }
        let (going_on, staged): (BTreeSet<JobId>, Vec<StagedOutputs>) = match self.temporary {
            true => (BTreeSet::new(), self.jobs.into_staging().collect()),
            false => (self.jobs.active().collect(), Vec::new()),
        };
        if !staged.is_empty() {
            let outputs = self.storage.outputs().clone();
            let removing = tokio::task::spawn_blocking(move || staged.iter().for_each(|s| s.abandon(&outputs)));
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
            self.jobs.next_commit(),
            self.awaited_until,
            self.results.next_expiry().map(|_| self.expiry_at),
            self.history.next_deadline(self.clock.now()),
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
        self.history.retry();
        while let Some(job) = self.checks.pop_overdue(now) {
            self.plan_if_checked(job);
        }
        if self.scheduler.next_deadline().is_some_and(|at| at <= now) {
            self.step(Event::Tick);
        }
    }

    fn update_watchers(&mut self) {
        let now = self.clock.now();
        let (scheduler, states) = (&self.scheduler, &self.job_states);
        self.watchers.look(now, |job| states.status(job, || scheduler.status(job, now)));
    }

    /// Gives the scheduler an event, and performs its actions and the events that follow from them.
    pub(crate) fn step(&mut self, event: Event) {
        self.follow.push_back(event);
        self.step_on();
    }

    /// Gives the scheduler the events in `follow`.
    pub(crate) fn step_on(&mut self) {
        if self.follow.is_empty() {
            return;
        }
        while let Some(event) = self.follow.pop_front() {
            let now = self.clock.now();
            let actions = self.scheduler.step(now, event);
            self.history.note(&mut self.scheduler, now);
            actions.into_iter().for_each(|action| self.act(action));
        }
        self.watchers.touch();
    }
}
