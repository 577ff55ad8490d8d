//! `combine`: folds the values of a key on both sides of a shuffle.

use crate::combiner::Combiner;
use crate::data::arena::Arena;
use crate::data::datum::{Datum, IntoDatum, Key, Reader};
use crate::data::emitter::Push;
use crate::data::values::GROUPS_PER_CHECK;
use crate::plan::chain::Chain;
use crate::plan::edge_in::{concat, undecodable_there};
use crate::plan::edge_out::{partitioning, reading};
use crate::plan::records::{Pairs, Records};
use crate::task::context::{OpInTask, TaskCx};
use crate::task::culprit::Op;
use crate::task::failure::TaskResult;
use crate::task::written::Written;
use std::marker::PhantomData;
use std::sync::Arc;
use windrow_engine::{Accumulate, CombinedEdge, EngineError, Folder};
use windrow_model::counters::names;
use windrow_model::{Order, Output, Partitioner, Port};

impl<K: Datum, V: Datum> Pairs<K, V> {
    /// Folds all values of each key with a combiner: `Sum`, `Min`, `Max`, `Count`, `Mean`, `TopK`, a tuple of them, or
    /// your own. Values are folded where they are emitted, so only one accumulator per key and task is shuffled. The
    /// result is in key order and stays partitioned by key.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn stats(readings: &Pairs<String, f64>) -> Pairs<String, (f64, f64, f64)> {
    ///     readings.combine((Min, Mean, Max))
    /// }
    /// # let got = windrow::testing::run(["a 1", "a 3"], |lines| stats(&lines.map(|l, out| {
    /// #     let (k, v) = l.split_once(' ').unwrap();
    /// #     out.emit(k, v.parse::<f64>().unwrap())
    /// # })));
    /// # assert_eq!(got.unwrap(), [("a".to_string(), (1.0, 2.0, 3.0))]);
    /// ```
    #[track_caller]
    pub fn combine<C: Combiner<V>>(&self, combiner: C) -> Pairs<K, <C::Out as IntoDatum>::Datum>
    where
        K: Key,
    {
        self.combine_as(Op::here("combine"), combiner)
    }

    /// Combines for the operation `op`.
    pub(super) fn combine_as<C: Combiner<V>>(&self, op: Op, combiner: C) -> Pairs<K, <C::Out as IntoDatum>::Datum>
    where
        K: Key,
    {
        let combiner = Arc::new(combiner);
        let partitions = self.partitions_by_key();
        let mut ports = Vec::new();
        for branch in self.branches.iter().map(|branch| self.flow.calling(&*combiner, branch.clone())) {
            let there = branch.lies_in().filter(|_| self.keyed.is_some());
            let partitioner = there.map_or(Partitioner::Hash, |(_, partitioner)| partitioner);
            let (chain, combiner) = (branch.chain.clone(), combiner.clone());
            let output = Output::Edge { partitions, partitioner, order: Order::Key, combined: true };
            let stage = self.flow.add_stage(&branch, op.name, op.at, vec![], vec![output], move |cx| {
                Ok(vec![fold_into_edge::<K, V, C>(cx, op, &*chain, partitioner, combiner.clone())?])
            });
            ports.push(Port { stage, output: 0 });
        }
        let chain = Combined { combiner: combiner.clone(), op, types: PhantomData::<fn() -> (K, V)> };
        let branch = reading(vec![ports], partitions, "combined", false, vec![], Arc::new(chain));
        Records::new(&self.flow, vec![self.flow.calling(&*combiner, branch)], Some(partitions))
    }
}

/// A combiner in the form that the engine's tables use.
struct Fold<V, C> {
    combiner: Arc<C>,
    types: PhantomData<fn(V)>,
}

impl<V: Datum, C: Combiner<V>> Accumulate for Fold<V, C> {
    type Acc = C::Acc;
    #[inline(always)]
    fn merge(&self, into: &mut C::Acc, other: C::Acc) {
        self.combiner.merge(into, other)
    }
    #[inline]
    fn encode(&self, acc: &C::Acc, out: &mut Vec<u8>) {
        self.combiner.encode(acc, out)
    }
    #[inline(always)]
    fn decode(&self, bytes: &[u8]) -> Result<C::Acc, EngineError> {
        self.combiner.decode(bytes).map_err(undecodable_there)
    }
    #[inline(always)]
    fn merge_encoded(&self, into: &mut C::Acc, bytes: &[u8]) -> Result<(), EngineError> {
        self.combiner.merge_encoded(into, bytes).map_err(undecodable_there)
    }
    #[inline]
    fn heap_bytes(&self, acc: &C::Acc) -> usize {
        self.combiner.heap_bytes(acc)
    }
}

/// Folds pairs into an edge. The operation comes first in memory: the guard of each call then needs no address of its own.
#[repr(C)]
struct FoldSink<'c, 't, K, V: Datum, C: Combiner<V>> {
    op: OpInTask<'c, 't>,
    edge: CombinedEdge<Fold<V, C>>,
    combiner: &'c C,
    key: Vec<u8>,
    emitted: u64,
    types: PhantomData<fn(K)>,
}

impl<K: Key, V: Datum, C: Combiner<V>> Push<(K, V)> for FoldSink<'_, '_, K, V, C> {
    #[inline]
    fn push(&mut self, (k, v): (K::Ref<'_>, V::Ref<'_>)) {
        self.emitted += 1;
        let (edge, combiner) = (&mut self.edge, self.combiner);
        let (create, encode) = (|v| combiner.create(v), |v, out: &mut Vec<u8>| combiner.encode_value(v, out));
        let push = || K::with_bytes(k, &mut self.key, |k| edge.push_value(k, v, create, encode));
        if let Err(e) = self.op.call(push) {
            self.op.cx.fail(e);
        }
    }
}

fn fold_into_edge<K: Key, V: Datum, C: Combiner<V>>(
    cx: &TaskCx<'_>,
    op: Op,
    chain: &dyn Chain<(K, V)>,
    partitioner: Partitioner,
    combiner: Arc<C>,
) -> TaskResult<Written> {
    let spec = cx.edge(0, |n| partitioning(cx, partitioner, n));
    let edge = CombinedEdge::new(spec, Fold { combiner: combiner.clone(), types: PhantomData })?;
    let types = PhantomData::<fn(K)>;
    let op = OpInTask { op, cx };
    let mut sink = FoldSink { op, edge, combiner: &*combiner, key: Vec::new(), emitted: 0, types };
    cx.take_any_order();
    chain.run(cx, &mut sink)?;
    cx.outcome()?;
    Ok(cx.emitted(sink.emitted, sink.edge.finish()?))
}

/// Reads accumulators, merges those of one key and finishes them: in key order, unless the consumer allows any order.
struct Combined<K, V, C> {
    combiner: Arc<C>,
    op: Op,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K: Key, V: Datum, C: Combiner<V>> Chain<(K, <C::Out as IntoDatum>::Datum)> for Combined<K, V, C> {
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<(K, <C::Out as IntoDatum>::Datum)>) -> TaskResult<()> {
        // The estimate assumes that pairs were folded by the producers: then there are at least as many keys as pairs
        // in a segment.
        let keys = cx.largest_segment(0) as usize / 2;
        let fold = Fold { combiner: self.combiner.clone(), types: PhantomData::<fn(V)> };
        let mut folder = Folder::new(fold, cx.folder, &cx.share, keys)?;
        let mut read = 0u64;
        let pairs = concat(cx, 0)?;
        // No key is named, because pairs are read ahead: the pair that is merged may be another than the pair that was
        // read.
        let folded = cx.in_op(&self.op, || {
            pairs.for_each_batch(&|| cx.alive(), |batch| {
                read += batch.len() as u64;
                folder.push_batch(batch)
            })
        });
        folded.map_err(|e| cx.input_error(0, e))?;
        cx.count(names::RECORDS_MERGED, read);
        let mut arena = Arena::new();
        let mut groups = 0u64;
        let spilled = folder.finish(!cx.any_order(), |_, key, acc| {
            let k = K::decode::<true>(&mut Reader::new(key, &arena)).map_err(undecodable_there)?;
            cx.working_on_key::<K>(key, || {
                let finished = cx.in_op(&self.op, || self.combiner.finish(acc));
                finished.with(|v| sink.push((K::shorten(k), <<C::Out as IntoDatum>::Datum as Datum>::shorten(v))))
            });
            arena.reset();
            groups += 1;
            if groups.is_multiple_of(GROUPS_PER_CHECK) || cx.stopped() { cx.alive() } else { Ok(()) }
        })?;
        cx.count_spilled(spilled);
        Ok(())
    }
}
