//! The whole state of the scheduler.
//!
//! It owns jobs, workers, timers and the queue, in ordered maps only, and the actions of the present step. It decides
//! nothing itself.

use crate::Config;
use crate::action::Action;
use crate::discard::Discarded;
use crate::job::Job;
use crate::note::Note;
use crate::queue::Queue;
use crate::timers::Timers;
use crate::workers::Workers;
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
    /// Assignments so far.
    pub served: u64,
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
    /// Stages of ended jobs that are not freed yet.
    pub discarded: Discarded,
    /// Actions of the present step.
    pub out: Vec<Action>,
    /// Notes that the driver has not taken.
    pub notes: Vec<(JobId, Note)>,
    /// Steps since the last check of the invariants.
    pub unchecked: usize,
}

impl State {
    pub(crate) fn new(config: Config, epoch: Epoch) -> Self {
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
            served: 0,
            awaited: BTreeSet::new(),
            starved: true,
            suspicious: BTreeSet::new(),
            pending: BTreeSet::new(),
            partial: BTreeSet::new(),
            submitted: 0,
            discarded: Discarded::default(),
            out: Vec::new(),
            notes: Vec::new(),
            unchecked: 0,
            config,
        }
    }

    /// Moves the job to its position in the queues after its tasks have changed.
    pub(crate) fn requeue(&mut self, id: JobId) {
        self.revoke_recalled(id);
        self.collect_notes(id);
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

    /// Collects what the job has noted.
    pub(crate) fn collect_notes(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get_mut(&id).filter(|job| !job.notes.is_empty()) {
            self.notes.extend(job.notes.take().into_iter().map(|note| (id, note)));
        }
    }

    /// Adds a note of a job, if notes are wanted.
    pub(crate) fn note(&mut self, id: JobId, note: impl FnOnce() -> Note) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.notes.add(note);
        }
        self.collect_notes(id);
    }

    /// Keeps the spec and status of an ended job.
    pub(crate) fn remember(&mut self, id: JobId, ended: Ended) {
        self.history_bytes += ended.kept_bytes();
        self.history.insert(id, ended);
        self.ended.push_back(id);
    }
    /// Forgets the oldest jobs that are too many, or too large. Not in the step in which they end: who carries out its actions
    /// asks for each job that has ended, however many end in one step.
    pub(crate) fn forget_ended(&mut self) {
        while (self.ended.len() > self.config.history_max || self.history_bytes > self.config.history_bytes_max)
            && let Some(oldest) = self.ended.pop_front()
        {
            let forgotten = self.history.remove(&oldest).map_or(0, |ended| ended.kept_bytes());
            self.history_bytes = self.history_bytes.saturating_sub(forgotten);
        }
    }
}
