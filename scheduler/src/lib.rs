//! The scheduler: a pure state machine that decides which worker runs which task.
//!
//! [`Scheduler::step`] takes the time and one [`Event`] and returns [`Action`]s; the driver carries them out and
//! reports back with further events. The scheduler owns the state of jobs, stages, tasks, attempts and leases. It
//! knows nothing of clocks, sockets, files, threads or randomness: the same events at the same times give the same
//! actions.
//!
//! A job goes `planning → running → committing → done`, or to `failed` or `cancelled` from there. Its stages are
//! separated by barriers: a stage's tasks are queued when every stage that it reads is done. A task runs as attempts,
//! one at a time, or two while a slow one has a backup; some are queued on their worker for a slot (`prefetch.rs`). A
//! message about any other attempt is late and has no effect.

#![warn(unreachable_pub)]

pub mod action;
pub mod event;
#[cfg_attr(not(debug_assertions), doc(hidden))]
pub mod planted;

mod assign;
mod attempt;
mod backup;
mod bad_records;
mod check;
mod collect;
mod commit;
mod discard;
mod exclusion;
mod failed;
mod fetch_failures;
mod full_disk;
mod job;
mod lease;
mod ledger;
mod left_out;
mod lifecycle;
mod limits;
mod locality;
mod loss;
mod nondeterminism;
mod note;
mod output_tables;
mod planned_bytes;
mod port_sizes;
mod prefetch;
mod queue;
mod rejoin;
mod restore;
mod retry;
mod segment_lost;
mod sent_tables;
mod shuffle;
mod speculate;
mod stage;
mod stage_inputs;
mod starvation;
mod state;
mod step;
mod suspects;
mod task;
mod tasks;
mod timers;
mod transitions;
mod uncharged;
mod unreachable;
mod view;
mod workers;

pub use action::{Action, Collected, CollectedBlob};
use attempt::Standing;
pub use event::{Event, HeldAttempt, Left, Progress, RestoredJob, RestoredSplit, RestoredTask, StageChunks};
pub use ledger::{Cause, Counts, Loss, Tally};
pub use note::{Done, Note, Stopped, Why};
pub use sent_tables::{Lacking, SentTables};
use state::State;
use windrow_model::{
    AttemptId, COLLECT_BYTES_MAX, Epoch, Failure, Home, JobId, JobSpec, JobStatus, NodeInfo, StageId, TaskId, Time,
    WorkerId, WorkerStatus,
};

/// Limits of a scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Milliseconds of silence after which a worker is lost. `u64::MAX`: never (in-process runs).
    pub lease_ms: u64,
    /// First delay of a task after several uncharged failures in a row, in milliseconds; it doubles each time.
    pub retry_delay_ms: u64,
    /// The longest such delay, in milliseconds.
    pub retry_delay_max_ms: u64,
    /// Attempts per slot that a worker gets beyond its slots, to fetch their inputs while others run. 0: none.
    pub prefetch_per_slot: u32,
    /// A worker is excluded for a while after this number of tasks failed on it and then succeeded on another.
    pub faults_max: u32,
    /// Length of the first exclusion in milliseconds; twice as long each time after that, up to ten times.
    pub exclusion_ms: u64,
    /// A task that was on this number of workers when they were lost runs alone.
    pub suspect_after: u32,
    /// Milliseconds that the charge of such a task waits for the report of the lost worker's next incarnation.
    pub poison_wait_ms: u64,
    /// Milliseconds after which an attempt that a live worker does not list is lost.
    pub delivery_ms: u64,
    /// Milliseconds after which an attempt that has a slot and does not start is given up.
    pub begin_ms: u64,
    /// Milliseconds after which a granted attempt that has not published is given up.
    pub publish_ms: u64,
    /// Workers enforce the time-outs of attempts. The scheduler does so too, this many milliseconds later, or a
    /// quarter of the time-out later if that is more.
    pub limit_margin_ms: u64,
    /// A worker is excluded for a while after readers found this number of its outputs damaged.
    pub damaged_max: u32,
    /// Milliseconds after which a job fails of which nothing can run because no worker takes its tasks.
    pub unschedulable_after_ms: u64,
    /// Milliseconds that an attempt must have run before it may get a backup.
    pub backup_after_ms: u64,
    /// Milliseconds between two searches of a job for slow tasks.
    pub backup_every_ms: u64,
    /// Number of ended jobs whose spec and status are kept; those of the last step are kept in any case.
    pub history_max: usize,
    /// Bytes of memory that they may take, with the same exception.
    pub history_bytes_max: usize,
    /// Bytes that one job may collect in all.
    pub collect_bytes_max: u64,
    /// Bytes of memory that the tasks of all jobs may take together, estimated. A job that is alone may take more.
    pub planned_bytes_max: u64,
    /// Whether it makes notes; then they must be taken after each step.
    pub notes: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            lease_ms: 10_000,
            retry_delay_ms: 100,
            retry_delay_max_ms: 5_000,
            prefetch_per_slot: 1,
            faults_max: 3,
            exclusion_ms: 60_000,
            suspect_after: 3,
            poison_wait_ms: 10_000,
            delivery_ms: 30_000,
            begin_ms: 3_600_000,
            publish_ms: 3_600_000,
            limit_margin_ms: 10_000,
            damaged_max: 3,
            unschedulable_after_ms: 3_600_000,
            backup_after_ms: 1_000,
            backup_every_ms: 500,
            history_max: 1_000,
            history_bytes_max: 256 << 20,
            collect_bytes_max: COLLECT_BYTES_MAX,
            planned_bytes_max: 4 << 30,
            notes: false,
        }
    }
}

/// The state machine. See the crate's documentation.
pub struct Scheduler {
    state: State,
}

impl Scheduler {
    /// Creates a scheduler without jobs and workers. `epoch` must be larger than that of every earlier scheduler whose
    /// attempts may still run: it distinguishes their attempts. Jobs of an earlier epoch come with
    /// [`Event::Restored`].
    pub fn new(config: Config, epoch: Epoch) -> Self {
        Scheduler { state: State::new(config, epoch) }
    }

    /// Handles one event and returns the actions in the order in which to carry them out. Costs a few tree operations
    /// per event and per assigned task, except for the loss of a worker or of an output, which examines every task of
    /// the running jobs, and for the first reader of a done stage, whose table names every task of that stage.
    ///
    /// `now` may not go back; if it does, the latest time seen is used.
    pub fn step(&mut self, now: Time, event: Event) -> Vec<Action> {
        self.state.step(now, event)
    }

    /// What has become of jobs since the last call, each job's notes in order.
    pub fn take_notes(&mut self) -> Vec<(JobId, Note)> {
        std::mem::take(&mut self.state.notes)
    }

    /// The latest time for the next call of `step` with [`Event::Tick`].
    pub fn next_deadline(&self) -> Option<Time> {
        self.state.timers.next()
    }

    /// The status of a job; `None` if it is unknown or forgotten.
    pub fn status(&self, job: JobId, now: Time) -> Option<JobStatus> {
        self.state.status(job, now)
    }

    /// The status of every known job, by job id (the order of submission for ids made by clients).
    pub fn statuses(&self, now: Time) -> Vec<JobStatus> {
        self.state.statuses(now)
    }

    /// Every live worker, and the latest lost ones.
    pub fn workers(&self) -> Vec<WorkerStatus> {
        self.state.workers.statuses()
    }

    /// The address from which other workers fetch; `None` for an unknown or lost worker.
    pub fn worker_address(&self, worker: WorkerId) -> Option<&str> {
        self.state.workers.live(worker).map(|w| w.info.address.as_str())
    }

    /// What a worker has told of itself, if it is alive.
    pub fn worker_node(&self, worker: WorkerId) -> Option<&NodeInfo> {
        self.state.workers.live(worker).map(|w| &w.info)
    }

    /// The folder of a worker's files, if it is alive and others may read them in place.
    pub fn worker_home(&self, worker: WorkerId) -> Option<&Home> {
        self.state.workers.live(worker).and_then(|w| w.info.home.as_ref())
    }

    /// Whether this attempt is current on this worker and has not reported its end, so that its report counts.
    pub fn is_running(&self, worker: WorkerId, attempt: AttemptId) -> bool {
        self.state.standing(worker, attempt) == Standing::Running
    }

    /// Whether this attempt is current on this worker and is to place its parts.
    pub fn is_publishing(&self, worker: WorkerId, attempt: AttemptId) -> bool {
        self.state.standing(worker, attempt) == Standing::Publishing
    }

    /// Whether all tasks of a stage are done at present, if the job is known.
    pub fn is_stage_done(&self, job: JobId, stage: StageId) -> bool {
        self.state.jobs.get(&job).and_then(|j| j.stages.get(stage.0 as usize)).is_some_and(|s| s.is_done())
    }

    /// Whether a task is done at present, if the job is known.
    pub fn is_task_done(&self, task: TaskId) -> bool {
        self.state.task(task).is_some_and(|t| t.is_done())
    }

    /// Whether the scheduler would take this job with these inputs, so that none of them is recorded for one that it refuses.
    ///
    /// # Errors
    /// `PLAN_INVALID` if the job has too many tasks, `BAD_REQUEST` if they do not fit beside those of other jobs.
    pub fn check_planned(&self, job: JobId, input_bytes: u64, stages: &[StageChunks]) -> Result<(), Failure> {
        self.state.check_planned(job, input_bytes, stages)
    }

    /// The specification submitted under this id, while the job is known.
    pub fn spec(&self, job: JobId) -> Option<&JobSpec> {
        self.state.spec(job)
    }

    /// Checks every invariant of the state; the error names the broken one. Examines every task. Debug builds call it
    /// from `step` at a rate that keeps the cost per step constant.
    pub fn check(&self) -> Result<(), String> {
        check::check(&self.state)
    }
}
