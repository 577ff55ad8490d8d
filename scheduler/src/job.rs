//! A job that has not ended: its stages, its queued attempts, its limits and its results.
//!
//! `lifecycle.rs` decides when a job changes its state and how it ends. This file does not interpret failures.

use crate::action::Collected;
use crate::event::StageChunks;
use crate::fetch_failures::FetchFailures;
use crate::note::{Note, Notes};
use crate::planned_bytes::{check_tasks, planned_bytes};
use crate::planted::{self, Planted};
use crate::queue::Turn;
use crate::stage::Stage;
use crate::task::Run;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use windrow_model::{
    BadRecord, Chunk, Code, Counters, Digest, Epoch, FailedAttempt, Failure, JobSpec, JobState, Output,
    PartitionCounts, Plan, StageId, TaskOutput, Time, WorkerId,
};

/// A job that has not ended.
pub(crate) struct Job {
    pub spec: Box<JobSpec>,
    /// Position in the order of submission.
    pub seq: u64,
    /// The coordinator's epoch.
    pub epoch: Epoch,
    /// Sequence number of its last assignment, 0 before the first.
    pub served: u64,
    /// Planning, running or committing.
    pub state: JobState,
    pub submitted: Time,
    pub submitted_unix_ms: u64,
    /// Milliseconds that the job had existed before a restart.
    pub elapsed_before_ms: u64,
    pub input_bytes: u64,
    /// Partitions of `Auto` edges with which it began before a restart.
    pub restored_partitions: Option<u32>,
    /// An estimate of the memory of its tasks; 0 while planning.
    pub planned_bytes: u64,
    /// The epoch in which the inputs were cut: attempts of earlier epochs read other chunks.
    pub split_epoch: Epoch,
    /// Restored after a restart: no worker may ever report the outputs of some of its done tasks.
    pub restored: bool,
    /// Restored and still waiting for workers that may hold attempts or outputs of it: it starts nothing.
    pub held: bool,
    /// Its commit has begun: it can only succeed or fail.
    pub sealed: bool,
    /// What its commit waits for.
    pub commit_waits: Option<String>,
    /// As in the plan; empty while planning.
    pub stages: Vec<Stage>,
    pub stages_done: usize,
    /// Stages with a task that could be given to a worker now.
    pub runnable: BTreeSet<usize>,
    /// Number of running attempts that hold a slot.
    pub slots: u32,
    /// Attempts queued on workers: stage, place, task. Within a stage the latest assignment comes first.
    pub ahead: BTreeSet<(usize, Reverse<u64>, usize)>,
    /// Attempts taken off their workers' queues that must be revoked there.
    pub recalled: Vec<Run>,
    /// Attempts that have had a slot so far.
    pub attempts: u64,
    /// Backups among them, and how many of these run.
    pub backups: u64,
    pub backups_running: u64,
    pub counters: Counters,
    /// Bytes of collected results in the outputs of finished tasks.
    pub collected_bytes: u64,
    /// Results collected when its commit began in an earlier epoch.
    pub collected_before: Collected,
    /// The latest failed attempts, oldest first.
    pub failed: VecDeque<FailedAttempt>,
    /// Records that were set aside, in the order of discovery.
    pub bad_records: Vec<BadRecord>,
    /// Their places: each once, however many stages read it.
    pub bad_places: BTreeSet<(PathBuf, u64)>,
    /// The keys that were set aside, by stage.
    pub bad_keys: BTreeSet<(StageId, Digest)>,
    /// Every worker that ever got an attempt of the job.
    pub workers: BTreeSet<WorkerId>,
    pub fetch_failures: FetchFailures,
    /// Suspects that wait for a worker of their own: stage and task.
    pub suspects: BTreeSet<(usize, usize)>,
    /// Tasks (stage, number) with a counted loss of a worker that still may return.
    pub losses: BTreeMap<WorkerId, BTreeSet<(usize, usize)>>,
    /// Workers that do not see the job's files, with the failure that they reported.
    pub left_out: BTreeMap<WorkerId, Failure>,
    /// Tasks by the worker that made their latest outputs (stage, number): what may be lost with it.
    pub outputs_on: BTreeMap<WorkerId, BTreeSet<(usize, usize)>>,
    /// For its history.
    pub notes: Notes,
}

impl Job {
    pub(crate) fn new(spec: Box<JobSpec>, seq: u64, epoch: Epoch, submitted: Time, submitted_unix_ms: u64) -> Self {
        Job {
            spec,
            seq,
            epoch,
            served: 0,
            state: JobState::Planning,
            submitted,
            submitted_unix_ms,
            elapsed_before_ms: 0,
            input_bytes: 0,
            restored_partitions: None,
            planned_bytes: 0,
            split_epoch: Epoch::default(),
            restored: false,
            held: false,
            sealed: false,
            commit_waits: None,
            stages: Vec::new(),
            stages_done: 0,
            runnable: BTreeSet::new(),
            slots: 0,
            ahead: BTreeSet::new(),
            recalled: Vec::new(),
            attempts: 0,
            backups: 0,
            backups_running: 0,
            counters: Counters::default(),
            collected_bytes: 0,
            collected_before: Collected::new(),
            failed: VecDeque::new(),
            bad_records: Vec::new(),
            bad_places: BTreeSet::new(),
            bad_keys: BTreeSet::new(),
            workers: BTreeSet::new(),
            fetch_failures: FetchFailures::default(),
            suspects: BTreeSet::new(),
            losses: BTreeMap::new(),
            left_out: BTreeMap::new(),
            outputs_on: BTreeMap::new(),
            notes: Notes::default(),
        }
    }

    /// Its position in the queue; `None` if it cannot use a slot now.
    pub(crate) fn turn(&self) -> Option<Turn> {
        let options = &self.spec.options;
        let wants = self.state == JobState::Running
            && (!self.held || planted::has(Planted::NoWait))
            && !self.runnable.is_empty()
            && options.slots_max.is_none_or(|max| self.uses() < max);
        wants.then(|| self.claim())
    }

    /// Whether a task of it could run if there were workers.
    pub(crate) fn wants_workers(&self) -> bool {
        self.turn().is_some() || self.suspects_ready().next().is_some()
    }

    /// The position with which its queued attempts compete for free slots; `None` if there are none to move.
    pub(crate) fn turn_of_ahead(&self) -> Option<Turn> {
        let movable = !self.ahead.is_empty() && (!self.held || planted::has(Planted::HeldMoved));
        movable.then(|| self.claim())
    }

    /// Its position among the jobs, whether it can use a slot or not.
    pub(crate) fn claim(&self) -> Turn {
        let attempts = self.slots + self.ahead.len() as u32;
        Turn { priority: Reverse(self.spec.options.priority), attempts, served: self.served, seq: self.seq }
    }

    /// Attempts that count towards its limit of slots: running ones, and queued ones because each of them will get a
    /// slot.
    pub(crate) fn uses(&self) -> u32 {
        let waiting = if planted::has(Planted::WaitingUncounted) { 0 } else { self.ahead.len() as u32 };
        self.slots + waiting
    }

    /// The numbers of partitions for inputs of this many bytes.
    fn counts(&self, input_bytes: u64) -> PartitionCounts {
        let options = &self.spec.options;
        PartitionCounts::new(&self.spec.plan, options.partitions.or(self.restored_partitions), input_bytes)
    }

    /// The number of tasks that these inputs make, in all stages.
    pub(crate) fn planned_tasks(&self, input_bytes: u64, found: &[StageChunks]) -> u64 {
        let plan = &self.spec.plan;
        let counts = self.counts(input_bytes);
        found.iter().map(|stage| stage.chunks.len() as u64).sum::<u64>()
            + plan.stages.iter().filter_map(|s| plan.partitions_read(s)).map(|p| u64::from(counts.of(p))).sum::<u64>()
    }

    /// Creates the stages and tasks.
    pub(crate) fn start(&mut self, epoch: Epoch, input_bytes: u64, found: Vec<StageChunks>) -> Result<(), Failure> {
        let wrong = |what: String| Failure::new(Code::Internal, format!("the inputs were split wrongly: {what}"));
        let all = self.planned_tasks(input_bytes, &found);
        check_tasks(all)?;
        let kept_bytes = planned_bytes(all, &found);
        let mut found: BTreeMap<StageId, Vec<Chunk>> = found.into_iter().map(|s| (s.stage, s.chunks)).collect();
        let counts = self.counts(input_bytes);
        let count = |partitions| counts.of(partitions);
        let plan = &self.spec.plan;
        let mut readers = readers(plan);
        for (at, stage) in plan.stages.iter().enumerate() {
            let id = StageId(at as u32);
            let outputs = stage.outputs.iter().map(|o| match o {
                Output::Edge { partitions, .. } => TaskOutput::Edge { partitions: count(*partitions) },
                Output::Broadcast => TaskOutput::Broadcast,
                Output::Sink { sink } => TaskOutput::Sink { sink: *sink },
            });
            let (tasks, chunks) = if stage.source().is_some() {
                let chunks = found.remove(&id).ok_or_else(|| wrong(format!("no chunks for stage {id}")))?;
                (chunks.len(), chunks)
            } else {
                (plan.partitions_read(stage).map_or(0, count) as usize, Vec::new())
            };
            let readers = std::mem::take(&mut readers[at]);
            self.stages.push(Stage::new(plan, at, readers, outputs.collect(), tasks, chunks));
        }
        if let Some(stage) = found.keys().next() {
            return Err(wrong(format!("stage {stage} has no source")));
        }
        self.input_bytes = input_bytes;
        self.planned_bytes = kept_bytes;
        self.split_epoch = epoch;
        self.state = JobState::Running;
        let stages = &self.stages;
        self.notes.add(|| Note::Planned { input_bytes, tasks: stages.iter().map(|s| s.tasks.len() as u32).collect() });
        for s in 0..self.stages.len() {
            if self.stages[s].blocked_by == 0 && self.stages[s].links.producers.is_empty() {
                self.notes.add(|| Note::StageOpened { stage: StageId(s as u32) });
            }
            if self.stages[s].tasks.is_empty() {
                self.stage_finished(s);
            } else if self.stages[s].is_runnable() {
                self.runnable.insert(s);
            }
        }
        Ok(())
    }
}

/// The positions of the readers of each stage, in one pass over the plan.
fn readers(plan: &Plan) -> Vec<Vec<usize>> {
    let mut readers = vec![Vec::new(); plan.stages.len()];
    for (reader, stage) in plan.stages.iter().enumerate() {
        for port in stage.reads() {
            let of: &mut Vec<usize> = &mut readers[port.stage.0 as usize];
            // Its reads come one after the other: it is the last one if it is there.
            if of.last() != Some(&reader) {
                of.push(reader);
            }
        }
    }
    readers
}
