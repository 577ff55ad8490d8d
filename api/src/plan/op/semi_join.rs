//! `semi_join` and `anti_join`: the pairs whose key the other side has, or lacks.

use super::broadcast_join::{Match, joined_with};
use super::cogroup::for_each_key;
use super::hash_join;
use super::join_side::{JoinSide, Small};
use crate::data::datum::{Datum, Key};
use crate::data::emitter::Push;
use crate::plan::chain::Chain;
use crate::plan::records::Pairs;
use crate::task::context::TaskCx;
use crate::task::culprit::Op;
use crate::task::failure::TaskResult;
use std::marker::PhantomData;
use std::sync::Arc;

impl<K: Datum, V: Datum> Pairs<K, V> {
    /// The pairs of this side whose key the other side has, each once, however often the key occurs there. Keys come in
    /// order, the pairs of one key in this side's order. The result stays partitioned by the key.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn of_members(orders: &Pairs<u32, u64>, members: &Pairs<u32, String>) -> Pairs<u32, u64> {
    ///     orders.semi_join(members)
    /// }
    /// ```
    #[track_caller]
    pub fn semi_join<S: JoinSide<K>>(&self, other: S) -> Pairs<K, V>
    where
        K: Key,
    {
        filtered::<true, K, V, S>(self, other, Op::here("semi_join"))
    }

    /// The pairs of this side whose key the other side lacks. Keys come in order, the pairs of one key in this side's order.
    /// The result stays partitioned by the key.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn not_blocked(visits: &Pairs<String, u64>, blocked: &Pairs<String, ()>) -> Pairs<String, u64> {
    ///     visits.anti_join(blocked)
    /// }
    /// # let got = windrow::testing::run(["a", "b"], |lines| {
    /// #     let all = lines.map(|line, out| out.emit(line, 1u64));
    /// #     not_blocked(&all, &all.filter(|(line, _)| line == "a").map_values(|_| ()))
    /// # });
    /// # assert_eq!(got.unwrap(), [("b".to_string(), 1)]);
    /// ```
    #[track_caller]
    pub fn anti_join<S: JoinSide<K>>(&self, other: S) -> Pairs<K, V>
    where
        K: Key,
    {
        filtered::<false, K, V, S>(self, other, Op::here("anti_join"))
    }
}

fn filtered<const FOUND: bool, K: Key, V: Datum, S: JoinSide<K>>(left: &Pairs<K, V>, other: S, op: Op) -> Pairs<K, V> {
    let right = other.pairs();
    // Values that lie in their partitions already are read there; others are not shuffled.
    if right.keyed.is_some() && right.branches.iter().all(|b| b.direct.is_some()) {
        let chain = Arc::new(Filter::<FOUND, K, V, S::Value> { types: PhantomData });
        return joined_with::<Known<FOUND>, _, _, _, _>(left, &other, op, chain);
    }
    let keys: Pairs<K, ()> = right.step(op, true, |_, (k, _), sink| sink.push((k, ())));
    let keys = Small { pairs: keys, bytes_max: other.broadcast_bytes_max() };
    joined_with::<Known<FOUND>, _, _, _, _>(left, &keys, op, Arc::new(Filter::<FOUND, K, V, ()> { types: PhantomData }))
}

/// The pair, if its key has values, or if it has none.
struct Known<const FOUND: bool>;

impl<const FOUND: bool, K: Datum, V: Datum, W: Datum> Match<K, V, W, V> for Known<FOUND> {
    fn each<'s>(
        k: K::Ref<'s>,
        v: V::Ref<'s>,
        mut values: impl Iterator<Item = TaskResult<W::Ref<'s>>>,
        sink: &mut dyn Push<(K, V)>,
    ) -> TaskResult<()> {
        if values.next().transpose()?.is_some() == FOUND {
            sink.push((k, v));
        }
        Ok(())
    }
}

/// The left pairs whose key is found on the right, or is not.
struct Filter<const FOUND: bool, K, V, W> {
    types: PhantomData<fn(K, V, W)>,
}

impl<const FOUND: bool, K: Key, V: Datum, W: Datum> Chain<(K, V)> for Filter<FOUND, K, V, W> {
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<(K, V)>) -> TaskResult<()> {
        if let Some(claim) = hash_join::claim(cx) {
            return hash_join::run::<true, K, V, W>(cx, claim, |k, v, w| {
                if w.is_some() == FOUND {
                    sink.push((K::shorten(k), V::shorten(v)))
                }
            });
        }
        for_each_key::<K, V, W>(cx, |k, left, right| {
            if right.next().is_some() == FOUND {
                left.each(|v| sink.push((K::shorten(k), V::shorten(v))))
            }
        })
    }
}
