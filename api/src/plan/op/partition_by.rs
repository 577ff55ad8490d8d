//! `partition_by`: pairs shuffled by key into a given number of partitions.

use crate::data::datum::{Datum, Key};
use crate::plan::edge_in::ReadPairs;
use crate::plan::edge_out::{keyed_ports, reading};
use crate::plan::records::{Pairs, Records};
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;
use windrow_model::{Order, Partitions};

impl<K: Datum, V: Datum> Pairs<K, V> {
    /// Shuffles the pairs by key into `n` partitions (0: the job's default number), sorted by key within each. Joins
    /// and cogroups of collections with the same partitioning move nothing.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn eight(pairs: &Pairs<String, u64>) -> Pairs<String, u64> {
    ///     pairs.partition_by(8)
    /// }
    /// ```
    #[track_caller]
    pub fn partition_by(&self, n: u32) -> Pairs<K, V>
    where
        K: Key,
    {
        let partitions = if n == 0 { Partitions::Auto } else { Partitions::Count(n) };
        let (ports, demand) = keyed_ports(self, partitions, "partition_by", Location::caller()).on_demand();
        let chain = ReadPairs { order: Order::Key, types: PhantomData::<fn() -> (K, V)> };
        let branch = reading(vec![ports], partitions, "partitioned", true, vec![demand], Arc::new(chain));
        Records::new(&self.flow, vec![branch], Some(partitions))
    }
}
