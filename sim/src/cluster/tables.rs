//! The tables of outputs on a simulated worker, and what an attempt reads by them.
//!
//! A worker gets each table once in a session. An attempt reads by the tables that it was assigned with, although later
//! ones may have come meanwhile.

use crate::workload::writes;
use std::collections::BTreeMap;
use std::sync::Arc;
use windrow_model::*;

#[derive(Debug, Default)]
pub(crate) struct Tables {
    latest: BTreeMap<(JobId, StageId), Arc<StageOutputs>>,
    of: BTreeMap<AttemptId, Vec<Arc<StageOutputs>>>,
}

impl Tables {
    /// A session begins, in which every table comes anew.
    pub(crate) fn begin_session(&mut self) {
        self.latest.clear();
    }

    /// An assignment arrives with the tables that this session did not have. The worker has all that its task reads by.
    pub(crate) fn take(&mut self, tables: Vec<Arc<StageOutputs>>, task: &Task) {
        self.latest.extend(tables.into_iter().map(|table| ((table.job, table.stage), table)));
        let tables = edges(task).flat_map(|edge| &edge.ports).map(|port| {
            let table = self.latest.get(&(task.attempt.task.job, port.port.stage));
            let table = table.unwrap_or_else(|| panic!("the worker has no table of {port:?}"));
            assert_eq!(table.version, port.version, "the worker has another table of {port:?}");
            table.clone()
        });
        let tables = tables.collect();
        self.of.insert(task.attempt, tables);
    }

    /// What an attempt reads: outputs with records in its partition.
    pub(crate) fn reads(&self, task: &Task) -> Vec<OutputRef> {
        let partition = task.attempt.task.index;
        let tables = self.of.get(&task.attempt).into_iter().flatten();
        let ports = edges(task).flat_map(|edge| &edge.ports).zip(tables);
        let reads = ports.flat_map(|(EdgePort { port: Port { stage, output }, .. }, table)| {
            let wanted = table.attempts().filter(move |(_, a)| writes(*stage, a.task.index, *output, partition));
            wanted.map(|(worker, attempt)| OutputRef { worker, attempt, output: *output })
        });
        reads.collect()
    }

    pub(crate) fn drop_job(&mut self, job: JobId) {
        self.latest.retain(|(of, _), _| *of != job);
        self.of.retain(|attempt, _| attempt.task.job != job);
    }
}

fn edges(task: &Task) -> impl Iterator<Item = &EdgeInput> {
    task.inputs.iter().filter_map(|input| if let TaskInput::Edge(edge) = input { Some(edge) } else { None })
}
