//! A stage: its tasks, their queues and counts.
//!
//! A stage is blocked while a stage that it reads is not done, and done when all of its tasks are. A stage without
//! tasks (a source without chunks) is done from the start. `transitions.rs` changes it.

use crate::planted::{self, Planted};
use crate::port_sizes::PortSizes;
use crate::speculate::Durations;
use crate::stage_inputs::StageInputs;
use crate::tasks::Tasks;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use windrow_model::{Chunk, Digest, Input, Plan, StageOutputs, TaskOutput, WorkerId, total};

/// The stages that this one reads and that read it, by position, each named once.
#[derive(Default)]
pub(crate) struct Links {
    pub producers: Vec<usize>,
    pub readers: Vec<usize>,
    /// Those linked by edges, whose outputs can be lost; broadcasts cannot.
    pub edge_producers: Vec<usize>,
    pub edge_readers: Vec<usize>,
}

pub(crate) struct Stage {
    pub tasks: Tasks,
    /// One for each task of a source stage; empty for others.
    pub chunks: Vec<Chunk>,
    /// Keys that tasks leave out because they made them fail, in ascending order, by the index of the task.
    pub skip_keys: BTreeMap<usize, Vec<Digest>>,
    pub outputs: Vec<TaskOutput>,
    /// It gives the same output for the same records.
    pub deterministic: bool,
    pub links: Links,
    /// Number of producing stages that are not done.
    pub blocked_by: usize,
    /// Tasks that wait for any worker.
    pub waiting: BTreeSet<usize>,
    /// Waiting tasks that avoid a worker on which they failed.
    pub picky: BTreeSet<usize>,
    pub done: usize,
    /// Number of tasks with a known output, including outputs that are lost by now.
    pub known_outputs: usize,
    /// Number of tasks with an attempt that runs or publishes.
    pub running: usize,
    /// Number of attempts that failed and were charged.
    pub failed: u64,
    pub bytes_done: u64,
    pub bytes_total: u64,
    /// Bytes that running attempts have read, by their latest reports: the sum over the tasks.
    pub bytes_running: u64,
    /// Records that the latest attempts of its tasks have read: the sum over the tasks.
    pub records: u64,
    /// Durations of its finished attempts.
    pub durations: Durations,
    /// Outputs of its tasks that readers found damaged, by the worker that held them, since all outputs there were made anew.
    pub damaged: BTreeMap<WorkerId, u32>,
    /// How often it was done and had to be reopened: its outputs are unchanged while this number is.
    pub reopened: u64,
    /// For each output, the sums of the hints in reports.
    pub sizes: Vec<Option<Box<PortSizes>>>,
    /// The attempts that count, while it is done: made when a reader first needs it.
    pub table: Option<Arc<StageOutputs>>,
    /// What it reads from other stages, while those are done: made when one of its tasks first needs it.
    pub inputs: Option<StageInputs>,
}

impl Stage {
    /// `tasks` is the number of tasks, `chunks` has one for each if it is a source stage. `readers` are the positions of the
    /// stages that read it.
    pub(crate) fn new(
        plan: &Plan,
        at: usize,
        readers: Vec<usize>,
        outputs: Vec<TaskOutput>,
        tasks: usize,
        chunks: Vec<Chunk>,
    ) -> Self {
        let stage = &plan.stages[at];
        let once = |set: BTreeSet<usize>| -> Vec<usize> { set.into_iter().collect() };
        let edges_of = |reader: usize| {
            plan.stages[reader].inputs.iter().flat_map(|i| match i {
                Input::Edge { from } => &from[..],
                Input::Source(_) | Input::Broadcast { .. } => &[],
            })
        };
        let reads_edge = |r: &usize| edges_of(*r).any(|p| p.stage.0 as usize == at);
        let links = Links {
            producers: once(stage.reads().map(|p| p.stage.0 as usize).collect()),
            edge_readers: readers.iter().copied().filter(reads_edge).collect(),
            readers,
            edge_producers: once(edges_of(at).map(|p| p.stage.0 as usize).collect()),
        };
        Stage {
            tasks: Tasks::new(tasks),
            deterministic: stage.deterministic,
            bytes_total: total(chunks.iter().map(Chunk::length)),
            bytes_running: 0,
            records: 0,
            chunks,
            skip_keys: BTreeMap::new(),
            blocked_by: links.producers.len(),
            links,
            waiting: (0..tasks).collect(),
            picky: BTreeSet::new(),
            done: 0,
            known_outputs: 0,
            running: 0,
            failed: 0,
            bytes_done: 0,
            durations: Durations::default(),
            damaged: BTreeMap::new(),
            reopened: 0,
            sizes: outputs.iter().map(|_| None).collect(),
            table: None,
            inputs: None,
            outputs,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done == self.tasks.len()
    }

    pub(crate) fn has_sink(&self) -> bool {
        self.outputs.iter().any(|o| matches!(o, TaskOutput::Sink { .. }))
    }

    /// Whether a task could be given to a worker now.
    pub(crate) fn is_runnable(&self) -> bool {
        (self.blocked_by == 0 || planted::has(Planted::NoBarrier))
            && !(self.waiting.is_empty() && self.picky.is_empty())
    }
}
