//! What the tasks of a stage read: the tables of the stages before it, and about how large each partition is.
//!
//! Both are made when the first reader needs them and dropped when one of those stages is reopened. A table takes a pass
//! over the tasks that it names; a reader that is assigned takes nothing from it but a reference. So a shuffle costs the
//! scheduler maps + readers and not maps x readers.

use crate::job::Job;
use crate::planted::{self, Planted};
use crate::port_sizes::{Leader, PortSizes};
use crate::stage::Stage;
use crate::stage_inputs::{EdgeParts, StageInputs};
use crate::task::{Task, TaskOutputs};
use std::collections::BTreeMap;
use std::sync::Arc;
use windrow_model::{
    EdgeInput, EdgePort, EdgeReport, Input, InputDigest, JobId, OutputReport, OutputsDigest, Port, StageId,
    StageOutputs, TableVersion, TaskInput, TaskOutput, WorkerId, total,
};

impl Job {
    /// What a task of an unblocked stage reads, in the order of the stage's inputs.
    pub(crate) fn inputs(&mut self, s: usize, t: usize) -> Vec<TaskInput> {
        self.prepare_inputs(s);
        let stage = &self.stages[s];
        let inputs = self.spec.plan.stages[s].inputs.iter().enumerate().map(|(i, input)| match input {
            Input::Source(_) => TaskInput::Chunk(stage.chunks[t].clone()),
            Input::Edge { .. } => {
                let edge = stage.inputs.as_ref().map(|inputs| inputs.edge(i, t));
                TaskInput::Edge(edge.unwrap_or(EdgeInput { ports: Vec::new(), bytes: 0 }))
            }
            Input::Broadcast { from } => TaskInput::Inline(self.broadcasts(*from).map(<[u8]>::to_vec).collect()),
        });
        inputs.collect()
    }

    /// The workers with a large part of what a task reads, one for each port at most.
    pub(crate) fn leaders(&self, s: usize, t: usize) -> impl Iterator<Item = Leader> {
        let ports = edge_ports(&self.spec.plan.stages[s].inputs);
        ports.filter_map(move |port| self.sizes(port)?.leader(t))
    }

    /// The finished blobs of a broadcast, in task order.
    pub(crate) fn broadcasts(&self, port: Port) -> impl Iterator<Item = &[u8]> {
        let tasks = &self.stages[port.stage.0 as usize].tasks;
        tasks.iter().filter_map(move |t| match t.held.as_ref()?.outputs.get(port.output as usize)? {
            OutputReport::Broadcast(blob) => Some(blob.as_slice()),
            OutputReport::Edge(_) | OutputReport::Sink(_) | OutputReport::Stored(_) => None,
        })
    }

    /// Makes the tables and sizes of what a stage reads, unless they are there. All of it is done.
    pub(crate) fn prepare_inputs(&mut self, s: usize) {
        if self.stages[s].inputs.is_some() || self.stages[s].links.producers.is_empty() {
            return;
        }
        for p in self.stages[s].links.edge_producers.clone() {
            self.make_table(p);
        }
        let inputs = self.gather_inputs(s);
        // The sum of a source stage comes from its chunks and stays.
        self.stages[s].bytes_total = self.stages[s].bytes_total.max(inputs.bytes);
        self.stages[s].inputs = Some(inputs);
    }

    /// How often the stages whose edges a stage reads have been reopened. It grows whenever their tables are made anew.
    pub(crate) fn inputs_reopened(&self, s: usize) -> u64 {
        total(self.stages[s].links.edge_producers.iter().map(|p| self.stages[*p].reopened))
    }

    fn gather_inputs(&self, s: usize) -> StageInputs {
        let inputs = &self.spec.plan.stages[s].inputs;
        let tables: Vec<Arc<StageOutputs>> =
            self.stages[s].links.edge_producers.iter().filter_map(|p| self.stages[*p].table.clone()).collect();
        let mut digest = InputDigest::default();
        let mut shares: BTreeMap<WorkerId, u64> = BTreeMap::new();
        let edges = inputs.iter().map(|input| match input {
            Input::Source(_) => None,
            Input::Broadcast { from } => {
                self.broadcasts(*from).for_each(|blob| digest.blob(blob));
                None
            }
            Input::Edge { from } => {
                let mut sizes = vec![0; self.stages[s].tasks.len()];
                let ports = from.iter().map(|port| {
                    let port = self.edge_port(*port);
                    digest.port(port.port, port.digest);
                    self.add_sizes(port.port, &mut sizes, &mut shares);
                    port
                });
                let mut ports: Vec<EdgePort> = ports.collect();
                if planted::has(Planted::OtherPort) {
                    ports.reverse();
                }
                Some(EdgeParts { ports, sizes })
            }
        });
        let edges: Vec<Option<EdgeParts>> = edges.collect();
        let bytes = total(edges.iter().flatten().flat_map(|edge| edge.sizes.iter().copied()));
        let majority = shares.iter().find(|(_, share)| **share > bytes / 2).map(|(worker, _)| *worker);
        StageInputs { tables, digest: digest.get(), edges, bytes, shares: shares.into_iter().collect(), majority }
    }

    /// An output of a stage that has a table.
    fn edge_port(&self, port: Port) -> EdgePort {
        let stage = &self.stages[port.stage.0 as usize];
        let partitions = match stage.outputs.get(port.output as usize) {
            Some(TaskOutput::Edge { partitions }) => *partitions,
            _ => 0,
        };
        let digest = stage.table.as_ref().and_then(|table| table.digests.get(port.output as usize));
        let version = stage.table.as_ref().map_or(TableVersion::default(), |table| table.version);
        EdgePort { port, partitions, version, digest: digest.copied().unwrap_or_default() }
    }

    /// Adds the sizes of an output's partitions, and the bytes that each worker holds.
    fn add_sizes(&self, port: Port, sizes: &mut [u64], shares: &mut BTreeMap<WorkerId, u64>) {
        let mut all = 0u64;
        for (held, edge) in self.stages[port.stage.0 as usize].written(port.output as usize) {
            all = all.saturating_add(edge.bytes);
            if !held.lost {
                let share = shares.entry(held.worker).or_default();
                *share = share.saturating_add(edge.bytes);
            }
        }
        match self.sizes(port) {
            Some(hints) => hints.distribute(all, sizes),
            None => PortSizes::new(sizes.len() as u32).distribute(all, sizes),
        }
    }

    fn sizes(&self, port: Port) -> Option<&PortSizes> {
        self.stages[port.stage.0 as usize].sizes.get(port.output as usize)?.as_deref()
    }

    fn make_table(&mut self, p: usize) {
        let (id, epoch) = (self.spec.id, self.epoch);
        let stage = &mut self.stages[p];
        if stage.table.is_none() {
            assert!(stage.is_done(), "readers wait until a stage is done");
            let version = TableVersion { epoch, reopened: stage.reopened };
            stage.table = Some(Arc::new(stage.outputs_by_task(id, StageId(p as u32), version)));
        }
    }
}

impl Stage {
    /// What its tasks have written to one output, in task order, without tasks that have written nothing to it.
    fn written(&self, output: usize) -> impl Iterator<Item = (&TaskOutputs, &EdgeReport)> {
        self.tasks.iter().filter_map(move |task| {
            let held = task.held.as_ref()?;
            match held.outputs.get(output)? {
                OutputReport::Edge(edge) if !edge.is_empty() => Some((held, edge)),
                _ => None,
            }
        })
    }

    fn outputs_by_task(&self, job: JobId, stage: StageId, version: TableVersion) -> StageOutputs {
        let writes = |o: &OutputReport| matches!(o, OutputReport::Edge(edge) if !edge.is_empty());
        let entry = |task: &Task| {
            let held = task.held.as_ref().filter(|held| held.outputs.iter().any(writes))?;
            Some((held.worker, held.attempt))
        };
        let digest = |(output, kind): (usize, &TaskOutput)| {
            let mut all = OutputsDigest::default();
            if matches!(kind, TaskOutput::Edge { .. }) {
                self.written(output).for_each(|(held, edge)| all.add(&held.attempt, edge.digest, self.deterministic));
            }
            all.get()
        };
        let digests = self.outputs.iter().enumerate().map(digest).collect();
        let entries = self.tasks.iter().map(entry);
        let mut table = StageOutputs::new(job, stage, version, entries, digests);
        if planted::has(Planted::Reversed) {
            table.entries.reverse();
        }
        if planted::has(Planted::GivenUpKept) {
            table.entries.iter_mut().flatten().for_each(|entry| entry.number = entry.number.saturating_sub(1));
        }
        table
    }

    /// Drops what readers had of it: it is not done any more.
    pub(crate) fn drop_table(&mut self) {
        if !planted::has(Planted::StaleTable) {
            self.table = None;
        }
    }

    /// Drops what its tasks read: a stage before it is not done any more.
    pub(crate) fn drop_inputs(&mut self) {
        if !planted::has(Planted::StaleTable) {
            self.inputs = None;
        }
    }

    /// Adds the hints of a report on outputs that lie on this worker, unless an attempt of the task was counted before:
    /// the sums are estimates, and another attempt has about the same sizes.
    pub(crate) fn add_hints(&mut self, t: usize, worker: WorkerId, outputs: &[OutputReport]) {
        if self.links.edge_readers.is_empty() || std::mem::replace(&mut self.tasks[t].hinted, true) {
            return;
        }
        for ((output, kind), sizes) in outputs.iter().zip(&self.outputs).zip(&mut self.sizes) {
            if let (OutputReport::Edge(edge), TaskOutput::Edge { partitions }) = (output, kind) {
                sizes.get_or_insert_with(|| Box::new(PortSizes::new(*partitions))).add(worker, &edge.sizes);
            }
        }
    }
}

/// The outputs that these inputs read as edges, in order.
pub(crate) fn edge_ports(inputs: &[Input]) -> impl Iterator<Item = Port> {
    let edges = inputs.iter().flat_map(|input| match input {
        Input::Edge { from } => &from[..],
        Input::Source(_) | Input::Broadcast { .. } => &[],
    });
    edges.copied()
}
