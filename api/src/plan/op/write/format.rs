//! Formats the records of a task for a sink, so that a later task only has to join the bytes of a part.

use crate::data::datum::Datum;
use crate::data::emitter::Push;
use crate::plan::captured::append_captured;
use crate::plan::chain::Chain;
use crate::sink::{Appender, Sink};
use crate::task::context::{OpInTask, TaskCx};
use crate::task::culprit::Op;
use crate::task::failure::TaskResult;
use crate::task::written::Written;
use std::marker::PhantomData;
use windrow_engine::{Partitioning, PlainEdge};

/// Formats records and pushes the bytes of each into an edge. The operation comes first in memory, as in `FoldSink`.
#[repr(C)]
struct FormatSink<'c, 't, R, S> {
    op: OpInTask<'c, 't>,
    sink: &'c S,
    edge: PlainEdge,
    /// The bytes of one record.
    formatted: Vec<u8>,
    captures: bool,
    emitted: u64,
    types: PhantomData<fn(R)>,
}

impl<R: Datum, S: Sink<R>> Push<R> for FormatSink<'_, '_, R, S> {
    #[inline]
    fn push(&mut self, r: R::Ref<'_>) {
        self.emitted += 1;
        let (op, sink, formatted) = (&self.op, self.sink, &mut self.formatted);
        formatted.clear();
        if let Err(e) = op.call_on::<R, _>(&r, || sink.write(R::shorten(r), &mut Appender::new(formatted))) {
            return op.cx.fail_in_on::<R>(&op.op, r, e);
        }
        if self.captures {
            append_captured::<R>(r, formatted);
        }
        if let Err(e) = self.edge.push(&[], formatted) {
            op.cx.fail(e);
        }
    }
}

/// Runs a chain through the sink into the only edge of the task. `captures`: the record itself follows its bytes.
pub(super) fn format_into_edge<R: Datum, S: Sink<R>>(
    cx: &TaskCx<'_>,
    op: Op,
    chain: &dyn Chain<R>,
    partitioning: impl FnOnce(u32) -> Partitioning,
    sink: &S,
    captures: bool,
) -> TaskResult<Written> {
    let edge = PlainEdge::new(cx.edge(0, partitioning));
    let (op, types) = (OpInTask { op, cx }, PhantomData::<fn(R)>);
    let mut formatting = FormatSink { op, sink, edge, formatted: Vec::new(), captures, emitted: 0, types };
    chain.run(cx, &mut formatting)?;
    cx.outcome()?;
    Ok(cx.emitted(formatting.emitted, formatting.edge.finish()?))
}
