//! `zip_with_index`: numbers the records of a collection.
//!
//! A first stage writes the records of each task where they are and broadcasts how many it has written into which partition.
//! A task of the second stage reads its partition, and begins with the number of all records before it.

use crate::data::arena::Arena;
use crate::data::datum::{Datum, Reader};
use crate::data::emitter::{Push, PushFn};
use crate::plan::chain::{Branch, Chain};
use crate::plan::edge_in::ReadRecords;
use crate::plan::edge_out::{partitioning, reading, run_into_edge, write_record};
use crate::plan::records::Records;
use crate::task::context::TaskCx;
use crate::task::culprit::Op;
use crate::task::failure::TaskResult;
use crate::task::written::Written;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use windrow_model::{Input, Order, Output, Partitioner, Partitions, Port};

impl<R: Datum> Records<R> {
    /// Each record with its number: from 0, in order, without gaps. The order is that of the inputs; after a shuffle it is
    /// that of the partitions, so which record has which number depends on their number (unless the records are sorted: see
    /// `sort`). The records are written to the workers' disks once, because the last number is known only when all are made.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn numbered(lines: &Records<String>) -> Records<(String, u64)> {
    ///     lines.zip_with_index()
    /// }
    /// # let got = windrow::testing::run(["a", "b"], |l| numbered(&l)).unwrap();
    /// # assert_eq!(got, [("a".to_string(), 0), ("b".to_string(), 1)]);
    /// ```
    #[track_caller]
    pub fn zip_with_index(&self) -> Records<(R, u64)> {
        self.numbered(Op::here("zip_with_index"))
    }

    /// Numbers the records for the operation `op`.
    pub(super) fn numbered(&self, op: Op) -> Records<(R, u64)> {
        let written: Vec<(Partitions, Port)> = self.branches.iter().map(|b| write(self, b, op)).collect();
        let branches = written.iter().enumerate().map(|(i, (partitions, edge))| {
            let chain = Number { counts: 1..2 + i, types: PhantomData::<fn() -> R> };
            let mut branch = reading(vec![vec![*edge]], *partitions, op.name, false, vec![], Arc::new(chain));
            // The counts of all branches up to this one, the last of which is its own.
            let counts = written[..=i].iter().map(|(_, edge)| Input::Broadcast { from: Port { output: 1, ..*edge } });
            branch.inputs.extend(counts);
            branch
        });
        Records::new(&self.flow, branches.collect(), None)
    }
}

/// Adds the stage that writes a branch where it is, and broadcasts the number of records by partition. Returns its edge.
fn write<R: Datum>(records: &Records<R>, branch: &Branch<R>, op: Op) -> (Partitions, Port) {
    branch.need_order();
    let (partitions, partitioner) = branch.lies_in().unwrap_or((Partitions::Auto, Partitioner::InputPart));
    let chain = branch.chain.clone();
    let edge = Output::Edge { partitions, partitioner, order: Order::Arrival, combined: false };
    let stage = records.flow.add_stage(branch, op.name, op.at, vec![], vec![edge, Output::Broadcast], move |cx| {
        let by = |n| partitioning(cx, partitioner, n);
        let edge = run_into_edge(cx, &*chain, 0, by, &write_record::<R>)?;
        let mut counts = Vec::new();
        if let Written::Edge(edge) = &edge {
            edge.segments.iter().for_each(|s| <(u32, u64)>::encode::<true>((s.partition, s.records), &mut counts));
        }
        Ok(vec![edge, Written::Broadcast(counts)])
    });
    (partitions, Port { stage, output: 0 })
}

/// Reads a partition, and numbers its records after all that come before it.
struct Number<R> {
    /// The inputs with the counts of the branches, the last of which is this one.
    counts: Range<usize>,
    types: PhantomData<fn() -> R>,
}

impl<R: Datum> Number<R> {
    /// The number of records in earlier branches, and in earlier partitions of this one.
    fn before(&self, cx: &TaskCx<'_>) -> u64 {
        let own = self.counts.end - 1;
        let arena = Arena::new();
        let mut before = 0u64;
        for input in self.counts.clone() {
            for blob in cx.inline(input) {
                let mut reader = Reader::new(blob, &arena);
                while let Ok((partition, records)) = <(u32, u64)>::decode::<false>(&mut reader) {
                    if input < own || partition < cx.task.attempt.task.index {
                        before = before.saturating_add(records);
                    }
                }
            }
        }
        before
    }
}

impl<R: Datum> Chain<(R, u64)> for Number<R> {
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<(R, u64)>) -> TaskResult<()> {
        let mut number = self.before(cx);
        let push = |r: R::Ref<'_>| {
            sink.push((r, number));
            number += 1;
        };
        ReadRecords { most: u64::MAX, types: PhantomData::<fn() -> R> }.run(cx, &mut PushFn::<R, _>::new(push))
    }
}
