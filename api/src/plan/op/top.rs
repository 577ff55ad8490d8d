//! `top` and `top_by`: the largest records.

use super::gather::{Needs, gathered};
use crate::data::arena::Arena;
use crate::data::datum::{Datum, IntoDatum, Key, Reader};
use crate::data::emitter::{Push, PushFn};
use crate::plan::chain::Chain;
use crate::plan::edge_in::undecodable;
use crate::plan::records::Records;
use crate::task::context::{OpInTask, TaskCx};
use crate::task::culprit::Op;
use crate::task::failure::TaskResult;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::marker::PhantomData;
use std::sync::Arc;

impl<R: Datum> Records<R> {
    /// The `k` largest records, largest first, in one partition; equal records are kept individually. Every task keeps `k`
    /// records in memory, and shuffles no more than those. For the smallest records, use `top_by` with `Reverse`.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn longest(lines: &Records<String>) -> Records<(u64, String)> {
    ///     lines.map(|line, out| out.push((line.len(), line))).top(2)
    /// }
    /// # let got = windrow::testing::run(["a", "ccc", "bb"], |l| longest(&l)).unwrap();
    /// # assert_eq!(got, [(3, "ccc".to_string()), (2, "bb".to_string())]);
    /// ```
    #[track_caller]
    pub fn top(&self, k: usize) -> Records<R>
    where
        R: Key,
    {
        largest::<R, (), _>(self, Op::here("top"), k, |_, _| {})
    }
}

impl<R: Datum> Records<R> {
    /// The `k` records with the largest keys, largest first, in one partition. Of records with equal keys those with the
    /// larger encoding come first, so the result does not depend on the order of the input. Every task keeps `k` records in
    /// memory.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn most_frequent(counts: &Pairs<String, u64>) -> Pairs<String, u64> {
    ///     counts.top_by(10, |(_, count)| count)
    /// }
    /// fn shortest(lines: &Records<String>) -> Records<String> {
    ///     lines.top_by(1, |line| Reverse(line.len()))
    /// }
    /// # assert_eq!(windrow::testing::run(["ccc", "a", "bb"], |l| shortest(&l)).unwrap(), ["a"]);
    /// ```
    #[track_caller]
    pub fn top_by<K: IntoDatum<Datum: Key>>(
        &self,
        k: usize,
        f: impl Fn(R::Ref<'_>) -> K + Send + Sync + 'static,
    ) -> Records<R> {
        let encode = move |r: R::Ref<'_>, out: &mut Vec<u8>| f(r).with(|key| K::Datum::encode::<false>(key, out));
        largest::<R, K::Datum, _>(self, Op::here("top_by"), k, encode)
    }
}

/// The records with the largest keys; `encode` appends the key of a record.
fn largest<R: Datum, K: Datum, F>(records: &Records<R>, op: Op, k: usize, encode: F) -> Records<R>
where
    F: Fn(R::Ref<'_>, &mut Vec<u8>) + Send + Sync + 'static,
{
    records.flow.fingerprint(&[op.name, &k.to_string()]);
    let encode = Arc::new(encode);
    let keep = |before| Largest { before, k, encode: encode.clone(), op, types: PhantomData::<fn() -> K> };
    gathered(&records.chained(op, false, &*encode, keep), op, Needs::Records, u64::MAX)
        .chained(op, false, &*encode, keep)
}

/// Replaces the records of a task by the `k` largest.
struct Largest<R: Datum, K, F> {
    before: Arc<dyn Chain<R>>,
    k: usize,
    encode: Arc<F>,
    op: Op,
    types: PhantomData<fn() -> K>,
}

impl<R: Datum, K: Datum, F> Chain<R> for Largest<R, K, F>
where
    F: Fn(R::Ref<'_>, &mut Vec<u8>) + Send + Sync,
{
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<R>) -> TaskResult<()> {
        let op = OpInTask { op: self.op, cx };
        // Encoded keys with their records; the smallest is on top.
        let mut heap: BinaryHeap<Reverse<Box<[u8]>>> = BinaryHeap::new();
        let mut bytes = Vec::new();
        let keep = |r: R::Ref<'_>| {
            bytes.clear();
            op.call(|| (self.encode)(R::shorten(r), &mut bytes));
            R::encode::<true>(r, &mut bytes);
            if heap.len() < self.k {
                heap.push(Reverse(bytes.as_slice().into()));
            } else if let Some(mut least) = heap.peek_mut().filter(|least| *bytes > *least.0) {
                *least = Reverse(bytes.as_slice().into());
            }
        };
        self.before.run(cx, &mut PushFn::<R, _>::new(keep))?;
        let mut arena = Arena::new();
        for Reverse(bytes) in heap.into_sorted_vec() {
            let (_, r) = <(K, R)>::decode::<true>(&mut Reader::new(&bytes, &arena)).map_err(undecodable)?;
            sink.push(r);
            arena.reset();
        }
        Ok(())
    }
}
