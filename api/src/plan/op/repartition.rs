//! `repartition`: deals records out to partitions.

use super::route::routed;
use crate::data::datum::Datum;
use crate::plan::edge_in::ReadRecords;
use crate::plan::edge_out::{Scratch, reading};
use crate::plan::records::Records;
use crate::task::context::OpInTask;
use crate::task::culprit::Op;
use std::marker::PhantomData;
use std::sync::Arc;
use windrow_engine::PlainEdge;
use windrow_model::{Order, Partitions};

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
        let deal = |_: &OpInTask<'_, '_>,
                    n: u32,
                    edge: &mut PlainEdge,
                    (r, number): (R::Ref<'_>, u64),
                    scratch: &mut Scratch| {
            let partition = (number % u64::from(n)) as u32;
            R::with_bytes(r, &mut scratch.value, |value| edge.push_to(partition, &[], value))
        };
        let ports = routed(&self.numbered(op), op, partitions, Order::Arrival, deal).in_order();
        let chain = ReadRecords { most: u64::MAX, types: PhantomData::<fn() -> R> };
        let branch = reading(vec![ports], partitions, "dealt out", false, vec![], Arc::new(chain));
        Records::new(&self.flow, vec![branch], None)
    }
}
