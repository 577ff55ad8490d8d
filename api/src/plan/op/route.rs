//! Records in partitions that an operation chooses itself, not by the hash of a key.

use crate::data::datum::Datum;
use crate::plan::chain::Branch;
use crate::plan::demand::{Demand, Shuffled};
use crate::plan::edge_out::{Scratch, run_into_edge};
use crate::plan::records::Records;
use crate::task::context::OpInTask;
use crate::task::culprit::Op;
use std::cell::Cell;
use std::sync::Arc;
use windrow_engine::{EngineError, Partitioning, PlainEdge};
use windrow_model::{Order, Output, Partitioner, Partitions, Port};

/// Adds a stage for each branch, in which `write` assigns each record to one of these partitions.
pub(super) fn routed<R: Datum, W>(
    records: &Records<R>,
    op: Op,
    partitions: Partitions,
    order: Order,
    write: W,
) -> Shuffled
where
    W: Fn(&OpInTask<'_, '_>, u32, &mut PlainEdge, R::Ref<'_>, &mut Scratch) -> Result<(), EngineError>
        + Send
        + Sync
        + 'static,
{
    let write = Arc::new(write);
    let demand = Demand::new(records.branches.iter().flat_map(|b| b.demands.clone()).collect());
    let add = |branch: &Branch<R>| {
        let (chain, demand) = (branch.chain.clone(), demand.clone());
        // For the plan, a choice by the task itself is a hash: the scheduler sees only how many partitions there are.
        let output = Output::Edge { partitions, partitioner: Partitioner::Hash, order, combined: false };
        let branch = records.flow.calling(&*write, branch.clone());
        let write = write.clone();
        let stage = records.flow.add_stage(&branch, op.name, op.at, vec![], vec![output], move |cx| {
            if !demand.is_ordered() {
                cx.take_any_order();
            }
            let op = OpInTask { op, cx };
            let partitions = Cell::new(1);
            let by = |n| {
                partitions.set(n);
                Partitioning::Hash(n)
            };
            let write = |edge: &mut PlainEdge, r: R::Ref<'_>, scratch: &mut Scratch| {
                write(&op, partitions.get(), edge, r, scratch)
            };
            Ok(vec![run_into_edge(cx, &*chain, 0, by, &write)?])
        });
        Port { stage, output: 0 }
    };
    let ports = records.branches.iter().map(add).collect();
    Shuffled::new(ports, demand)
}
