//! `full_join`: pairs of values with equal keys, and the values of both sides that have no partner.

use super::cogroup::for_each_key;
use super::joined::joined;
use crate::data::datum::{Datum, Key};
use crate::data::emitter::Push;
use crate::plan::chain::Chain;
use crate::plan::records::Pairs;
use crate::task::context::TaskCx;
use crate::task::failure::TaskResult;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;

impl<K: Datum, V: Datum> Pairs<K, V> {
    /// As `join`, and also every value of either side whose key the other side lacks, once with `None`. The values of one
    /// key on the other side are held in memory (beyond a budget, in a mapped file). The result stays partitioned by the
    /// key.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn changes(old: &Pairs<u32, u64>, new: &Pairs<u32, u64>) -> Pairs<u32, (Option<u64>, Option<u64>)> {
    ///     old.full_join(new).filter(|(_, (before, after))| before != after)
    /// }
    /// # let got = windrow::testing::run(["1", "2", "3"], |lines| {
    /// #     let all = lines.map(|line, out| { let n = line.parse::<u32>()?; out.emit(n, n as u64); Ok(()) });
    /// #     changes(&all.filter(|(n, _)| n < 3), &all.filter(|(n, _)| n > 1))
    /// # });
    /// # assert_eq!(got.unwrap(), [(1, (Some(1), None)), (3, (None, Some(3)))]);
    /// ```
    #[track_caller]
    pub fn full_join<W: Datum>(&self, other: &Pairs<K, W>) -> Pairs<K, (Option<V>, Option<W>)>
    where
        K: Key,
    {
        let chain = FullJoin { types: PhantomData::<fn(K, V, W)> };
        joined(self, other, "full_join", Location::caller(), Arc::new(chain))
    }
}

struct FullJoin<K, V, W> {
    types: PhantomData<fn(K, V, W)>,
}

impl<K: Key, V: Datum, W: Datum> Chain<(K, (Option<V>, Option<W>))> for FullJoin<K, V, W> {
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<(K, (Option<V>, Option<W>))>) -> TaskResult<()> {
        for_each_key::<K, V, W>(cx, |k, left, right| {
            let held: Vec<W::Ref<'_>> = right.collect();
            let mut is_alone = true;
            left.each(|v| {
                is_alone = false;
                if held.is_empty() {
                    sink.push((K::shorten(k), (Some(V::shorten(v)), None)))
                }
                for w in &held {
                    sink.push((K::shorten(k), (Some(V::shorten(v)), Some(W::shorten(*w)))))
                }
            });
            if is_alone {
                for w in &held {
                    sink.push((K::shorten(k), (None, Some(W::shorten(*w)))))
                }
            }
        })
    }
}
