//! `partition_with`: pairs shuffled by a function of the key.

use super::route::routed;
use crate::data::datum::{Datum, Key};
use crate::error::Error;
use crate::plan::chain::user_error;
use crate::plan::edge_in::ReadPairs;
use crate::plan::edge_out::{Scratch, reading};
use crate::plan::records::{Pairs, Records};
use crate::task::context::OpInTask;
use crate::task::culprit::Op;
use std::marker::PhantomData;
use std::sync::Arc;
use windrow_engine::PlainEdge;
use windrow_model::{Code, Order, Partitions};

impl<K: Datum, V: Datum> Pairs<K, V> {
    /// Shuffles the pairs into `n` partitions: each pair into the one that `f` computes from its key, from 0 to `n - 1`. Each
    /// partition is sorted by key, and is one part of an output: one part for each month, for example. Equal keys always lie
    /// in one partition. Operations on keys, which partition by hash, shuffle the result again. Another number than those
    /// fails the record with `USER_ERROR`; `n` of 0 makes the plan invalid.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn by_month(sales: &Pairs<(u32, u32), f64>) -> Pairs<(u32, u32), f64> {
    ///     sales.partition_with(12, |(month, _day)| month - 1)
    /// }
    /// ```
    #[track_caller]
    pub fn partition_with(&self, n: u32, f: impl Fn(K::Ref<'_>) -> u32 + Send + Sync + 'static) -> Pairs<K, V>
    where
        K: Key,
    {
        let op = Op::here("partition_with");
        if n == 0 {
            self.flow.mistaken(Error::new(Code::PlanInvalid, "`partition_with` has no partitions: give at least one"));
        }
        let partitions = Partitions::Count(n);
        let write = move |op: &OpInTask<'_, '_>,
                          n: u32,
                          edge: &mut PlainEdge,
                          (k, v): (K::Ref<'_>, V::Ref<'_>),
                          scratch: &mut Scratch| {
            let partition = op.call(|| f(K::shorten(k)));
            if partition >= n {
                let message = format!("the partition {partition} of a key is none of {n}");
                user_error(op.cx, &op.op, Error::msg(message));
                return Ok(());
            }
            let Scratch { key, value } = scratch;
            K::with_bytes(k, key, |k| V::with_bytes(v, value, |v| edge.push_to(partition, k, v)))
        };
        let (ports, demand) = routed(self, op, partitions, Order::Key, write).on_demand();
        let chain = ReadPairs { order: Order::Key, types: PhantomData::<fn() -> (K, V)> };
        let branch = reading(vec![ports], partitions, "partitioned", false, vec![demand], Arc::new(chain));
        Records::new(&self.flow, vec![branch], None)
    }
}
