//! Fused operations: a chain reads its input once and pushes every record to one receiver.

use crate::data::datum::Datum;
use crate::data::emitter::{Emitter, Push};
use crate::error::{Outcome, Result};
use crate::plan::broadcast::Bound;
use crate::plan::demand::Demand;
use crate::task::context::{OpInTask, TaskCx};
use crate::task::culprit::Op;
use crate::task::failure::TaskResult;
use std::marker::PhantomData;
use std::sync::Arc;
use windrow_model::{Input, Partitioner, Partitions, Port};

/// Produces the records of one family from a task's inputs.
pub(crate) trait Chain<R: Datum>: Send + Sync {
    /// Pushes all records to `sink`.
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<R>) -> TaskResult<()>;
}

/// A chain with the inputs that a stage made from it reads.
pub(crate) struct Branch<R: Datum> {
    pub inputs: Vec<Input>,
    pub chain: Arc<dyn Chain<R>>,
    pub label: String,
    /// Partitions of the edges that the branch reads; `None` for a source.
    pub partitions: Option<Partitions>,
    /// Number of the files that the branch reads, if each holds a partition of the records.
    pub files: Option<u32>,
    pub deterministic: bool,
    /// The ports that the branch reads, if it reads them unchanged and does nothing else.
    pub direct: Option<Vec<Port>>,
    /// Whether each record comes while its chain works on the record of a file, or on the key, that it is made from.
    pub has_places: bool,
    /// The demands of the edges on whose order the order of the records depends.
    pub demands: Vec<Arc<Demand>>,
    /// The broadcasts that the branch's functions may read: its stage depends on them.
    pub broadcasts: Vec<Bound>,
    /// Whether the branch has records only if another branch of the same operation has none, and only for readers that do not
    /// depend on an order. So the layout of a part file follows the other one.
    pub is_alternative: bool,
}

impl<R: Datum> Clone for Branch<R> {
    fn clone(&self) -> Self {
        Branch {
            inputs: self.inputs.clone(),
            chain: self.chain.clone(),
            label: self.label.clone(),
            partitions: self.partitions,
            files: self.files,
            deterministic: self.deterministic,
            direct: self.direct.clone(),
            has_places: self.has_places,
            demands: self.demands.clone(),
            broadcasts: self.broadcasts.clone(),
            is_alternative: self.is_alternative,
        }
    }
}

impl<R: Datum> Branch<R> {
    /// Returns this branch with one more operation.
    pub(crate) fn then<O: Datum>(&self, op: &str, chain: Arc<dyn Chain<O>>) -> Branch<O> {
        Branch {
            inputs: self.inputs.clone(),
            chain,
            label: format!("{} → {op}", self.label),
            partitions: self.partitions,
            files: self.files,
            deterministic: self.deterministic,
            direct: None,
            has_places: self.has_places,
            demands: self.demands.clone(),
            broadcasts: self.broadcasts.clone(),
            is_alternative: self.is_alternative,
        }
    }

    /// Makes the branch's stage depend on a broadcast.
    pub(crate) fn read(&mut self, broadcast: &Bound) {
        if self.broadcasts.iter().all(|known| known.port != broadcast.port) {
            self.broadcasts.push(broadcast.clone());
        }
    }

    /// The partitions in which the records lie where the branch reads them, and the partitioner that leaves them there.
    pub(crate) fn lies_in(&self) -> Option<(Partitions, Partitioner)> {
        let in_files = || self.files.map(|n| (Partitions::Count(n), Partitioner::InputFile));
        self.partitions.map(|partitions| (partitions, Partitioner::Same)).or_else(in_files)
    }

    /// Declares that the end of the branch depends on the order of its records.
    pub(crate) fn need_order(&self) {
        self.demands.iter().for_each(|d| d.need_order());
    }
}

/// One operation on each record, fused with the operations before it.
pub(crate) struct Step<R: Datum, O: Datum, F> {
    pub before: Arc<dyn Chain<R>>,
    pub f: Arc<F>,
    pub op: Op,
    pub types: PhantomData<fn(R) -> O>,
}

impl<R: Datum, O: Datum, F> Chain<O> for Step<R, O, F>
where
    F: Fn(&OpInTask<'_, '_>, R::Ref<'_>, &mut dyn Push<O>) + Send + Sync,
{
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<O>) -> TaskResult<()> {
        struct StepSink<'s, 't, R, O: Datum, F> {
            f: &'s F,
            op: OpInTask<'s, 't>,
            sink: &'s mut dyn Push<O>,
            types: PhantomData<fn(R)>,
        }
        impl<R: Datum, O: Datum, F> Push<R> for StepSink<'_, '_, R, O, F>
        where
            F: Fn(&OpInTask<'_, '_>, R::Ref<'_>, &mut dyn Push<O>),
        {
            #[inline]
            fn push(&mut self, r: R::Ref<'_>) {
                self.op.call(|| (self.f)(&self.op, r, self.sink))
            }
        }
        let op = OpInTask { op: self.op, cx };
        self.before.run(cx, &mut StepSink { f: &*self.f, op, sink, types: PhantomData::<fn(R)> })
    }
}

/// Calls a user function that emits, and records its error or panic against the current record.
#[inline]
pub(crate) fn call<O: Datum, X: Outcome>(
    cx: &TaskCx<'_>,
    op: &Op,
    sink: &mut dyn Push<O>,
    f: impl FnOnce(&mut Emitter<'_, O>) -> X,
) {
    let result: Result<()> = cx.in_op(op, || f(&mut Emitter::new(sink)).into_result());
    if let Err(e) = result {
        user_error(cx, op, e);
    }
}

/// The same as [`call`], for use within a [`Step`], which names its operation if a panic unwinds through it.
#[inline(always)]
pub(crate) fn call_in_step<O: Datum, X: Outcome>(
    op: &OpInTask<'_, '_>,
    sink: &mut dyn Push<O>,
    f: impl FnOnce(&mut Emitter<'_, O>) -> X,
) {
    let result: Result<()> = f(&mut Emitter::new(sink)).into_result();
    if let Err(e) = result {
        user_error_in_step(op, e);
    }
}

#[cold]
#[inline(never)]
fn user_error_in_step(op: &OpInTask<'_, '_>, e: crate::error::Error) {
    user_error(op.cx, &op.op, e)
}

#[cold]
pub(crate) fn user_error(cx: &TaskCx<'_>, op: &Op, e: crate::error::Error) {
    cx.fail_in(op, cx.placed(e))
}
