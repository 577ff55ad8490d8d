//! The state of each attempt, and the executor of each job. Queries change nothing.

use crate::planted::{self, Planted};
use crate::slot_queue::{SlotQueue, Ticket};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use windrow_model::{AttemptId, JobId, Task, TaskId, TaskReport};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Staging,
    /// It was given to an executor that is gone.
    Clearing,
    Ready,
    Running,
    /// Revoked while it ran: its files are deleted after its end.
    Cancelling,
    Done,
    Granted,
    Published,
}

#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) task: Box<Task>,
    pub(crate) state: State,
    /// Its position in the queue, until it has run.
    pub(crate) ticket: Option<Ticket>,
    /// Set when it is done: the report to the coordinator, sent again in every session.
    pub(crate) report: Option<TaskReport>,
}

#[derive(Debug, Default)]
pub(crate) enum Executor {
    #[default]
    None,
    Starting {
        generation: u64,
    },
    Ready {
        generation: u64,
        running: BTreeSet<AttemptId>,
        /// It is being killed and gets no more tasks.
        condemned: bool,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Job {
    pub(crate) executor: Executor,
    pub(crate) ready: VecDeque<AttemptId>,
    /// Tasks of which one has crashed an executor: each runs alone until it is done.
    pub(crate) suspects: BTreeSet<TaskId>,
    /// Number of successive kills from outside of executors that were not ready yet.
    pub(crate) killed_starts: u32,
    /// Number of successive executors that ignored their tasks.
    pub(crate) stuck: u32,
    /// The coordinator has assigned an attempt of it to this incarnation, so it will end the job here.
    pub(crate) assigned: bool,
}

/// After this many successive starts that were killed from outside, the start counts as failed.
pub(crate) const KILLED_STARTS_MAX: u32 = 3;
/// After this many successive executors that ignored their tasks, the tasks fail.
pub(crate) const STUCK_MAX: u32 = 3;

/// All attempts on this node.
#[derive(Debug)]
pub struct Attempts {
    /// Attempts that run or will run.
    pub(crate) queue: SlotQueue,
    /// Executors started so far, over all jobs and sessions, so that each has its own number.
    pub(crate) generation: u64,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) attempts: BTreeMap<AttemptId, Attempt>,
}

impl Attempts {
    /// No attempts yet; executors together get at most `slots` tasks at a time.
    pub fn new(slots: u32) -> Self {
        let queue = SlotQueue::new(slots.max(1) as usize + usize::from(planted::has(Planted::OverSlots)));
        Attempts { queue, generation: 0, jobs: BTreeMap::new(), attempts: BTreeMap::new() }
    }

    /// Whether no attempt runs or will run.
    pub fn nothing_runs(&self) -> bool {
        self.queue.iter().next().is_none()
    }

    /// The task of an attempt that is here.
    pub fn task(&self, attempt: AttemptId) -> Option<&Task> {
        self.attempts.get(&attempt).map(|a| &*a.task)
    }

    /// The attempts that a new session begins with: every attempt here, with its report if it is done. The others
    /// follow in slot order. Attempts that are being stopped are left out.
    pub fn inventory(&self) -> impl Iterator<Item = (AttemptId, Option<&TaskReport>)> {
        let done = self.attempts.iter().filter_map(|(id, a)| Some((*id, Some(a.report.as_ref()?))));
        let is_listed = |id: &AttemptId| !planted::has(Planted::QueuedUnlisted) || self.is_running(*id);
        done.chain(self.queue.iter().filter(is_listed).map(|id| (id, None)))
    }

    /// Attempts that run or will run, and whether each is not yet given to an executor.
    pub fn here(&self) -> impl Iterator<Item = (AttemptId, bool)> {
        self.queue.iter().map(|id| (id, !self.is_running(id)))
    }

    fn is_running(&self, id: AttemptId) -> bool {
        self.attempts.get(&id).is_some_and(|a| a.state == State::Running)
    }

    /// The report of a finished attempt.
    pub fn report(&self, attempt: AttemptId) -> Option<&TaskReport> {
        self.attempts.get(&attempt)?.report.as_ref()
    }
}

pub(crate) fn of_job(
    attempts: &BTreeMap<AttemptId, Attempt>,
    job: JobId,
) -> impl Iterator<Item = (&AttemptId, &Attempt)> {
    let first = AttemptId {
        task: TaskId { job, stage: windrow_model::StageId(0), index: 0 },
        number: 0,
        epoch: windrow_model::Epoch(0),
        incarnation: windrow_model::Incarnation(0),
    };
    attempts.range(first..).take_while(move |(id, _)| id.task.job == job)
}
