//! A simulated worker: the attempts of the daemon (`windrow-attempts`), and the driver that performs their actions.
//!
//! Executors, stagings and deletions are names only. Without `Kinds::executors` each of them ends at once, except for the inputs of
//! queued attempts, which are fetched until they get a slot. With it they take turns, executors die, and the last message of a
//! dead executor arrives late. The driver asserts what the state machine may never ask for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use windrow_attempts::{Action, Attempts, Exit, Report, StageError};
use windrow_model::*;

pub(crate) use windrow_attempts::Event;

/// Executors in a row that do nothing before their tasks fail, and kills before an executor is ready.
const STUCK_MAX: u32 = 3;
const KILLED_STARTS_MAX: u32 = 3;

/// The process of a job, as far as attempts see it.
#[derive(Debug)]
struct Executor {
    generation: u64,
    is_ready: bool,
    running: BTreeSet<AttemptId>,
    /// Asked to stop.
    stopping: BTreeSet<AttemptId>,
    is_killed: bool,
}

/// Something that is under way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pending {
    /// A started executor may say that it is ready.
    Start(JobId),
    Stage(AttemptId),
    Clear(AttemptId),
    /// The executor may stop the attempt.
    Stop(AttemptId),
    /// The time to stop is over.
    Overdue(AttemptId),
    /// A killed executor may end.
    Kill(JobId),
    /// What an executor that has ended said of an attempt arrives.
    Late(usize),
}

#[derive(Debug)]
pub(crate) struct Worker {
    slots: usize,
    takes_time: bool,
    attempts: Attempts,
    executors: BTreeMap<JobId, Executor>,
    staging: BTreeSet<AttemptId>,
    clearing: BTreeSet<AttemptId>,
    /// To be published.
    pub(crate) granted: BTreeSet<AttemptId>,
    /// Served to other workers.
    pub(crate) files: BTreeSet<AttemptId>,
    /// Messages for the coordinator, in order.
    said: Vec<Report>,
    /// The last messages of executors that are gone.
    late: Vec<(u64, AttemptId)>,
    /// Tasks one of which has crashed an executor, as far as is known.
    suspects: BTreeSet<TaskId>,
    /// Executors of a job in a row that did nothing with their tasks, and that were killed before they were ready.
    stuck: BTreeMap<JobId, u32>,
    killed_starts: BTreeMap<JobId, u32>,
}

impl Worker {
    pub(crate) fn new(slots: u32, takes_time: bool) -> Self {
        Worker {
            slots: slots as usize,
            takes_time,
            attempts: Attempts::new(slots),
            executors: BTreeMap::new(),
            staging: BTreeSet::new(),
            clearing: BTreeSet::new(),
            granted: BTreeSet::new(),
            files: BTreeSet::new(),
            said: Vec::new(),
            late: Vec::new(),
            suspects: BTreeSet::new(),
            stuck: BTreeMap::new(),
            killed_starts: BTreeMap::new(),
        }
    }

    /// The process ends and begins anew, with finished outputs if its disk is whole.
    pub(crate) fn restart(&mut self, keeps_files: bool) {
        let kept: Vec<(AttemptId, TaskReport)> = match keeps_files {
            true => self.files.iter().filter_map(|id| Some((*id, self.attempts.report(*id)?.clone()))).collect(),
            false => Vec::new(),
        };
        *self = Worker::new(self.slots as u32, self.takes_time);
        kept.into_iter().for_each(|(id, report)| self.step(Event::Kept(id, report)));
    }

    /// Takes in an event and performs what follows from it.
    pub(crate) fn step(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.attempts.step(event) {
                self.perform(action, &mut events);
            }
            if events.is_empty() && !self.takes_time {
                let with_slot = self.here().into_iter().take(self.slots);
                events.extend(with_slot.filter(|id| self.staging.remove(id)).map(Event::Staged).collect::<Vec<_>>());
            }
        }
    }

    fn perform(&mut self, action: Action, events: &mut VecDeque<Event>) {
        match action {
            Action::Stage(task) => assert!(self.staging.insert(task.attempt), "it is staged once"),
            Action::StartExecutor { job, generation } => {
                let (running, stopping) = Default::default();
                let executor = Executor { generation, is_ready: false, running, stopping, is_killed: false };
                let other = self.executors.insert(job, executor);
                assert!(other.is_none(), "{job} has an executor: {other:?}");
                if !self.takes_time {
                    events.extend(self.get_ready(job));
                }
            }
            Action::Run(id) => self.run(id),
            Action::Clear(id) => {
                self.clearing.insert(id);
            }
            Action::Cancel(id) | Action::Withdraw(id) => {
                let executor = self.executors.get_mut(&id.task.job).expect("only what runs is stopped");
                assert!(executor.running.contains(&id), "only what runs is stopped");
                executor.stopping.insert(id);
                if !self.takes_time {
                    events.extend(self.stop(id));
                }
            }
            Action::KillExecutor(job) => {
                self.executors.get_mut(&job).expect("there is one to kill").is_killed = true;
            }
            Action::RemoveInputs(id) => assert!(!self.runs(id), "the inputs of {id} are removed while it runs"),
            Action::Serve(id) => {
                assert!(!self.runs(id), "{id} is served while it runs");
                self.files.insert(id);
            }
            Action::Remove(id) => {
                assert!(!self.runs(id), "the files of {id} are removed while it runs");
                self.staging.remove(&id);
                self.clearing.remove(&id);
                self.granted.remove(&id);
                self.files.remove(&id);
            }
            Action::Publish { attempt, .. } => assert!(self.granted.insert(attempt), "it is published once"),
            Action::DropJob { job, .. } => self.drop_job(job),
            Action::Report(report) => self.said.push(report),
        }
    }

    fn run(&mut self, id: AttemptId) {
        assert!(!self.staging.contains(&id) && !self.clearing.contains(&id), "{id} runs and its folder is not ready");
        let executor = self.executors.get_mut(&id.task.job).expect("it runs in an executor");
        assert!(executor.is_ready && !executor.is_killed, "{id} is given to an executor that takes nothing");
        executor.running.insert(id);
        let suspected = executor.running.iter().any(|id| self.suspects.contains(&id.task));
        assert!(!suspected || executor.running.len() == 1, "a suspect runs beside others: {executor:?}");
        let running = self.executors.values().map(|e| e.running.difference(&e.stopping).count());
        assert!(running.sum::<usize>() <= self.slots, "{id} runs beyond the slots");
    }

    fn drop_job(&mut self, job: JobId) {
        self.executors.remove(&job);
        for set in [&mut self.staging, &mut self.clearing, &mut self.granted, &mut self.files] {
            set.retain(|id| id.task.job != job);
        }
        self.suspects.retain(|task| task.job != job);
        self.stuck.remove(&job);
        self.killed_starts.remove(&job);
    }

    fn runs(&self, id: AttemptId) -> bool {
        self.executors.get(&id.task.job).is_some_and(|executor| executor.running.contains(&id))
    }

    /// Attempts that run or will run, in the order in which they get slots.
    pub(crate) fn here(&self) -> Vec<AttemptId> {
        self.attempts.here().map(|(id, _)| id).collect()
    }

    /// Those of them that an executor has.
    pub(crate) fn begun(&self) -> BTreeSet<AttemptId> {
        self.attempts.here().filter(|(_, waits)| !waits).map(|(id, _)| id).collect()
    }

    pub(crate) fn task(&self, id: AttemptId) -> Option<&Task> {
        self.attempts.task(id)
    }

    /// What a new session begins with.
    pub(crate) fn inventory(&self) -> Vec<(AttemptId, Option<TaskReport>)> {
        self.attempts.inventory().map(|(id, report)| (id, report.cloned())).collect()
    }

    /// Messages for the coordinator.
    pub(crate) fn take_said(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.said)
    }

    /// Nothing is here, and nothing under way.
    pub(crate) fn is_empty(&self) -> bool {
        let sets = [&self.staging, &self.clearing, &self.granted, &self.files];
        self.here().is_empty() && sets.iter().all(|set| set.is_empty()) && self.executors.is_empty()
    }

    /// An attempt that runs is done.
    pub(crate) fn finish(&mut self, id: AttemptId, report: TaskReport) {
        let counts = self.begun().contains(&id);
        if let Some(generation) = self.take_off(id) {
            if counts {
                self.suspects.remove(&id.task);
                self.stuck.remove(&id.task.job);
            }
            self.step(Event::TaskDone { generation, attempt: id, report });
        }
    }

    /// An attempt fails, wherever it is. Not if it has its inputs and has not begun: then nothing can fail.
    pub(crate) fn fail(&mut self, id: AttemptId, failure: Failure) {
        match self.take_off(id) {
            Some(generation) => self.step(Event::TaskFailed { generation, attempt: id, failure, lost: None }),
            None => self.fail_staging(id, StageError::Failed(failure)),
        }
    }

    /// The same for an output that it reads.
    pub(crate) fn lose_output(&mut self, id: AttemptId, lost: OutputRef, failure: Failure) {
        match self.take_off(id) {
            Some(generation) => {
                self.step(Event::TaskFailed { generation, attempt: id, failure, lost: Some(lost) });
            }
            None => self.fail_staging(id, StageError::SegmentLost(Box::new(lost), failure)),
        }
    }

    fn fail_staging(&mut self, id: AttemptId, error: StageError) {
        if self.staging.remove(&id) {
            self.step(Event::StageFailed(id, error));
        }
    }

    /// The generation of the executor that ran it, and does not any more.
    fn take_off(&mut self, id: AttemptId) -> Option<u64> {
        let executor = self.executors.get_mut(&id.task.job)?;
        executor.stopping.remove(&id);
        executor.running.remove(&id).then_some(executor.generation)
    }

    fn get_ready(&mut self, job: JobId) -> Option<Event> {
        let executor = self.executors.get_mut(&job)?;
        executor.is_ready = true;
        self.killed_starts.remove(&job);
        Some(Event::ExecutorReady { job, generation: executor.generation })
    }

    fn stop(&mut self, id: AttemptId) -> Option<Event> {
        let generation = self.take_off(id)?;
        let failure = Failure::new(Code::Cancelled, "it was asked to stop");
        Some(Event::TaskFailed { generation, attempt: id, failure, lost: None })
    }

    /// Everything that is under way, in an order that does not change by itself.
    pub(crate) fn pending(&self) -> Vec<Pending> {
        let mut pending = Vec::new();
        for (job, executor) in &self.executors {
            match executor.is_killed {
                true => pending.push(Pending::Kill(*job)),
                false if !executor.is_ready => pending.push(Pending::Start(*job)),
                false => {
                    let stopping = executor.stopping.iter();
                    pending.extend(stopping.flat_map(|id| [Pending::Stop(*id), Pending::Overdue(*id)]));
                }
            }
        }
        pending.extend(self.staging.iter().map(|id| Pending::Stage(*id)));
        pending.extend(self.clearing.iter().map(|id| Pending::Clear(*id)));
        pending.extend((0..self.late.len()).map(Pending::Late));
        pending
    }

    /// One of these is over, well.
    pub(crate) fn complete(&mut self, pending: Pending) {
        match pending {
            Pending::Start(job) => self.get_ready(job).into_iter().for_each(|event| self.step(event)),
            Pending::Stage(id) => {
                self.staging.remove(&id);
                self.step(Event::Staged(id));
            }
            Pending::Clear(id) => {
                self.clearing.remove(&id);
                self.step(Event::Cleared(id));
            }
            Pending::Stop(id) => self.stop(id).into_iter().for_each(|event| self.step(event)),
            Pending::Overdue(id) => self.step(Event::CancelOverdue(id)),
            Pending::Kill(job) => self.end_executor(job, Death::ByWorker),
            Pending::Late(at) => {
                let (generation, attempt) = self.late.swap_remove(at);
                let report = self.task(attempt).map(crate::samples::report).unwrap_or_default();
                self.step(Event::TaskDone { generation, attempt, report });
            }
        }
    }

    /// Jobs whose executors have started.
    pub(crate) fn executors(&self) -> Vec<JobId> {
        self.executors.keys().copied().collect()
    }

    /// The executor of a job takes tasks.
    pub(crate) fn is_ready(&self, job: JobId) -> bool {
        self.executors.get(&job).is_some_and(|executor| executor.is_ready)
    }

    /// The last executor of a job was killed before it was ready.
    pub(crate) fn was_killed_early(&self, job: JobId) -> bool {
        self.killed_starts.get(&job).is_some_and(|n| *n > 0)
    }

    /// What an executor runs and was not asked to stop.
    pub(crate) fn running_in(&self, job: JobId) -> Vec<AttemptId> {
        self.executors.get(&job).into_iter().flat_map(|e| e.running.difference(&e.stopping)).copied().collect()
    }

    /// An executor ends before it is ready. After too many kills in a row the attempts that wait for it fail.
    fn fail_start(&mut self, job: JobId, generation: u64, killed: bool) {
        let in_a_row = self.killed_starts.entry(job).or_default();
        *in_a_row += u32::from(killed);
        let fails = !killed || *in_a_row >= KILLED_STARTS_MAX;
        let waits = |id: &AttemptId| id.task.job == job && !self.staging.contains(id) && !self.clearing.contains(id);
        let waiting = self.here().into_iter().filter(waits).count();
        let before = self.said.len();
        let failure = Failure::new(Code::FetchFailed, "its executor did not start");
        self.step(Event::ExecutorNotStarted { job, generation, failure, killed });
        let failed = self.said.len() - before;
        assert_eq!(failed, if fails { waiting } else { 0 }, "attempts of {job} that fail with a start");
    }

    /// Counts executors in a row that did nothing.
    fn count_stuck(&mut self, job: JobId, stuck: bool) -> u32 {
        match stuck {
            true => *self.stuck.entry(job).and_modify(|n| *n += 1).or_insert(1),
            false => {
                self.stuck.remove(&job);
                0
            }
        }
    }

    /// The executor of a job dies.
    pub(crate) fn end_executor(&mut self, job: JobId, death: Death) {
        let Some(executor) = self.executors.remove(&job) else { return };
        let generation = executor.generation;
        let failure = Failure::new(Code::ExecutorCrashed, "its executor ended");
        if !executor.is_ready {
            return self.fail_start(job, generation, death != Death::ByWorker);
        }
        let left: Vec<AttemptId> = executor.running.difference(&executor.stopping).copied().collect();
        self.late.extend(left.first().map(|id| (generation, *id)));
        let guilty = match death {
            Death::By(id) => Some(id).filter(|id| executor.running.contains(id)),
            Death::ByWorker | Death::Unexplained | Death::Stuck | Death::Killed => None,
        };
        let stuck = death == Death::Stuck;
        let killed_by_worker = stuck || death == Death::ByWorker;
        // A kill from outside explains nothing: it may be for want of memory.
        let self_inflicted = !killed_by_worker && death != Death::Killed;
        let gives_up = self.count_stuck(job, stuck) >= STUCK_MAX;
        let is_innocent = killed_by_worker || executor.is_killed;
        let before = self.said.len();
        let exit = Exit { failure, self_inflicted, killed_by_worker, stuck, guilty };
        self.step(Event::ExecutorEnded { job, generation, exit });
        let charged: Vec<&Report> = self.said[before..].iter().collect();
        assert!(!gives_up || charged.len() == left.len(), "{left:?} run again in executors that do nothing");
        let may_be = |report: &&Report| match (report, guilty) {
            (Report::Failed(..), _) if gives_up => true,
            (Report::Failed(id, _), Some(guilty)) => *id == guilty && !is_innocent,
            (Report::Failed(id, _), None) => !is_innocent && left == [*id] && executor.stopping.is_empty(),
            _ => false,
        };
        assert!(charged.iter().all(may_be), "{charged:?} for {death:?} of {executor:?}");
        if guilty.is_none() && !is_innocent {
            let is_charged = |id: &AttemptId| charged.iter().any(|r| matches!(r, Report::Failed(of, _) if of == id));
            let suspects: Vec<TaskId> = left.iter().filter(|id| !is_charged(id)).map(|id| id.task).collect();
            self.suspects.extend(suspects);
        }
    }
}

/// How an executor dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// The worker kills it: no attempt is at fault.
    ByWorker,
    /// The thread of this attempt has crashed it.
    By(AttemptId),
    /// One of its attempts did it.
    Unexplained,
    /// The worker kills it because it does nothing with its tasks.
    Stuck,
    /// The kernel or an operator kills it.
    Killed,
}
