//! `repartition`: deals records out to partitions.

use crate::data::datum::Datum;
use crate::plan::edge_in::ReadRecords;
use crate::plan::edge_out::{Scratch, reading, run_into_edge};
use crate::plan::records::Records;
use crate::task::culprit::Op;
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use windrow_engine::{Partitioning, PlainEdge};
use windrow_model::{Order, Output, Partitioner, Partitions, Port};

impl<R: Datum> Records<R> {
    /// Deals the records out to `n` partitions (0: the job's default number) in turn: the first to the first, the second to
    /// the second, and so on. So all partitions are equally large, and what follows runs as `n` tasks: for costly functions
    /// on few records. The order within a partition stays. Chunk sizes and retries do not change what lies where. The records
    /// are written to the workers' disks twice (see `zip_with_index`), so this is for small inputs.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn fetch_all(urls: &Records<String>) -> Records<u64> {
    ///     urls.repartition(100).map(|url, out| out.push(url.len()))
    /// }
    /// # let got = windrow::testing::run(["a", "bb", "ccc"], |l| fetch_all(&l)).unwrap();
    /// # assert_eq!(got, [1, 2, 3]);
    /// ```
    #[track_caller]
    pub fn repartition(&self, n: u32) -> Records<R> {
        let op = Op::here("repartition");
        let partitions = if n == 0 { Partitions::Auto } else { Partitions::Count(n) };
        let numbered = self.numbered(op);
        let add = |branch: &crate::plan::chain::Branch<(R, u64)>| {
            let chain = branch.chain.clone();
            // A record has no key by which it could be found: the plan calls any choice by the task itself a hash.
            let output =
                Output::Edge { partitions, partitioner: Partitioner::Hash, order: Order::Arrival, combined: false };
            let stage = self.flow.add_stage(branch, op.name, op.at, vec![], vec![output], move |cx| {
                let partitions = Cell::new(1);
                let by = |n| {
                    partitions.set(u64::from(n));
                    Partitioning::Hash(n)
                };
                let deal = |edge: &mut PlainEdge, (r, number): (R::Ref<'_>, u64), scratch: &mut Scratch| {
                    let partition = (number % partitions.get()) as u32;
                    R::with_bytes(r, &mut scratch.value, |value| edge.push_to(partition, &[], value))
                };
                Ok(vec![run_into_edge(cx, &*chain, 0, by, &deal)?])
            });
            Port { stage, output: 0 }
        };
        let ports = numbered.branches.iter().map(add).collect();
        let chain = ReadRecords { most: u64::MAX, types: PhantomData::<fn() -> R> };
        let branch = reading(&self.flow, vec![ports], partitions, "dealt out", false, vec![], Arc::new(chain));
        Records::new(&self.flow, vec![branch], None)
    }
}
