//! All records in one task: the second half of operations on a whole collection, which follows a small result of each task.

use crate::data::datum::Datum;
use crate::plan::edge_in::ReadRecords;
use crate::plan::edge_out::{Layout, edge_stages, reading, write_record};
use crate::plan::records::Records;
use crate::task::culprit::Op;
use std::marker::PhantomData;
use std::sync::Arc;
use windrow_model::{Order, Partitioner, Partitions};

/// What the reader of gathered records depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Needs {
    /// The records of every task in the order in which it has them, task by task.
    Order,
    /// The records alone.
    Records,
}

/// Moves all records into one partition, of which the first `most` are read.
pub(super) fn gathered<R: Datum>(records: &Records<R>, op: Op, needs: Needs, most: u64) -> Records<R> {
    let partitions = Partitions::Count(1);
    let layout = |_: &_| Layout { partitions, partitioner: Partitioner::Hash, order: Order::Arrival };
    let edge = edge_stages(records, op.name, op.at, layout, write_record::<R>);
    let ports = match needs {
        Needs::Order => edge.in_order(),
        Needs::Records => edge.on_demand().0,
    };
    let chain = ReadRecords { most, types: PhantomData::<fn() -> R> };
    let branch = reading(vec![ports], partitions, "gathered", false, vec![], Arc::new(chain));
    Records::new(&records.flow, vec![branch], None)
}
