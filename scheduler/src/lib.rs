//! Who does what next: a pure state machine.
//!
//! [`Scheduler::step`] takes the time and one [`Event`] and answers with [`Action`]s; whoever drives it does them and
//! reports back with further events. It owns the life of jobs, stages, tasks, attempts and leases. It knows nothing of
//! clocks, sockets, files, threads or randomness: the same events at the same times give the same actions.
//!
//! A job goes `planning → running → committing → done`, or to `failed` or `cancelled` from there. Its stages are
//! separated by barriers: a stage's tasks are queued when every stage that it reads is done. A task is run as attempts,
//! one at a time, or two while a slow one has a backup; some wait on their worker for a slot (`prefetch.rs`). What is heard of any other attempt is late and has no effect.

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
mod exclusion;
mod failed;
mod fetch_failures;
mod job;
mod lease;
mod left_out;
mod limits;
mod nondeterminism;
mod prefetch;
mod queue;
mod rejoin;
mod restore;
mod retry;
mod shuffle;
mod speculate;
mod stage;
mod starvation;
mod state;
mod suspects;
mod task;
mod uncharged;
mod view;
mod worker;

pub use action::{Action, Collected, CollectedBlob, StagedPart};
pub use event::{Event, HeldAttempt, Left, Progress, RestoredJob, RestoredSplit, RestoredTask, StageChunks};
use state::State;
pub use uncharged::{Cause, Counts, Loss, Tally};
use windrow_model::{
    COLLECT_BYTES_MAX, Epoch, Home, JobId, JobSpec, JobStatus, StageId, TaskId, Time, WorkerId, WorkerStatus,
};

/// Limits of a scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// A worker of which nothing was heard for this long is lost. `u64::MAX`: never (in-process runs).
    pub lease_ms: u64,
    /// First delay of a task that failed several times in a row without anyone being charged; doubles each time.
    pub retry_delay_ms: u64,
    /// The longest such delay.
    pub retry_delay_max_ms: u64,
    /// For each of its slots a worker gets so many attempts more, whose inputs it fetches while others run. 0: none.
    pub prefetch_per_slot: u32,
    /// So many tasks that failed on a worker and then succeeded on another exclude it for a while.
    pub faults_max: u32,
    /// How long the first time; twice as long each time after that, up to ten times.
    pub exclusion_ms: u64,
    /// A task that was on this number of workers when they were lost runs alone.
    pub suspect_after: u32,
    /// How long the charge of such a task waits for what the lost worker's next life tells.
    pub poison_wait_ms: u64,
    /// An attempt that a live worker does not list for so long is not there.
    pub delivery_ms: u64,
    /// An attempt that has a slot and is not begun after so long is given up.
    pub begin_ms: u64,
    /// A granted attempt that has not published after so long is given up.
    pub publish_ms: u64,
    /// Workers enforce the time-outs of attempts. The scheduler does so too, this much later, or a quarter of the time-out
    /// if that is more.
    pub limit_margin_ms: u64,
    /// This number of damaged outputs of one worker excludes it for a while.
    pub damaged_max: u32,
    /// A job of which nothing can run for so long, because no worker takes tasks, fails.
    pub unschedulable_after_ms: u64,
    /// An attempt that has run for less gets no backup.
    pub backup_after_ms: u64,
    /// How often a job is looked through for tasks that need one.
    pub backup_every_ms: u64,
    /// Ended jobs whose status is kept.
    pub history_max: usize,
    /// Bytes that the collects of one job may give in all.
    pub collect_bytes_max: u64,
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
            collect_bytes_max: COLLECT_BYTES_MAX,
        }
    }
}

/// The state machine. See the crate's documentation.
pub struct Scheduler {
    state: State,
}

impl Scheduler {
    /// A scheduler without jobs and workers. `epoch` must be larger than that of every scheduler before it whose
    /// attempts may still run: it tells theirs from its own. Jobs of an earlier one come with [`Event::Restored`].
    pub fn new(config: Config, epoch: Epoch) -> Self {
        Scheduler { state: State::new(config, epoch) }
    }

    /// Takes in one event and says what is to be done, in this order. Costs a few tree operations per event and per
    /// assigned task, except for the loss of a worker or of an output, which looks at every task of the jobs that run.
    ///
    /// `now` may not go back; if it does, the latest time seen is used.
    pub fn step(&mut self, now: Time, event: Event) -> Vec<Action> {
        self.state.step(now, event)
    }

    /// When `step` wants to be called with [`Event::Tick`] at the latest.
    pub fn next_deadline(&self) -> Option<Time> {
        self.state.timers.next()
    }

    /// How a job stands; `None` if it is unknown or forgotten.
    pub fn status(&self, job: JobId, now: Time) -> Option<JobStatus> {
        self.state.status(job, now)
    }

    /// How every known job stands, by job id (which is the order of submission for ids made by clients).
    pub fn statuses(&self, now: Time) -> Vec<JobStatus> {
        self.state.statuses(now)
    }

    /// Every worker that lives, and the last ones that were lost.
    pub fn workers(&self) -> Vec<WorkerStatus> {
        self.state.workers.statuses()
    }

    /// Where other workers fetch from; `None` for a worker that is unknown or lost.
    pub fn worker_address(&self, worker: WorkerId) -> Option<&str> {
        self.state.workers.live(worker).map(|w| w.info.address.as_str())
    }

    /// Where a worker's files lie, if it lives and others may use them in place.
    pub fn worker_home(&self, worker: WorkerId) -> Option<&Home> {
        self.state.workers.live(worker).and_then(|w| w.info.home.as_ref())
    }

    /// Whether all tasks of a stage are done at present, as far as the job is known.
    pub fn is_stage_done(&self, job: JobId, stage: StageId) -> bool {
        self.state.jobs.get(&job).and_then(|j| j.stages.get(stage.0 as usize)).is_some_and(|s| s.is_done())
    }

    /// Whether a task is done at present, as far as the job is known.
    pub fn is_task_done(&self, task: TaskId) -> bool {
        self.state.task(task).is_some_and(|t| t.is_done())
    }

    /// What was submitted under this id, while the job is known.
    pub fn spec(&self, job: JobId) -> Option<&JobSpec> {
        self.state.spec(job)
    }

    /// Checks every invariant of the state; the text says which one is broken. Costs a look at every task. Debug
    /// builds call it from `step` as often as keeps its cost per step constant.
    pub fn check(&self) -> Result<(), String> {
        check::check(&self.state)
    }
}
