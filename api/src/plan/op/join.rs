//! `join` and `left_join`: pairs of values with equal keys.

use super::broadcast_join::{Match, joined_with};
use super::cogroup::for_each_key;
use super::hash_join;
use super::join_side::JoinSide;
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
    /// Every pair of a value on this side and a value on the other side with the same key; keys in order, then in this
    /// side's order, then the other's. The values of one key on the other side are held in memory (beyond a budget, in
    /// a mapped file), so pass the smaller side as `other` (and a few thousand pairs as [`small`](crate::Records::small)): if what follows accepts records in any order (`combine`,
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
    pub fn join<S: JoinSide<K>>(&self, other: S) -> Pairs<K, (V, S::Value)>
    where
        K: Key,
    {
        let chain = Join { types: PhantomData::<fn(K, V, S::Value)> };
        joined_with::<Inner, _, _, _, _>(self, &other, Op::here("join"), Arc::new(chain))
    }

    /// As `join`, and also every value on this side whose key the other side lacks, once with `None`.
    #[track_caller]
    pub fn left_join<S: JoinSide<K>>(&self, other: S) -> Pairs<K, (V, Option<S::Value>)>
    where
        K: Key,
    {
        let chain = LeftJoin { types: PhantomData::<fn(K, V, S::Value)> };
        joined_with::<Outer, _, _, _, _>(self, &other, Op::here("left_join"), Arc::new(chain))
    }
}

/// The value of a pair with each value of its key.
struct Inner;

impl<K: Datum, V: Datum, W: Datum> Match<K, V, W, (V, W)> for Inner {
    fn each<'s>(
        k: K::Ref<'s>,
        v: V::Ref<'s>,
        values: impl Iterator<Item = TaskResult<W::Ref<'s>>>,
        sink: &mut dyn Push<(K, (V, W))>,
    ) -> TaskResult<()> {
        for w in values {
            sink.push((K::shorten(k), (V::shorten(v), w?)));
        }
        Ok(())
    }
}

/// The same, and once without a value if there are none.
struct Outer;

impl<K: Datum, V: Datum, W: Datum> Match<K, V, W, (V, Option<W>)> for Outer {
    fn each<'s>(
        k: K::Ref<'s>,
        v: V::Ref<'s>,
        values: impl Iterator<Item = TaskResult<W::Ref<'s>>>,
        sink: &mut dyn Push<(K, (V, Option<W>))>,
    ) -> TaskResult<()> {
        let mut is_alone = true;
        for w in values {
            is_alone = false;
            sink.push((K::shorten(k), (V::shorten(v), Some(w?))));
        }
        if is_alone {
            sink.push((k, (v, None)));
        }
        Ok(())
    }
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
