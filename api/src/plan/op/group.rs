//! `group`: values of a key in the order of a second key (secondary sort).

use crate::data::arena::Arena;
use crate::data::datum::{Datum, Key, Reader};
use crate::data::decode_error::DecodeError;
use crate::data::emitter::{Emitter, Push};
use crate::data::values::{GROUPS_PER_CHECK, Group, GroupCursor, GroupMemory, Values};
use crate::error::Outcome;
use crate::plan::chain::{Chain, call};
use crate::plan::edge_in::undecodable;
use crate::plan::edge_out::{Layout, Scratch, edge_stages, reading};
use crate::plan::records::{Pairs, Records};
use crate::task::context::TaskCx;
use crate::task::culprit::Op;
use crate::task::failure::TaskResult;
use std::marker::PhantomData;
use std::sync::Arc;
use windrow_engine::PlainEdge;
use windrow_model::{Order, Partitioner, Partitions};

impl<A: Datum, B: Datum, V: Datum> Pairs<(A, B), V> {
    /// Calls `f` once for every `A` with all its `(B, V)`, ascending by `B` (then in input order).
    ///
    /// ```
    /// use windrow::prelude::*;
    /// /// First page of every user, by time.
    /// fn first(visits: &Pairs<(String, u64), String>) -> Pairs<String, String> {
    ///     visits.group(|user, visits, out| {
    ///         if let Some((_time, page)) = visits.next() { out.emit(user, page) }
    ///     })
    /// }
    /// # let got = windrow::testing::run(["u 9 x", "v 3 y", "u 2 z"], |lines| first(&lines.map(|l, out| {
    /// #     let f: Vec<&str> = l.split(' ').collect();
    /// #     out.emit((f[0], f[1].parse::<u64>().unwrap()), f[2])
    /// # }))).unwrap();
    /// # assert_eq!(got, [("u".to_string(), "z".to_string()), ("v".to_string(), "y".to_string())]);
    /// ```
    #[track_caller]
    pub fn group<O: Datum, X: Outcome>(
        &self,
        f: impl Fn(A::Ref<'_>, &mut Values<'_, (B, V)>, &mut Emitter<'_, O>) -> X + Send + Sync + 'static,
    ) -> Records<O>
    where
        A: Key,
        B: Key,
    {
        self.group_as(Op::here("group"), f)
    }

    /// Groups for the operation `op`.
    pub(super) fn group_as<O: Datum, X: Outcome>(
        &self,
        op: Op,
        f: impl Fn(A::Ref<'_>, &mut Values<'_, (B, V)>, &mut Emitter<'_, O>) -> X + Send + Sync + 'static,
    ) -> Records<O>
    where
        A: Key,
        B: Key,
    {
        let partitions = Partitions::Auto;
        let ports = self.flow.shared_edge(self.node, "grouped".to_string(), || {
            let layout = |_: &_| Layout { partitions, partitioner: Partitioner::Hash, order: Order::Key };
            edge_stages(self, "shuffle", op.at, layout, write_grouped::<A, B, V>)
        });
        let ports = ports.in_order();
        let f = Arc::new(f);
        let chain = GroupBy { f: f.clone(), op, types: PhantomData::<fn(A, B, V) -> O> };
        let branch = reading(vec![ports], partitions, op.name, false, vec![], Arc::new(chain));
        Records::new(&self.flow, vec![self.flow.calling(&*f, branch)], None)
    }
}

/// Partitions by the first key only, sorts by both.
fn write_grouped<A: Key, B: Key, V: Datum>(
    edge: &mut PlainEdge,
    ((a, b), v): ((A::Ref<'_>, B::Ref<'_>), V::Ref<'_>),
    scratch: &mut Scratch,
) -> Result<(), windrow_engine::EngineError> {
    let Scratch { key, value } = scratch;
    let partition = A::with_bytes(a, key, |a| edge.partition(a));
    let pair = (A::shorten(a), B::shorten(b));
    <(A, B)>::with_bytes(pair, key, |k| V::with_bytes(v, value, |v| edge.push_to(partition, k, v)))
}

fn decode_grouped<'a, B: Key, V: Datum>(
    suffix: &'a [u8],
    value: &'a [u8],
    arena: &'a Arena,
) -> Result<(B::Ref<'a>, V::Ref<'a>), DecodeError> {
    Ok((B::decode::<true>(&mut Reader::new(suffix, arena))?, V::decode::<true>(&mut Reader::new(value, arena))?))
}

struct GroupBy<A, B, V, O, F> {
    f: Arc<F>,
    op: Op,
    types: PhantomData<fn(A, B, V) -> O>,
}

impl<A: Key, B: Key, V: Datum, O: Datum, X: Outcome, F> Chain<O> for GroupBy<A, B, V, O, F>
where
    F: Fn(A::Ref<'_>, &mut Values<'_, (B, V)>, &mut Emitter<'_, O>) -> X + Send + Sync,
{
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<O>) -> TaskResult<()> {
        let cursor = GroupCursor::open(cx, 0)?;
        let mut memory = GroupMemory::new(cx);
        let mut key = Vec::new();
        let mut groups = 0u64;
        while cursor.next_key(&mut key) && !cx.stopped() {
            let GroupMemory { bytes, arena } = &memory;
            let mut reader = Reader::new(&key, arena);
            let a = A::decode::<false>(&mut reader).map_err(undecodable)?;
            let first = &key[..key.len() - reader.left().len()];
            let group = Group::Prefix(first);
            let decode = decode_grouped::<B, V>;
            let mut values: Values<'_, (B, V)> =
                Values { cursor: &cursor, group, bytes, arena, decode, types: PhantomData };
            cx.working_on_key::<A>(first, || call(cx, &self.op, sink, |out| (self.f)(A::shorten(a), &mut values, out)));
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
