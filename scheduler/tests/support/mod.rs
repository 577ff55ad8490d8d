//! A small harness: a scheduler with the attempts it has assigned, on plans from short words.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::sync::Arc;
use windrow_model::*;
use windrow_scheduler::{
    Action, Config, Event, HeldAttempt, RestoredJob, RestoredSplit, RestoredTask, Scheduler, StageChunks, Tally,
};
pub use windrow_sim::samples::*;

/// A scheduler, and the attempts that it has assigned and not revoked, in order of assignment.
pub struct Harness {
    pub scheduler: Scheduler,
    pub now: Time,
    pub assigned: Vec<(WorkerId, Task)>,
    pub ended: BTreeMap<JobId, JobStatus>,
    /// The published tasks that a journal would hold.
    pub recorded: Vec<RestoredTask>,
    /// The charged failures that a journal would hold.
    pub failures: Vec<(TaskId, u32)>,
    /// The changes of workers that the log would hold.
    pub changes: Vec<(WorkerId, WorkerState, Option<String>)>,
    /// The uncharged counts that a journal would hold, the latest by task.
    pub uncharged: BTreeMap<TaskId, Tally>,
    /// Every table that came with an assignment.
    pub tables: BTreeMap<(JobId, StageId, TableVersion), Arc<StageOutputs>>,
}

/// No attempt is prefetched: most tests are about who gets a slot.
pub fn slots_only() -> Config {
    Config { prefetch_per_slot: 0, ..Config::default() }
}

impl Harness {
    pub fn new() -> Self {
        Self::with(Config { lease_ms: u64::MAX, ..slots_only() })
    }

    pub fn with(config: Config) -> Self {
        Self::in_epoch(config, 1)
    }

    pub fn in_epoch(config: Config, epoch: u64) -> Self {
        let scheduler = Scheduler::new(config, Epoch(epoch));
        let (assigned, ended) = (Vec::new(), BTreeMap::new());
        let (recorded, failures, changes, uncharged, tables) = Default::default();
        Harness { scheduler, now: Time(0), assigned, ended, recorded, failures, changes, uncharged, tables }
    }

    /// The actions, without those that are for the journal or the log.
    pub fn step(&mut self, event: Event) -> Vec<Action> {
        let mut actions = self.scheduler.step(self.now, event);
        self.scheduler.check().expect("the invariants hold");
        actions.retain(|action| match action {
            Action::Published { worker, attempt, report } => {
                self.recorded.push(RestoredTask { worker: *worker, attempt: *attempt, report: (**report).clone() });
                false
            }
            Action::Charged { task, failures } => {
                self.failures.push((*task, *failures));
                false
            }
            Action::WorkerChanged { worker, state, reason } => {
                self.changes.push((*worker, *state, reason.clone()));
                false
            }
            Action::Uncharged { task, tally } => {
                self.uncharged.insert(*task, tally.clone());
                false
            }
            _ => true,
        });
        for action in &actions {
            match action {
                Action::Assign { worker, task, tables } => {
                    self.assigned.push((*worker, (**task).clone()));
                    for table in tables {
                        let known = self.tables.entry((table.job, table.stage, table.version)).or_insert(table.clone());
                        assert_eq!(known, table, "tables of one version are equal");
                    }
                }
                Action::Revoke { attempt, .. } => self.assigned.retain(|(_, t)| t.attempt != *attempt),
                Action::JobEnded { job, status, .. } => {
                    assert!(self.ended.insert(*job, (**status).clone()).is_none(), "a job ends once");
                }
                _ => {}
            }
        }
        actions
    }

    pub fn join(&mut self, n: u8, slots: u32) -> Vec<Action> {
        self.join_as(n, slots, 1)
    }

    pub fn join_as(&mut self, n: u8, slots: u32, incarnation: u64) -> Vec<Action> {
        self.join_holding(n, slots, incarnation, Vec::new())
    }

    /// A worker registers with its inventory.
    pub fn join_holding(&mut self, n: u8, slots: u32, incarnation: u64, held: Vec<HeldAttempt>) -> Vec<Action> {
        self.step(Event::WorkerJoined { node: node(n, slots, incarnation), held, left: Vec::new() })
    }

    pub fn leave(&mut self, n: u8) -> Vec<Action> {
        self.assigned.retain(|(w, _)| *w != worker_id(n));
        self.step(Event::WorkerLeft { worker: worker_id(n) })
    }

    pub fn submit(&mut self, n: u8, plan: Plan, chunk_counts: &[u32]) -> Vec<Action> {
        self.submit_with(n, plan, chunk_counts, JobOptions::default())
    }

    /// Submits and plans; `chunk_counts` has a number for each source stage in order.
    pub fn submit_with(&mut self, n: u8, plan: Plan, chunk_counts: &[u32], options: JobOptions) -> Vec<Action> {
        let stages = source_chunks(&plan, chunk_counts);
        let submitted = Event::Submitted { spec: Box::new(spec(n, plan, options)), unix_ms: 0 };
        assert_eq!(self.step(submitted), [Action::PlanJob { job: job_id(n) }]);
        self.step(Event::Planned { job: job_id(n), input_bytes: bytes_of(&stages), stages })
    }

    /// Takes the oldest attempt of this task that is assigned.
    pub fn take(&mut self, n: u8, stage: u32, index: u32) -> (WorkerId, Task) {
        let id = TaskId { job: job_id(n), stage: StageId(stage), index };
        let at = self.assigned.iter().position(|(_, t)| t.attempt.task == id);
        self.assigned.remove(at.unwrap_or_else(|| panic!("{id} is not assigned")))
    }

    /// The outputs that a task reads, in order.
    pub fn reads(&self, task: &Task) -> Vec<OutputRef> {
        let edges = task.inputs.iter().filter_map(|i| if let TaskInput::Edge(edge) = i { Some(edge) } else { None });
        let reads = edges.flat_map(|edge| &edge.ports).flat_map(|EdgePort { port, version, digest, .. }| {
            let table = &self.tables[&(task.attempt.task.job, port.stage, *version)];
            assert_eq!(table.digests[port.output as usize], *digest);
            let output = port.output;
            table.attempts().map(move |(worker, attempt)| OutputRef { worker, attempt, output })
        });
        reads.collect()
    }

    pub fn done(&mut self, worker: WorkerId, task: &Task) -> Vec<Action> {
        self.step(Event::AttemptDone { worker, attempt: task.attempt, report: report(task) })
    }

    /// Finishes a task with everything that follows: its publication too.
    pub fn finish(&mut self, n: u8, stage: u32, index: u32) -> Vec<Action> {
        let (worker, task) = self.take(n, stage, index);
        let mut actions = self.done(worker, &task);
        if actions.iter().any(|a| matches!(a, Action::Grant { attempt, .. } if *attempt == task.attempt)) {
            actions.extend(self.step(Event::Published { worker, attempt: task.attempt }));
        }
        actions
    }

    pub fn fail(&mut self, n: u8, stage: u32, index: u32, code: Code) -> Vec<Action> {
        let (worker, task) = self.take(n, stage, index);
        self.step(Event::AttemptFailed { worker, attempt: task.attempt, failure: failure(code) })
    }

    /// Finishes assigned attempts until there are none.
    pub fn finish_all(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some((_, task)) = self.assigned.first() {
            let id = task.attempt.task;
            let n = id.job.as_bytes()[0];
            actions.extend(self.finish(n, id.stage.0, id.index));
        }
        actions
    }

    pub fn commit(&mut self, n: u8) -> Vec<Action> {
        self.step(Event::Committed { job: job_id(n) })
    }

    pub fn status(&self, n: u8) -> JobStatus {
        self.scheduler.status(job_id(n), self.now).expect("the job is known")
    }

    /// `stage/index@worker` of everything assigned, sorted.
    pub fn running(&self) -> Vec<String> {
        let mut all: Vec<String> = self.assigned.iter().map(|(w, t)| place(*w, t)).collect();
        all.sort();
        all
    }

    /// Moves time to the next deadline and ticks.
    pub fn tick(&mut self) -> Vec<Action> {
        self.now = self.scheduler.next_deadline().expect("something is due some time");
        self.step(Event::Tick)
    }
}

/// The chunks of each source stage of a plan, in order.
pub fn source_chunks(plan: &Plan, chunk_counts: &[u32]) -> Vec<StageChunks> {
    let sources = plan.stages.iter().enumerate().filter(|(_, s)| s.source().is_some());
    sources.zip(chunk_counts).map(|((i, _), n)| chunks(i as u32, *n)).collect()
}

pub fn bytes_of(stages: &[StageChunks]) -> u64 {
    stages.iter().flat_map(|s| &s.chunks).map(Chunk::length).sum()
}

/// Job 1 as a journal holds it: split in epoch 1 into these chunks, without results or failures.
pub fn restored_job(plan: Plan, chunk_counts: &[u32]) -> RestoredJob {
    let stages = source_chunks(&plan, chunk_counts);
    let split = Some(RestoredSplit { epoch: Epoch(1), input_bytes: bytes_of(&stages), auto_partitions: 1, stages });
    RestoredJob { split, ..restored(spec(1, plan, JobOptions::default())) }
}

pub fn place(worker: WorkerId, task: &Task) -> String {
    format!("{}/{}@{}", task.attempt.task.stage, task.attempt.task.index, worker.as_bytes()[0])
}

pub fn held_running(task: &Task) -> HeldAttempt {
    HeldAttempt { attempt: task.attempt, report: None }
}

pub fn held_done(task: &Task) -> HeldAttempt {
    HeldAttempt { attempt: task.attempt, report: Some(report(task)) }
}

/// What an action list assigns, in order: `stage/index@worker`.
pub fn assigns(actions: &[Action]) -> Vec<String> {
    let of = |a: &Action| match a {
        Action::Assign { worker, task, .. } => Some(place(*worker, task)),
        _ => None,
    };
    actions.iter().filter_map(of).collect()
}
