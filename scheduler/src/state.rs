//! The whole state of the scheduler, and the dispatch of events to the files that handle them.
//!
//! It owns jobs, workers, timers and the queue, in ordered maps only, and the actions of the present step. It decides
//! nothing itself.

use crate::action::Action;
use crate::event::Event;
use crate::job::Job;
use crate::lease::Timers;
use crate::queue::Queue;
use crate::worker::Workers;
use crate::{Config, check};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use windrow_model::{Epoch, JobId, JobSpec, JobStatus, KeptBytes, TaskId, Time, WorkerId};

/// What the scheduler keeps of an ended job.
pub(crate) struct Ended {
    pub spec: Box<JobSpec>,
    pub status: JobStatus,
}

impl KeptBytes for Ended {
    fn kept_bytes(&self) -> usize {
        self.spec.kept_bytes() + self.status.kept_bytes()
    }
}

pub(crate) struct State {
    pub config: Config,
    pub epoch: Epoch,
    pub now: Time,
    pub jobs: BTreeMap<JobId, Job>,
    pub history: BTreeMap<JobId, Ended>,
    /// Ended jobs, oldest first.
    ended: VecDeque<JobId>,
    history_bytes: usize,
    pub workers: Workers,
    pub timers: Timers,
    pub queue: Queue,
    /// Jobs with queued attempts that may be moved.
    pub ahead: Queue,
    /// Number of attempts queued on workers so far.
    pub placed: u64,
    /// Workers that restored jobs wait for.
    pub awaited: BTreeSet<WorkerId>,
    /// No worker takes tasks.
    pub starved: bool,
    /// Jobs with suspects that wait for a worker of their own.
    pub suspicious: BTreeSet<JobId>,
    /// Suspects whose charge waits for the report of their worker's next incarnation.
    pub pending: BTreeSet<TaskId>,
    /// Jobs that leave workers out.
    pub partial: BTreeSet<JobId>,
    /// Jobs submitted so far.
    pub submitted: u64,
    /// Actions of the present step.
    pub out: Vec<Action>,
    /// Steps since the last check of the invariants.
    unchecked: usize,
}

impl State {
    pub fn new(config: Config, epoch: Epoch) -> Self {
        State {
            epoch,
            now: Time::default(),
            jobs: BTreeMap::new(),
            history: BTreeMap::new(),
            ended: VecDeque::new(),
            history_bytes: 0,
            workers: Workers::new(config.prefetch_per_slot),
            timers: Timers::default(),
            queue: Queue::default(),
            ahead: Queue::default(),
            placed: 0,
            awaited: BTreeSet::new(),
            starved: true,
            suspicious: BTreeSet::new(),
            pending: BTreeSet::new(),
            partial: BTreeSet::new(),
            submitted: 0,
            out: Vec::new(),
            unchecked: 0,
            config,
        }
    }

    pub fn step(&mut self, now: Time, event: Event) -> Vec<Action> {
        self.now = self.now.max(now);
        self.forget_ended();
        self.dispatch(event);
        self.expire();
        self.assign();
        self.update_starvation();
        if cfg!(debug_assertions) {
            self.check_now_and_then();
        }
        std::mem::take(&mut self.out)
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Submitted { spec, unix_ms } => self.handle_submitted(spec, unix_ms),
            Event::Planned { job, input_bytes, stages } => self.handle_planned(job, input_bytes, stages),
            Event::PlanFailed { job, failure } => self.handle_plan_failed(job, failure),
            Event::Cancelled { job } => self.handle_cancelled(job),
            Event::WorkerJoined { node, held, left } => self.handle_joined(node, held, left),
            Event::WorkerLeft { worker } => self.lose_worker(worker, "its session ended"),
            Event::WorkerBeat { worker, progress, lists_all, full } => {
                self.handle_beat(worker, progress, full);
                self.enforce_limits(worker, lists_all);
            }
            Event::WorkerDrains { worker } => self.handle_drains(worker),
            Event::AttemptDone { worker, attempt, report } => self.handle_done(worker, attempt, report),
            Event::AttemptFailed { worker, attempt, failure } => self.handle_failed(worker, attempt, failure),
            Event::Published { worker, attempt } => self.handle_published(worker, attempt),
            Event::PublishFailed { worker, attempt, failure } => self.handle_publish_failed(worker, attempt, failure),
            Event::SegmentLost { worker, reader, segment, failure } => {
                self.handle_segment_lost(worker, reader, segment, failure)
            }
            Event::LeftOut { job, worker, failure } => self.handle_left_out(job, worker, failure),
            Event::TakenIn { job, worker } => self.handle_taken_in(job, worker),
            Event::Committed { job } => self.handle_committed(job),
            Event::CommitFailed { job, failure } => self.handle_commit_failed(job, failure),
            Event::CommitWaits { job, reason } => self.handle_commit_waits(job, reason),
            Event::CommitGivenUp { job, failure } => self.handle_commit_given_up(job, failure),
            Event::InputLost { job, failure } => self.handle_input_lost(job, failure),
            Event::Restored { job } => self.handle_restored(*job),
            Event::Awaited { workers, ms } => self.handle_awaited(workers, ms),
            Event::Tick => {}
        }
    }

    /// Moves the job to its position in the queues after its tasks have changed.
    pub fn requeue(&mut self, id: JobId) {
        self.revoke_recalled(id);
        let job = self.jobs.get(&id);
        self.queue.set(id, job.and_then(Job::turn));
        self.ahead.set(id, job.and_then(Job::turn_of_ahead));
        if job.is_some_and(|job| !job.suspects.is_empty()) {
            self.suspicious.insert(id);
        } else if !self.suspicious.is_empty() {
            self.suspicious.remove(&id);
        }
        self.watch_starvation(id);
        self.watch_for_slow_tasks(id);
    }

    /// Keeps the spec and status of an ended job.
    pub fn remember(&mut self, id: JobId, ended: Ended) {
        self.history_bytes += ended.kept_bytes();
        self.history.insert(id, ended);
        self.ended.push_back(id);
    }

    /// Forgets the oldest jobs that are too many, or too large. Not in the step in which they end: who carries out its actions
    /// asks for each job that has ended, however many end in one step.
    fn forget_ended(&mut self) {
        while (self.ended.len() > self.config.history_max || self.history_bytes > self.config.history_bytes_max)
            && let Some(oldest) = self.ended.pop_front()
        {
            let forgotten = self.history.remove(&oldest).map_or(0, |ended| ended.kept_bytes());
            self.history_bytes = self.history_bytes.saturating_sub(forgotten);
        }
    }

    /// Checks the invariants at a rate that keeps the cost per step constant: after every step in small states.
    fn check_now_and_then(&mut self) {
        let tasks: usize = self.jobs.values().flat_map(|j| &j.stages).map(|s| s.tasks.len()).sum();
        self.unchecked += 1;
        if self.unchecked * 16 >= tasks {
            self.unchecked = 0;
            if let Err(broken) = check::check(self) {
                panic!("the scheduler's state is broken: {broken}");
            }
        }
    }
}
