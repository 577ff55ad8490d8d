//! `join` and `left_join`: pairs of values with equal keys.

use super::cogroup::for_each_key;
use super::hash_join;
use crate::data::datum::{Datum, Key};
use crate::data::emitter::Push;
use crate::plan::chain::Chain;
use crate::plan::edge_out::{keyed_ports, reading};
use crate::plan::records::{Pairs, Records};
use crate::task::context::TaskCx;
use crate::task::failure::TaskResult;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;
use windrow_model::Partitions;

impl<K: Key, V: Datum> Pairs<K, V> {
    /// Every pair of a value on this side and a value on the other side with the same key; keys in order, then in this
    /// side's order, then the other's. The values of one key on the other side are held in memory (beyond a budget, in
    /// a mapped file), so pass the smaller side as `other`: if what follows accepts records in any order (`combine`,
    /// `distinct`) and the other side of a partition fits into memory, nothing is sorted. The result stays partitioned
    /// by the key.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn with_names(orders: &Pairs<u32, u64>, names: &Pairs<u32, String>) -> Pairs<u32, (u64, String)> {
    ///     orders.join(names)
    /// }
    /// ```
    #[track_caller]
    pub fn join<W: Datum>(&self, other: &Pairs<K, W>) -> Pairs<K, (V, W)> {
        let chain = Join { types: PhantomData::<fn(K, V, W)> };
        joined(self, other, "join", Location::caller(), Arc::new(chain))
    }

    /// As `join`, and also every value on this side whose key the other side lacks, once with `None`.
    #[track_caller]
    pub fn left_join<W: Datum>(&self, other: &Pairs<K, W>) -> Pairs<K, (V, Option<W>)> {
        let chain = LeftJoin { types: PhantomData::<fn(K, V, W)> };
        joined(self, other, "left_join", Location::caller(), Arc::new(chain))
    }
}

/// Pairs by the key of both sides, in the partitions of the side that has some, through `chain`.
pub(super) fn joined<K: Key, V: Datum, W: Datum, O: Datum>(
    left: &Pairs<K, V>,
    right: &Pairs<K, W>,
    op: &str,
    at: &Location<'_>,
    chain: Arc<dyn Chain<(K, O)>>,
) -> Pairs<K, O> {
    let partitions = left.keyed.or(right.keyed).unwrap_or(Partitions::Auto);
    let (left_ports, left_demand) = keyed_ports(left, partitions, "shuffle", at).on_demand();
    let (right_ports, right_demand) = keyed_ports(right, partitions, "shuffle", at).on_demand();
    let (ports, demands) = (vec![left_ports, right_ports], vec![left_demand, right_demand]);
    let branch = reading(&left.flow, ports, partitions, op, false, demands, chain);
    Records::new(&left.flow, vec![branch], Some(partitions))
}

struct Join<K, V, W> {
    types: PhantomData<fn(K, V, W)>,
}

impl<K: Key, V: Datum, W: Datum> Chain<(K, (V, W))> for Join<K, V, W> {
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<(K, (V, W))>) -> TaskResult<()> {
        if let Some(claim) = hash_join::claim(cx) {
            return hash_join::run::<false, K, V, W>(cx, claim, |k, v, w| {
                if let Some(w) = w {
                    sink.push((K::shorten(k), (V::shorten(v), W::shorten(w))))
                }
            });
        }
        for_each_key::<K, V, W>(cx, |k, left, right| {
            let held: Vec<W::Ref<'_>> = right.collect();
            if !held.is_empty() {
                left.each(|v| {
                    for w in &held {
                        sink.push((K::shorten(k), (V::shorten(v), W::shorten(*w))))
                    }
                })
            }
        })
    }
}

struct LeftJoin<K, V, W> {
    types: PhantomData<fn(K, V, W)>,
}

impl<K: Key, V: Datum, W: Datum> Chain<(K, (V, Option<W>))> for LeftJoin<K, V, W> {
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<(K, (V, Option<W>))>) -> TaskResult<()> {
        if let Some(claim) = hash_join::claim(cx) {
            return hash_join::run::<false, K, V, W>(cx, claim, |k, v, w| {
                sink.push((K::shorten(k), (V::shorten(v), w.map(W::shorten))))
            });
        }
        for_each_key::<K, V, W>(cx, |k, left, right| {
            let held: Vec<W::Ref<'_>> = right.collect();
            left.each(|v| {
                if held.is_empty() {
                    sink.push((K::shorten(k), (V::shorten(v), None)))
                }
                for w in &held {
                    sink.push((K::shorten(k), (V::shorten(v), Some(W::shorten(*w)))))
                }
            })
        })
    }
}
