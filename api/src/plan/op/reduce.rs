//! `reduce`: streams all values of a key to a function.

use crate::data::datum::{Datum, IntoDatum, Key, Reader};
use crate::data::emitter::{Emitter, Push};
use crate::data::values::{GROUPS_PER_CHECK, Group, GroupCursor, GroupMemory, Values, decode_value};
use crate::error::Outcome;
use crate::plan::chain::{Chain, call};
use crate::plan::edge_in::undecodable;
use crate::plan::edge_out::{keyed_ports, reading};
use crate::plan::records::{Pairs, Records};
use crate::task::context::TaskCx;
use crate::task::culprit::Op;
use crate::task::failure::TaskResult;
use std::marker::PhantomData;
use std::sync::Arc;

impl<K: Datum, V: Datum> Pairs<K, V> {
    /// Calls `f` once for every key with all its values. Keys come in order; values in input order. Use `combine` if
    /// values can be folded: it moves far less data.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn longest(pairs: &Pairs<String, String>) -> Pairs<String, String> {
    ///     pairs.reduce(|key, values, out| {
    ///         if let Some(value) = values.max_by_key(|v| v.len()) { out.emit(key, value) }
    ///     })
    /// }
    /// # let got = windrow::testing::run(["a bb", "a c", "b d"], |lines| longest(&lines.map(|l, out| {
    /// #     if let Some((k, v)) = l.split_once(' ') { out.emit(k, v) }
    /// # }))).unwrap();
    /// # assert_eq!(got, [("a".to_string(), "bb".to_string()), ("b".to_string(), "d".to_string())]);
    /// ```
    #[track_caller]
    pub fn reduce<O: Datum, X: Outcome>(
        &self,
        f: impl Fn(K::Ref<'_>, &mut Values<'_, V>, &mut Emitter<'_, O>) -> X + Send + Sync + 'static,
    ) -> Records<O>
    where
        K: Key,
    {
        let op = Op::here("reduce");
        let partitions = self.partitions_by_key();
        let ports = keyed_ports(self, partitions, "shuffle", op.at).in_order();
        let f = Arc::new(f);
        let chain = Reduce { f: f.clone(), op, types: PhantomData::<fn(K, V) -> O> };
        let branch = reading(vec![ports], partitions, "reduce", false, vec![], Arc::new(chain));
        Records::new(&self.flow, vec![self.flow.calling(&*f, branch)], None)
    }

    /// Replaces all values of a key by one value that `f` computes from them. Keys come in order, values in input
    /// order; the partitioning stays, so a join with the result moves nothing.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn targets(links: &Pairs<u64, u64>) -> Pairs<u64, Vec<u64>> {
    ///     links.reduce_values(|_, targets| targets.collect::<Vec<u64>>())
    /// }
    /// # let got = windrow::testing::run(["1 2", "2 1", "1 3"], |lines| targets(&lines.map(|l, out| {
    /// #     let (a, b) = l.split_once(' ').unwrap();
    /// #     out.emit(a.parse::<u64>().unwrap(), b.parse::<u64>().unwrap())
    /// # }))).unwrap();
    /// # assert_eq!(got, [(1, vec![2, 3]), (2, vec![1])]);
    /// ```
    #[track_caller]
    pub fn reduce_values<T: IntoDatum>(
        &self,
        f: impl Fn(K::Ref<'_>, &mut Values<'_, V>) -> T + Send + Sync + 'static,
    ) -> Pairs<K, T::Datum>
    where
        K: Key,
    {
        let op = Op::here("reduce_values");
        let partitions = self.partitions_by_key();
        let ports = keyed_ports(self, partitions, "shuffle", op.at).in_order();
        let emit = move |key: K::Ref<'_>, values: &mut Values<'_, V>, out: &mut Emitter<'_, (K, T::Datum)>| {
            f(K::shorten(key), values).with(|t| out.forward((K::shorten(key), <T::Datum as Datum>::shorten(t))))
        };
        let emit = Arc::new(emit);
        let chain = Reduce { f: emit.clone(), op, types: PhantomData::<fn(K, V) -> (K, T::Datum)> };
        let branch = reading(vec![ports], partitions, "reduce_values", false, vec![], Arc::new(chain));
        Records::new(&self.flow, vec![self.flow.calling(&*emit, branch)], Some(partitions))
    }
}

struct Reduce<K, V, O, F> {
    f: Arc<F>,
    op: Op,
    types: PhantomData<fn(K, V) -> O>,
}

impl<K: Key, V: Datum, O: Datum, X: Outcome, F> Chain<O> for Reduce<K, V, O, F>
where
    F: Fn(K::Ref<'_>, &mut Values<'_, V>, &mut Emitter<'_, O>) -> X + Send + Sync,
{
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<O>) -> TaskResult<()> {
        let cursor = GroupCursor::open(cx, 0)?;
        let mut memory = GroupMemory::new(cx);
        let mut key = Vec::new();
        let mut groups = 0u64;
        while cursor.next_key(&mut key) && !cx.stopped() {
            let GroupMemory { bytes, arena } = &memory;
            let k = K::decode::<true>(&mut Reader::new(&key, arena)).map_err(undecodable)?;
            let group = Group::Key(&key);
            let mut values =
                Values { cursor: &cursor, group, bytes, arena, decode: decode_value::<V>, types: PhantomData };
            cx.working_on_key::<K>(&key, || call(cx, &self.op, sink, |out| (self.f)(k, &mut values, out)));
            cursor.skip(group)?;
            memory.reset(cx);
            groups += 1;
            if groups.is_multiple_of(GROUPS_PER_CHECK) {
                cx.check_cancelled();
            }
        }
        Ok(())
    }
}
