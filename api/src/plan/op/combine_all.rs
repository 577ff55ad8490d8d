//! `combine_all`: folds all records into one result.

use super::gather::{Needs, gathered};
use crate::combiner::Combiner;
use crate::data::datum::{Datum, IntoDatum};
use crate::data::emitter::{Push, PushFn};
use crate::plan::chain::Chain;
use crate::plan::edge_in::undecodable;
use crate::plan::records::Records;
use crate::task::context::{OpInTask, TaskCx};
use crate::task::culprit::Op;
use crate::task::failure::TaskResult;
use std::marker::PhantomData;
use std::sync::Arc;

impl<R: Datum> Records<R> {
    /// Folds all records with a combiner into one record; there is none if there are no records. Every task folds its own,
    /// so only one accumulator for each task is shuffled. Its memory is that of one accumulator. To fold the values of each
    /// key, use `combine`.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn lengths(lines: &Records<String>) -> Records<(u64, u64)> {
    ///     lines.map(|line, out| out.push(line.len())).combine_all((Max, Sum))
    /// }
    /// # assert_eq!(windrow::testing::run(["abc", "a"], |l| lengths(&l)).unwrap(), [(3, 4)]);
    /// # assert_eq!(windrow::testing::run([""; 0], |l| lengths(&l)).unwrap(), []);
    /// ```
    #[track_caller]
    pub fn combine_all<C: Combiner<R>>(&self, combiner: C) -> Records<<C::Out as IntoDatum>::Datum> {
        self.fold_all(Op::here("combine_all"), combiner, None)
    }

    /// Folds all records; `empty` makes the result of no records.
    pub(super) fn fold_all<C: Combiner<R>>(
        &self,
        op: Op,
        combiner: C,
        empty: Option<fn(&C) -> C::Out>,
    ) -> Records<<C::Out as IntoDatum>::Datum> {
        let combiner = Arc::new(combiner);
        let fold = |before| Fold { before, combiner: combiner.clone(), op };
        let folded = gathered(&self.chained(op, false, &*combiner, fold), op, Needs::Records, u64::MAX);
        let merge = |before| Merge { before, combiner: combiner.clone(), op, empty, types: PhantomData::<fn(R)> };
        folded.chained(op, false, &*combiner, merge)
    }
}

/// Replaces the records of a task by the encoding of their accumulator.
struct Fold<R: Datum, C> {
    before: Arc<dyn Chain<R>>,
    combiner: Arc<C>,
    op: Op,
}

impl<R: Datum, C: Combiner<R>> Chain<Vec<u8>> for Fold<R, C> {
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<Vec<u8>>) -> TaskResult<()> {
        let (op, combiner) = (OpInTask { op: self.op, cx }, &*self.combiner);
        let mut all: Option<C::Acc> = None;
        let fold = |r: R::Ref<'_>| {
            op.call(|| {
                let new = combiner.create(r);
                match &mut all {
                    Some(acc) => combiner.merge(acc, new),
                    None => all = Some(new),
                }
            })
        };
        self.before.run(cx, &mut PushFn::<R, _>::new(fold))?;
        if let Some(acc) = all {
            let mut bytes = Vec::new();
            op.call(|| combiner.encode(&acc, &mut bytes));
            sink.push(&bytes);
        }
        Ok(())
    }
}

/// Merges encoded accumulators into the result.
struct Merge<R: Datum, C: Combiner<R>> {
    before: Arc<dyn Chain<Vec<u8>>>,
    combiner: Arc<C>,
    op: Op,
    empty: Option<fn(&C) -> C::Out>,
    types: PhantomData<fn(R)>,
}

impl<R: Datum, C: Combiner<R>> Chain<<C::Out as IntoDatum>::Datum> for Merge<R, C> {
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<<C::Out as IntoDatum>::Datum>) -> TaskResult<()> {
        let (op, combiner) = (OpInTask { op: self.op, cx }, &*self.combiner);
        let mut all: Option<C::Acc> = None;
        let merge = |bytes: &[u8]| match combiner.decode(bytes) {
            Ok(new) => op.call(|| match &mut all {
                Some(acc) => combiner.merge(acc, new),
                None => all = Some(new),
            }),
            Err(e) => cx.fail(undecodable(e)),
        };
        self.before.run(cx, &mut PushFn::<Vec<u8>, _>::new(merge))?;
        let result = match all {
            Some(acc) => Some(op.call(|| combiner.finish(acc))),
            None => self.empty.map(|empty| empty(combiner)),
        };
        if let Some(result) = result {
            result.with(|r| sink.push(r));
        }
        Ok(())
    }
}
