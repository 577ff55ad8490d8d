//! `cogroup`: two collections by key, side by side.

use crate::data::datum::{Datum, Key, Reader};
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
use windrow_model::Partitions;

impl<K: Datum, V: Datum> Pairs<K, V> {
    /// Calls `f` once for every key of either side, with its values on both sides (possibly none on one). Keys come in
    /// order. A side that is already partitioned by this key is not shuffled again.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn count_both(a: &Pairs<String, u64>, b: &Pairs<String, u64>) -> Pairs<String, (u64, u64)> {
    ///     a.cogroup(b, |key, left, right, out| {
    ///         out.emit(key, (left.count(), right.count()))
    ///     })
    /// }
    /// ```
    #[track_caller]
    pub fn cogroup<W: Datum, O: Datum, X: Outcome>(
        &self,
        other: &Pairs<K, W>,
        f: impl Fn(K::Ref<'_>, &mut Values<'_, V>, &mut Values<'_, W>, &mut Emitter<'_, O>) -> X + Send + Sync + 'static,
    ) -> Records<O>
    where
        K: Key,
    {
        let op = Op::here("cogroup");
        let partitions = self.keyed.or(other.keyed).unwrap_or(Partitions::Auto);
        let left = keyed_ports(self, partitions, "shuffle", op.at).in_order();
        let right = keyed_ports(other, partitions, "shuffle", op.at).in_order();
        let f = Arc::new(f);
        let chain = CoGroup { f: f.clone(), op, types: PhantomData::<fn(K, V, W) -> O> };
        let branch = reading(vec![left, right], partitions, "cogroup", false, vec![], Arc::new(chain));
        Records::new(&self.flow, vec![self.flow.calling(&*f, branch)], None)
    }
}

struct CoGroup<K, V, W, O, F> {
    f: Arc<F>,
    op: Op,
    types: PhantomData<fn(K, V, W) -> O>,
}

impl<K: Key, V: Datum, W: Datum, O: Datum, X: Outcome, F> Chain<O> for CoGroup<K, V, W, O, F>
where
    F: Fn(K::Ref<'_>, &mut Values<'_, V>, &mut Values<'_, W>, &mut Emitter<'_, O>) -> X + Send + Sync,
{
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<O>) -> TaskResult<()> {
        for_each_key::<K, V, W>(cx, |k, left, right| call(cx, &self.op, sink, |out| (self.f)(k, left, right, out)))
    }
}

/// Iterates over two inputs in key order and calls `f` for every key of either.
pub(super) fn for_each_key<K: Key, V: Datum, W: Datum>(
    cx: &TaskCx<'_>,
    mut f: impl FnMut(K::Ref<'_>, &mut Values<'_, V>, &mut Values<'_, W>),
) -> TaskResult<()> {
    let (left, right) = (GroupCursor::open(cx, 0)?, GroupCursor::open(cx, 1)?);
    let mut memory = GroupMemory::new(cx);
    let mut key = Vec::new();
    let mut groups = 0u64;
    while !cx.stopped() {
        let smaller = left.with_key(|l| {
            right.with_key(|r| match (l, r) {
                (Some(l), Some(r)) => Some(l <= r),
                (Some(_), None) => Some(true),
                (None, Some(_)) => Some(false),
                (None, None) => None,
            })
        });
        match smaller {
            Some(true) => left.next_key(&mut key),
            Some(false) => right.next_key(&mut key),
            None => break,
        };
        let GroupMemory { bytes, arena } = &memory;
        let k = K::decode::<true>(&mut Reader::new(&key, arena)).map_err(undecodable)?;
        let group = Group::Key(&key);
        let mut vs = Values { cursor: &left, group, bytes, arena, decode: decode_value::<V>, types: PhantomData };
        let mut ws = Values { cursor: &right, group, bytes, arena, decode: decode_value::<W>, types: PhantomData };
        cx.working_on_key::<K>(&key, || f(k, &mut vs, &mut ws));
        left.skip(group)?;
        right.skip(group)?;
        memory.reset(cx);
        groups += 1;
        if groups.is_multiple_of(GROUPS_PER_CHECK) {
            cx.check_cancelled();
        }
    }
    Ok(())
}
