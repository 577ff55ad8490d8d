//! `sort_within`: sorts each partition in place.

use crate::data::datum::{Datum, Key};
use crate::plan::edge_in::ReadPairs;
use crate::plan::edge_out::{Layout, edge_stages, reading, write_pair};
use crate::plan::records::{Pairs, Records};
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;
use windrow_model::{Order, Partitioner, Partitions};

impl<K: Datum, V: Datum> Pairs<K, V> {
    /// Sorts by key within each partition (of a file input: within each contiguous part of it) without moving pairs
    /// between partitions. Equal keys keep their order.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn arranged(pairs: &Pairs<String, u64>) -> Pairs<String, u64> {
    ///     pairs.sort_within()
    /// }
    /// ```
    #[track_caller]
    pub fn sort_within(&self) -> Pairs<K, V>
    where
        K: Key,
    {
        let at = Location::caller();
        let branches = self.branches.iter().map(|branch| {
            let (partitions, partitioner) = branch.lies_in().unwrap_or((Partitions::Auto, Partitioner::InputPart));
            let one = Records::new(&self.flow, vec![branch.clone()], None);
            let layout = |_: &_| Layout { partitions, partitioner, order: Order::Key };
            let ports = edge_stages(&one, "sort_within", at, layout, write_pair::<K, V>).in_order();
            let chain = ReadPairs { order: Order::Key, types: PhantomData::<fn() -> (K, V)> };
            reading(vec![ports], partitions, "sorted within", false, vec![], Arc::new(chain))
        });
        Records::new(&self.flow, branches.collect(), self.keyed)
    }
}
