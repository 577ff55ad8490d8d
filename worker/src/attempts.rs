//! Life of attempts on this node, as a pure state machine: events in, actions out.
//!
//! ```text
//! assigned ─▶ staging ─▶ ready ─▶ running ─▶ done ─▶ granted ─▶ published
//!                │         │ ▲      │  │
//!                │         │ └──────┘  │   by way of clearing: the executor died and nobody could be blamed
//!                ▼         ▼           ▼
//!              failed, or revoked: the attempt is forgotten and its files are deleted
//! ```
//! There may be more attempts than slots. All are staged at once; the ones that came first have the slots (`turns.rs`). The
//! coordinator counts in the same way, so nobody has to tell it who has begun: hence one that came later waits even if the
//! inputs of one before it take longer than its own.
//!
//! It owns which attempt is where, which job has an executor, and who is suspected of having crashed one. It knows
//! no file, process, clock or connection: `node.rs` performs the actions and reports back with events. Whatever comes
//! late (from an executor of an earlier generation, for an attempt that is gone) is ignored.

use crate::turns::{Place, Turns};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use windrow_model::{
    AttemptId, Code, Failure, JobId, OutputReport, SegmentRef, Task, TaskId, TaskInput, TaskOutput, TaskReport,
};

/// Everything that can happen to attempts.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The coordinator wants this attempt run here.
    Assigned(Box<Task>),
    /// Its inputs are local files.
    Staged(AttemptId),
    /// What an executor that died has left of it is gone.
    Cleared(AttemptId),
    /// Its inputs cannot be had.
    StageFailed(AttemptId, StageError),
    /// An executor has built the plan and takes tasks.
    ExecutorReady {
        job: JobId,
        generation: u64,
    },
    /// An executor did not get as far as taking tasks. `killed`: somebody else's SIGKILL, so nobody's fault.
    ExecutorNotStarted {
        job: JobId,
        generation: u64,
        failure: Failure,
        killed: bool,
    },
    /// An executor that was ready is gone.
    ExecutorEnded {
        job: JobId,
        generation: u64,
        exit: Exit,
    },
    TaskDone {
        generation: u64,
        attempt: AttemptId,
        report: TaskReport,
    },
    /// `segment`: position of the input, and of the segment in it, that could not be read.
    TaskFailed {
        generation: u64,
        attempt: AttemptId,
        failure: Failure,
        segment: Option<(u32, u32)>,
    },
    /// It has run, or stayed at one place, for longer than its job allows.
    TaskOverdue {
        generation: u64,
        attempt: AttemptId,
        failure: Failure,
    },
    /// The coordinator chose this attempt as its task's winner.
    Granted(AttemptId),
    Published(AttemptId),
    PublishFailed(AttemptId, Failure),
    /// The coordinator has no use for this attempt any more.
    Revoked(AttemptId),
    /// A running attempt that was told to stop has not done so in time.
    CancelOverdue(AttemptId),
    JobDropped(JobId),
    /// An earlier life of this worker has left what this attempt made.
    Kept(AttemptId, TaskReport),
    /// The worker ends.
    Stopping,
}

/// Why inputs could not be staged.
#[derive(Clone, Debug, PartialEq)]
pub enum StageError {
    Failed(Failure),
    /// This segment is nowhere: the coordinator has it computed again.
    SegmentLost(Box<SegmentRef>, Failure),
}

/// How an executor ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Exit {
    pub failure: Failure,
    /// The job's own code must have done it (a fatal signal, an exit), as opposed to a kill from outside.
    pub own_doing: bool,
    /// This worker killed it.
    pub ours: bool,
    /// It did nothing with the tasks that it was given, and this worker killed it for that.
    pub stuck: bool,
    /// The attempt whose own thread did it, where that is known.
    pub guilty: Option<AttemptId>,
}

/// Everything that attempts can ask for.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make the inputs local files; answered by `Staged` or `StageFailed`.
    Stage(Box<Task>),
    /// Answered by `ExecutorReady` or `ExecutorNotStarted`, later by `ExecutorEnded`.
    StartExecutor {
        job: JobId,
        generation: u64,
    },
    /// Give it to the executor at once: whatever is said of it later must come later there, too.
    Run(AttemptId),
    /// Delete what an executor that died may have left in the attempt's folder; answered by `Cleared`.
    Clear(AttemptId),
    /// Ask the executor to stop this attempt; answered by its end or by `CancelOverdue`.
    Cancel(AttemptId),
    /// The same for one that nobody has any use for: it may have begun just now.
    Withdraw(AttemptId),
    KillExecutor(JobId),
    /// Staged inputs are not needed any more.
    RemoveInputs(AttemptId),
    /// Finished: peers may fetch its outputs from now on.
    Serve(AttemptId),
    /// Delete all files of the attempt; peers get nothing from it any more.
    Remove(AttemptId),
    /// Place the parts for these sinks into their staging folders; answered by `Published` or `PublishFailed`.
    Publish {
        attempt: AttemptId,
        sinks: Vec<u32>,
    },
    /// End the job's executor (`at_once`: by force) and delete all its files.
    DropJob {
        job: JobId,
        at_once: bool,
    },
    Report(Report),
}

/// What the coordinator is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    Done(AttemptId, TaskReport),
    Failed(AttemptId, Failure),
    Published(AttemptId),
    PublishFailed(AttemptId, Failure),
    SegmentLost { reader: AttemptId, segment: SegmentRef, failure: Failure },
}

/// What would have to be done again elsewhere if the worker ended now, in numbers of attempts. Parts that are published, and
/// results inside of a report, are the coordinator's: they need no worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// They run, or wait for their turn.
    pub running: usize,
    /// Done, and their parts are not where the output is made.
    pub unpublished: usize,
    /// Done, with segments that tasks of running jobs may read.
    pub served: usize,
}

impl Needs {
    /// Nothing needs the worker.
    pub fn is_nothing(&self) -> bool {
        *self == Needs::default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Staging,
    /// It has been given to an executor that is gone.
    Clearing,
    Ready,
    Running,
    /// Revoked while it ran: its end is awaited before its files go.
    Cancelling,
    Done,
    Granted,
    Published,
}

#[derive(Debug)]
struct Attempt {
    task: Box<Task>,
    state: State,
    /// Its turn, until it has run.
    place: Option<Place>,
    /// Set when it is done: what the coordinator is told, again in every session.
    report: Option<TaskReport>,
}

#[derive(Debug, Default)]
enum Executor {
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
struct Job {
    executor: Executor,
    ready: VecDeque<AttemptId>,
    /// Tasks of which one has crashed an executor: each runs alone until it is done.
    suspects: BTreeSet<TaskId>,
    /// How often in a row a kill from outside met an executor that was not ready yet.
    killed_starts: u32,
    /// How many executors in a row did nothing with what they were given.
    stuck: u32,
    /// The coordinator has assigned something of it to this life; it says when the job is over.
    assigned: bool,
}

/// A start that was killed from outside so often in a row is reported as a failure.
const KILLED_STARTS_MAX: u32 = 3;
/// When this number of executors in a row did nothing with their tasks, the tasks fail.
const STUCK_MAX: u32 = 3;

/// All attempts on this node.
#[derive(Debug)]
pub struct Attempts {
    /// Those that run or will run.
    turns: Turns,
    /// Executors started so far, over all jobs and sessions: no two have the same number.
    generation: u64,
    jobs: BTreeMap<JobId, Job>,
    attempts: BTreeMap<AttemptId, Attempt>,
}

impl Attempts {
    /// No attempts yet; executors together get at most `slots` tasks at a time.
    pub fn new(slots: u32) -> Self {
        let turns = Turns::new(slots.max(1) as usize);
        Attempts { turns, generation: 0, jobs: BTreeMap::new(), attempts: BTreeMap::new() }
    }

    /// What a worker that is to end waits for.
    pub fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        for attempt in self.attempts.values() {
            let Attempt { state, report, task, .. } = attempt;
            let has_segments = |o: &OutputReport| matches!(o, OutputReport::Edge(segments) if !segments.is_empty());
            let is_sink = |o: &TaskOutput| matches!(o, TaskOutput::Sink { .. });
            match (state, report) {
                (State::Done | State::Published, Some(r)) if r.outputs.iter().any(has_segments) => needs.served += 1,
                (State::Done, _) if task.outputs.iter().any(is_sink) => needs.unpublished += 1,
                (State::Done | State::Published, _) => {}
                (State::Granted, _) => needs.unpublished += 1,
                _ => needs.running += 1,
            }
        }
        needs
    }

    /// Whether no attempt runs or will run.
    pub fn nothing_runs(&self) -> bool {
        self.turns.iter().next().is_none()
    }

    /// The task of an attempt that is here.
    pub fn task(&self, attempt: AttemptId) -> Option<&Task> {
        self.attempts.get(&attempt).map(|a| &*a.task)
    }

    /// What the coordinator is to be told when a session begins: every attempt that is here, with its report once it is
    /// done. Those that are not come in the order of their turns. Those that are being stopped are not named: nobody waits
    /// for them.
    pub fn inventory(&self) -> impl Iterator<Item = (AttemptId, Option<&TaskReport>)> {
        let done = self.attempts.iter().filter_map(|(id, a)| Some((*id, Some(a.report.as_ref()?))));
        done.chain(self.turns.iter().map(|id| (id, None)))
    }

    /// Attempts that run or will, and whether each waits to be given to an executor.
    pub fn here(&self) -> impl Iterator<Item = (AttemptId, bool)> {
        self.turns.iter().map(|id| (id, self.attempts.get(&id).is_none_or(|a| a.state != State::Running)))
    }

    /// What a finished attempt reported.
    pub fn report(&self, attempt: AttemptId) -> Option<&TaskReport> {
        self.attempts.get(&attempt)?.report.as_ref()
    }

    /// Takes in one event; the actions are to be performed in order.
    pub fn step(&mut self, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        match event {
            Event::Assigned(task) => self.assigned(task, &mut out),
            Event::Staged(id) => self.becomes_ready(id, State::Staging, &mut out),
            Event::Cleared(id) => self.becomes_ready(id, State::Clearing, &mut out),
            Event::StageFailed(id, error) => {
                if self.attempts.get(&id).is_some_and(|a| a.state == State::Staging) {
                    let report = match error {
                        StageError::Failed(failure) => Report::Failed(id, failure),
                        StageError::SegmentLost(segment, failure) => {
                            Report::SegmentLost { reader: id, segment: *segment, failure }
                        }
                    };
                    self.forget(id, &mut out);
                    out.push(Action::Report(report));
                }
            }
            Event::ExecutorReady { job, generation } => {
                if let Some(j) = self.jobs.get_mut(&job)
                    && matches!(j.executor, Executor::Starting { generation: g } if g == generation)
                {
                    j.executor = Executor::Ready { generation, running: BTreeSet::new(), condemned: false };
                    j.killed_starts = 0;
                    self.dispatch(job, &mut out);
                }
            }
            Event::ExecutorNotStarted { job, generation, failure, killed } => {
                self.not_started(job, generation, failure, killed, &mut out)
            }
            Event::ExecutorEnded { job, generation, exit } => self.ended(job, generation, exit, &mut out),
            Event::TaskDone { generation, attempt, report } => self.task_done(generation, attempt, report, &mut out),
            Event::TaskFailed { generation, attempt, failure, segment } => {
                self.task_failed(generation, attempt, failure, segment, &mut out)
            }
            Event::TaskOverdue { generation, attempt, failure } => {
                let here = self.running(generation, attempt.task.job).is_some_and(|r| r.contains(&attempt));
                if let Some(a) = self.attempts.get_mut(&attempt).filter(|a| here && a.state == State::Running) {
                    // It may not even notice that it shall stop: then its executor goes, and its neighbours run again.
                    a.state = State::Cancelling;
                    a.place.take().into_iter().for_each(|place| self.turns.leave(place));
                    out.push(Action::Report(Report::Failed(attempt, failure)));
                    out.push(Action::Cancel(attempt));
                }
            }
            Event::Granted(id) => self.granted(id, &mut out),
            Event::Published(id) => {
                if let Some(a) = self.attempts.get_mut(&id).filter(|a| a.state == State::Granted) {
                    a.state = State::Published;
                    out.push(Action::Report(Report::Published(id)));
                }
            }
            Event::PublishFailed(id, failure) => {
                if let Some(a) = self.attempts.get_mut(&id).filter(|a| a.state == State::Granted) {
                    a.state = State::Done;
                    out.push(Action::Report(Report::PublishFailed(id, failure)));
                }
            }
            Event::Revoked(id) => self.revoked(id, &mut out),
            Event::CancelOverdue(id) => {
                if self.attempts.get(&id).is_some_and(|a| a.state == State::Cancelling)
                    && let Some(j) = self.jobs.get_mut(&id.task.job)
                    && let Executor::Ready { condemned, .. } = &mut j.executor
                    && !std::mem::replace(condemned, true)
                {
                    out.push(Action::KillExecutor(id.task.job));
                }
            }
            Event::JobDropped(job) => self.drop_job(job, false, &mut out),
            Event::Kept(id, report) => {
                let task = Task { attempt: id, inputs: Vec::new(), outputs: Vec::new(), job_input_bytes: 0 };
                let (task, report) = (Box::new(task), Some(report));
                let kept = Attempt { task, state: State::Done, place: None, report };
                self.attempts.insert(id, kept);
                self.jobs.entry(id.task.job).or_default();
                out.push(Action::Serve(id));
            }
            Event::Stopping => {
                for job in self.jobs.keys().copied().collect::<Vec<_>>() {
                    self.drop_job(job, true, &mut out);
                }
            }
        }
        for id in self.turns.moved_up() {
            if self.attempts.get(&id).is_some_and(|a| a.state == State::Ready) {
                self.dispatch(id.task.job, &mut out);
            }
        }
        out
    }

    fn assigned(&mut self, task: Box<Task>, out: &mut Vec<Action>) {
        let id = task.attempt;
        if self.attempts.contains_key(&id) {
            return;
        }
        let place = Some(self.turns.enter(id));
        let attempt = Attempt { task: task.clone(), state: State::Staging, place, report: None };
        self.attempts.insert(id, attempt);
        self.jobs.entry(id.task.job).or_default().assigned = true;
        out.push(Action::Stage(task));
        // The executor starts while inputs are staged.
        self.dispatch(id.task.job, out);
    }

    fn not_started(&mut self, job: JobId, generation: u64, failure: Failure, killed: bool, out: &mut Vec<Action>) {
        let Some(j) = self.jobs.get_mut(&job) else { return };
        if !matches!(j.executor, Executor::Starting { generation: g } if g == generation) {
            return;
        }
        j.executor = Executor::None;
        if killed {
            j.killed_starts += 1;
            if j.killed_starts < KILLED_STARTS_MAX {
                return self.dispatch(job, out);
            }
        }
        for id in std::mem::take(&mut j.ready) {
            self.forget(id, out);
            out.push(Action::Report(Report::Failed(id, failure.clone())));
        }
        // Attempts that are still being staged or cleared start the next executor when they are ready, and fail with it.
    }

    fn ended(&mut self, job: JobId, generation: u64, exit: Exit, out: &mut Vec<Action>) {
        let Some(j) = self.jobs.get_mut(&job) else { return };
        let (running, condemned) = match &mut j.executor {
            Executor::Ready { generation: g, running, condemned } if *g == generation => {
                (std::mem::take(running), *condemned)
            }
            _ => return,
        };
        j.executor = Executor::None;
        let (stopped, left): (Vec<_>, Vec<_>) =
            running.into_iter().partition(|id| self.attempts.get(id).is_none_or(|a| a.state == State::Cancelling));
        // Whoever was told to stop may as well have been the one that crashed.
        let alone = left.len() == 1 && stopped.is_empty();
        let guilty = exit.guilty.filter(|id| left.contains(id) || stopped.contains(id));
        let innocent = condemned || exit.ours;
        j.stuck = if exit.stuck { j.stuck + 1 } else { 0 };
        let gives_up = j.stuck >= STUCK_MAX;
        for id in stopped {
            self.forget(id, out);
        }
        for id in left {
            let known = match guilty {
                Some(guilty) => guilty == id,
                None => alone && (exit.own_doing || self.is_suspect(id)),
            };
            if known && !innocent || gives_up {
                self.forget(id, out);
                out.push(Action::Report(Report::Failed(id, exit.failure.clone())));
                continue;
            }
            let (Some(a), Some(j)) = (self.attempts.get_mut(&id), self.jobs.get_mut(&job)) else { continue };
            a.state = State::Clearing;
            out.push(Action::Clear(id));
            if !innocent && guilty.is_none() {
                j.suspects.insert(id.task);
            }
        }
        self.dispatch(job, out);
    }

    fn task_done(&mut self, generation: u64, id: AttemptId, report: TaskReport, out: &mut Vec<Action>) {
        if !self.finished_running(generation, id) {
            return;
        }
        let Some(a) = self.attempts.get_mut(&id) else { return };
        if a.state == State::Cancelling {
            self.forget(id, out);
        } else if !fits(&a.task.outputs, &report.outputs) {
            self.forget(id, out);
            let message = format!("attempt {id} reported outputs that are not those of its task");
            out.push(Action::Report(Report::Failed(id, Failure::new(Code::ExecutorProtocol, message))));
        } else {
            a.state = State::Done;
            a.place.take().into_iter().for_each(|place| self.turns.leave(place));
            a.report = Some(report.clone());
            let cleared = self.jobs.get_mut(&id.task.job).is_some_and(|j| {
                j.stuck = 0;
                j.suspects.remove(&id.task)
            });
            out.push(Action::Serve(id));
            out.push(Action::Report(Report::Done(id, report)));
            out.push(Action::RemoveInputs(id));
            if cleared {
                self.renew_for_suspects(id.task.job, out);
            }
        }
        self.dispatch(id.task.job, out);
    }

    fn task_failed(
        &mut self,
        generation: u64,
        id: AttemptId,
        failure: Failure,
        segment: Option<(u32, u32)>,
        out: &mut Vec<Action>,
    ) {
        if !self.finished_running(generation, id) {
            return;
        }
        let Some(a) = self.attempts.get(&id) else { return };
        let cancelled = a.state == State::Cancelling;
        let segment = segment.and_then(|(input, index)| match a.task.inputs.get(input as usize)? {
            TaskInput::Segments(refs) => refs.get(index as usize).copied(),
            _ => None,
        });
        self.forget(id, out);
        if !cancelled {
            out.push(Action::Report(match segment {
                Some(segment) => Report::SegmentLost { reader: id, segment, failure },
                None => Report::Failed(id, failure),
            }));
        }
        self.dispatch(id.task.job, out);
    }

    fn granted(&mut self, id: AttemptId, out: &mut Vec<Action>) {
        // Every grant is answered; one for an attempt that is not done here was meant for another life of it.
        let done = |a: &&mut Attempt| matches!(a.state, State::Done | State::Granted | State::Published);
        let Some(a) = self.attempts.get_mut(&id).filter(done) else {
            let failure = Failure::new(Code::StaleAttempt, format!("attempt {id} is not done on this worker"));
            return out.push(Action::Report(Report::PublishFailed(id, failure)));
        };
        match a.state {
            State::Published => out.push(Action::Report(Report::Published(id))),
            State::Done => {
                let sinks = a.task.outputs.iter().filter_map(|output| match output {
                    TaskOutput::Sink { sink } => Some(*sink),
                    TaskOutput::Edge { .. } | TaskOutput::Broadcast => None,
                });
                let sinks: Vec<u32> = sinks.collect();
                if sinks.is_empty() {
                    a.state = State::Published;
                    out.push(Action::Report(Report::Published(id)));
                } else {
                    a.state = State::Granted;
                    out.push(Action::Publish { attempt: id, sinks });
                }
            }
            _ => {}
        }
    }

    /// The attempt may run now, if that is what it was at.
    fn becomes_ready(&mut self, id: AttemptId, from: State, out: &mut Vec<Action>) {
        let Some(a) = self.attempts.get_mut(&id).filter(|a| a.state == from) else { return };
        a.state = State::Ready;
        if let Some(j) = self.jobs.get_mut(&id.task.job) {
            match from {
                // It came before those that have not run yet.
                State::Clearing => j.ready.push_front(id),
                _ => j.ready.push_back(id),
            }
        }
        self.dispatch(id.task.job, out);
    }

    fn revoked(&mut self, id: AttemptId, out: &mut Vec<Action>) {
        let Some(a) = self.attempts.get_mut(&id) else { return };
        match a.state {
            State::Running => {
                a.state = State::Cancelling;
                a.place.take().into_iter().for_each(|place| self.turns.leave(place));
                out.push(Action::Withdraw(id));
            }
            State::Cancelling => {}
            _ => {
                if let Some(j) = self.jobs.get_mut(&id.task.job) {
                    j.ready.retain(|r| *r != id);
                }
                self.forget(id, out);
                self.dispatch(id.task.job, out);
            }
        }
    }

    fn drop_job(&mut self, job: JobId, at_once: bool, out: &mut Vec<Action>) {
        if self.jobs.remove(&job).is_some() {
            self.attempts.retain(|id, _| id.task.job != job);
            self.turns.leave_all(job);
            out.push(Action::DropJob { job, at_once });
        }
    }

    /// Takes the attempt off its executor, if it is of this generation and really had it.
    fn finished_running(&mut self, generation: u64, id: AttemptId) -> bool {
        self.running(generation, id.task.job).is_some_and(|running| running.remove(&id))
    }

    /// What the executor of this generation runs, if it is the job's present one.
    fn running(&mut self, generation: u64, job: JobId) -> Option<&mut BTreeSet<AttemptId>> {
        match &mut self.jobs.get_mut(&job)?.executor {
            Executor::Ready { generation: g, running, .. } if *g == generation => Some(running),
            _ => None,
        }
    }

    fn forget(&mut self, id: AttemptId, out: &mut Vec<Action>) {
        let place = self.attempts.remove(&id).and_then(|a| a.place);
        place.into_iter().for_each(|place| self.turns.leave(place));
        out.push(Action::Remove(id));
        let job = id.task.job;
        // Of a job that only an earlier life knew nobody will say that it is over.
        let left_over = self.jobs.get(&job).is_some_and(|j| !j.assigned);
        if left_over && !self.attempts.keys().any(|a| a.task.job == job) {
            self.drop_job(job, false, out);
        }
    }

    /// Suspects run alone, and each in a process of its own: what one of them has left in it is not the next one's fault.
    fn renew_for_suspects(&mut self, job: JobId, out: &mut Vec<Action>) {
        let Some(j) = self.jobs.get_mut(&job) else { return };
        let waits = |a: &Attempt| matches!(a.state, State::Clearing | State::Ready);
        let more = of_job(&self.attempts, job).any(|(id, a)| waits(a) && j.suspects.contains(&id.task));
        if let Executor::Ready { running, condemned, .. } = &mut j.executor
            && more
            && running.is_empty()
            && !std::mem::replace(condemned, true)
        {
            out.push(Action::KillExecutor(job));
        }
    }

    fn is_suspect(&self, id: AttemptId) -> bool {
        self.jobs.get(&id.task.job).is_some_and(|j| j.suspects.contains(&id.task))
    }

    /// Starts an executor if there is work for one, and gives it what it may have. Suspects go first and alone.
    fn dispatch(&mut self, job: JobId, out: &mut Vec<Action>) {
        let last = self.turns.last_with_slot();
        let has_slot = |attempts: &BTreeMap<AttemptId, Attempt>, id: &AttemptId| {
            attempts.get(id).is_some_and(|a| a.place.is_some() && a.place <= last)
        };
        let Some(j) = self.jobs.get_mut(&job) else { return };
        match &mut j.executor {
            Executor::None => {
                let wanted = |a: &Attempt| matches!(a.state, State::Staging | State::Clearing | State::Ready);
                if of_job(&self.attempts, job).any(|(_, a)| wanted(a)) {
                    self.generation += 1;
                    j.executor = Executor::Starting { generation: self.generation };
                    out.push(Action::StartExecutor { job, generation: self.generation });
                }
            }
            Executor::Starting { .. } | Executor::Ready { condemned: true, .. } => {}
            Executor::Ready { running, .. } => loop {
                let suspect_runs = running.iter().any(|id| j.suspects.contains(&id.task));
                if suspect_runs || running.len() >= self.turns.slots() {
                    break;
                }
                let suspects = |id: &AttemptId| has_slot(&self.attempts, id) && j.suspects.contains(&id.task);
                let suspect = j.ready.iter().position(suspects);
                if suspect.is_some() && !running.is_empty() {
                    break;
                }
                let next = suspect.or_else(|| j.ready.iter().position(|id| has_slot(&self.attempts, id)));
                let Some(id) = next.and_then(|next| j.ready.remove(next)) else { break };
                let Some(a) = self.attempts.get_mut(&id) else { continue };
                a.state = State::Running;
                running.insert(id);
                out.push(Action::Run(id));
            },
        }
    }
}

fn of_job(attempts: &BTreeMap<AttemptId, Attempt>, job: JobId) -> impl Iterator<Item = (&AttemptId, &Attempt)> {
    let first = AttemptId {
        task: TaskId { job, stage: windrow_model::StageId(0), index: 0 },
        number: 0,
        epoch: windrow_model::Epoch(0),
        incarnation: windrow_model::Incarnation(0),
    };
    attempts.range(first..).take_while(move |(id, _)| id.task.job == job)
}

/// Whether a report has one answer of the right kind for each of the task's outputs.
fn fits(outputs: &[TaskOutput], reports: &[OutputReport]) -> bool {
    outputs.len() == reports.len()
        && outputs.iter().zip(reports).all(|pair| match pair {
            (TaskOutput::Edge { partitions }, OutputReport::Edge(segments)) => {
                segments.iter().all(|s| s.partition < *partitions)
            }
            (TaskOutput::Broadcast, OutputReport::Broadcast(_)) => true,
            (TaskOutput::Sink { sink }, OutputReport::Sink(part)) => part.sink == *sink,
            _ => false,
        })
}

#[cfg(test)]
#[path = "attempts_tests.rs"]
mod tests;
