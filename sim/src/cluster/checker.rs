//! What must hold at all times and the scheduler cannot check itself, because it does not see the files.

use super::Cluster;
use crate::samples::blob;
use crate::workload::writes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use windrow_model::*;
use windrow_scheduler::{Action, Collected, CollectedBlob, RestoredJob};

impl Cluster {
    /// A task that only writes parts is not run again once it is on record that they are staged.
    pub(crate) fn check_not_recorded(&self, task: &Task) {
        let only_sinks = task.outputs.iter().all(|o| matches!(o, TaskOutput::Sink { .. }));
        let recorded = |job: &RestoredJob| job.published.iter().any(|p| p.attempt.task == task.attempt.task);
        let known = self.journal.get(&task.attempt.task.job).is_some_and(recorded);
        assert!(!(only_sinks && known), "a recorded task runs again: {task:?}");
    }

    /// Once a worker has read all its messages, it has at most as many attempts as slots and prefetch places, and no two of one
    /// task.
    pub(crate) fn check_slots(&mut self, worker: WorkerId, new: &Task) {
        let node = &self.nodes[&worker];
        if node.up && !node.session {
            // It gave up its session, so messages to it are lost.
            return;
        }
        let mut runs: BTreeSet<AttemptId> = node.worker.here().into_iter().collect();
        for unread in &node.inbox {
            match unread {
                Action::Assign { task, .. } => drop(runs.insert(task.attempt)),
                Action::Revoke { attempt, .. } => drop(runs.remove(attempt)),
                Action::JobEnded { job, .. } => runs.retain(|a| a.task.job != *job),
                _ => {}
            }
        }
        runs.retain(|a| a.incarnation == new.attempt.incarnation);
        assert!(runs.iter().all(|a| a.task != new.attempt.task), "{worker} has it already: {new:?}");
        let slots = node.slots as usize;
        let most = slots * (1 + self.config.prefetch_per_slot as usize);
        assert!(runs.len() < most, "{worker} has no place for {new:?}: {runs:?}");
        self.ahead += u64::from(runs.len() >= slots);
    }

    /// The worker's lease ends before the coordinator counts the worker as lost.
    pub(crate) fn check_lease(&self, lost: WorkerId, about: Option<WorkerId>) {
        let node = &self.nodes[&lost];
        if self.kinds.executors && node.session && about != Some(lost) {
            assert!(node.lease.has_run_out(self.now), "{lost} is lost and its lease has {node:?}");
        }
    }

    pub(crate) fn tasks_of(&self, job: JobId, stage: StageId) -> u32 {
        let (plan, counts) = &self.plans[&job];
        match plan.partitions_read(plan.stage(stage)) {
            Some(partitions) => PartitionCounts::new(plan, None, 0).of(partitions),
            None => {
                let nth = plan.stages[..stage.0 as usize].iter().filter(|s| s.source().is_some()).count();
                counts[nth]
            }
        }
    }

    /// A task gets the tables of all that it reads, in order, after any faults.
    pub(crate) fn check_inputs(&self, task: &Task, tables: &[Arc<StageOutputs>]) {
        let id = task.attempt.task;
        for (input, got) in self.plans[&id.job].0.stage(id.stage).inputs.iter().zip(&task.inputs) {
            match (input, got) {
                (Input::Source(_), TaskInput::Chunk(chunk)) => assert_eq!(chunk.part, id.index),
                (Input::Edge { from }, TaskInput::Edge(edge)) => {
                    assert!(edge.ports.iter().map(|port| port.port).eq(from.iter().copied()), "{task:?}");
                    for port in &edge.ports {
                        let table = tables.iter().find(|table| table.stage == port.port.stage);
                        self.check_table(table.expect("its table is given"), id.job, port);
                    }
                }
                (Input::Broadcast { from }, TaskInput::Inline(blobs)) => {
                    assert_eq!(*blobs, self.blobs(id.job, *from), "{task:?}");
                }
                _ => panic!("{input:?} as {got:?}"),
            }
        }
    }

    /// A table names what each task has written for others, and nothing that is deleted.
    fn check_table(&self, table: &StageOutputs, job: JobId, port: &EdgePort) {
        let stage = port.port.stage;
        assert_eq!((table.job, table.version), (job, port.version), "the table is of another version");
        assert_eq!(table.digests[port.port.output as usize], port.digest);
        let outputs = &self.plans[&job].0.stage(stage).outputs;
        let has_written = |task: u32| {
            (0u32..).zip(outputs).any(|(o, output)| match output {
                Output::Edge { partitions: Partitions::Count(n), .. } => (0..*n).any(|p| writes(stage, task, o, p)),
                _ => false,
            })
        };
        assert_eq!(table.entries.len() as u32, self.tasks_of(job, stage));
        for task in 0..table.entries.len() as u32 {
            assert_eq!(table.attempt(task).is_some(), has_written(task), "task {task} of {table:?}");
        }
        for (_, attempt) in table.attempts() {
            assert!(!self.revoked.contains(&attempt), "its files are deleted: {attempt:?}");
            self.check_reads(attempt);
        }
    }

    /// What an accepted attempt has read is what readers get now, while that is known: all that it reads is done.
    pub(crate) fn check_reads(&self, attempt: AttemptId) {
        let TaskId { job, stage, .. } = attempt.task;
        let is_known = |stage: StageId| self.scheduler.is_stage_done(job, stage);
        if self.restored.contains(&job) || !self.plans[&job].0.stage(stage).reads().all(|port| is_known(port.stage)) {
            return;
        }
        let Some((_, read)) = self.made.get(&attempt) else { return };
        for read in read {
            let issued = self.issued.get(&(job, read.task.stage));
            if let Some((_, now)) = issued.and_then(|table| table.attempt(read.task.index)) {
                let same = self.made.get(read).map(|made| made.0) == self.made.get(&now).map(|made| made.0);
                assert!(same, "{attempt:?} has read {read:?}, and others read {now:?}");
            }
        }
    }

    pub(crate) fn blobs(&self, job: JobId, from: Port) -> Vec<Vec<u8>> {
        let tasks = 0..self.tasks_of(job, from.stage);
        tasks.map(|index| blob(TaskId { job, stage: from.stage, index })).collect()
    }

    /// Every task of every sink has exactly one part, and its attempt was granted and has published.
    pub(crate) fn check_commit(&self, job: JobId, parts: &[StagedPart]) {
        let mut expected = BTreeSet::new();
        for (s, stage) in self.plans[&job].0.stages.iter().enumerate() {
            for output in &stage.outputs {
                if let Output::Sink { sink } = output {
                    expected.extend((0..self.tasks_of(job, StageId(s as u32))).map(|t| (*sink, t)));
                }
            }
        }
        let got: BTreeSet<_> = parts.iter().map(|p| (p.part.sink, p.task)).collect();
        assert_eq!(got.len(), parts.len(), "a part twice");
        assert_eq!(got, expected);
        assert!(parts.iter().all(|p| self.staged.contains(&p.attempt)), "a part that is not staged");
        // Over everything that went into the parts, each task has one output.
        let mut list: Vec<AttemptId> = parts.iter().map(|p| p.attempt).collect();
        let mut known: BTreeSet<AttemptId> = list.iter().copied().collect();
        let mut used: BTreeMap<TaskId, (u64, AttemptId)> = BTreeMap::new();
        while let Some(attempt) = list.pop() {
            let (made, read) = &self.made[&attempt];
            let (first, other) = *used.entry(attempt.task).or_insert((*made, attempt));
            assert_eq!(first, *made, "a mixture of {other:?} and {attempt:?}");
            list.extend(read.iter().copied().filter(|a| known.insert(*a)));
        }
    }

    pub(crate) fn check_done(&self, job: JobId, status: &JobStatus, collected: &Collected) {
        assert_eq!(status.tasks.done, status.tasks.total);
        // After a restart, counters of a lost worker's attempts that no task needs again are missing.
        let counted = status.counters.get("tasks");
        let all = if self.epoch == 3 { status.tasks.total } else { counted.min(status.tasks.total) };
        assert_eq!(counted, all, "counters are added once");
        let from = self.plans[&job].0.collects[0].from;
        let blobs = self.blobs(job, from).into_iter().map(CollectedBlob::Inline).collect();
        assert_eq!(*collected, [("c".to_string(), blobs)]);
    }

    /// Once all messages are delivered, no worker has anything left of jobs that have ended.
    pub(crate) fn check_clean(&mut self) {
        let up: Vec<WorkerId> = self.nodes.iter().filter(|(_, n)| n.up && n.session).map(|(id, _)| *id).collect();
        for id in up {
            while !self.nodes[&id].inbox.is_empty() || !self.nodes[&id].outbox.is_empty() {
                self.receive(id);
                self.settle(id);
                self.deliver(id);
            }
            self.settle(id);
            let worker = &self.nodes[&id].worker;
            assert!(worker.is_empty(), "left on {id}: {worker:?}");
        }
    }
}
