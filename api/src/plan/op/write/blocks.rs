//! The part file of one task whose records lie in blocks.

use super::part::{captured, finish};
use crate::data::datum::Datum;
use crate::data::emitter::Push;
use crate::error::Result;
use crate::plan::captured::Capture;
use crate::plan::chain::Chain;
use crate::sink::{BlockPart, PartWriter, Sink};
use crate::task::context::{OpInTask, TaskCx};
use crate::task::culprit::Op;
use crate::task::failure::TaskResult;
use crate::task::written::Written;
use std::marker::PhantomData;
use windrow_format::record_file::Description;

/// Adds records to a part whose records lie in blocks. The operation comes first in memory, as in `FoldSink`.
#[repr(C)]
struct BlockSink<'c, 't, R: Datum, S> {
    op: OpInTask<'c, 't>,
    sink: &'c S,
    part: BlockPart,
    writer: PartWriter,
    types: PhantomData<fn(R)>,
}

impl<R: Datum, S: Sink<R>> Push<R> for BlockSink<'_, '_, R, S> {
    #[inline]
    fn push(&mut self, r: R::Ref<'_>) {
        let (op, sink, part, writer) = (&self.op, self.sink, &mut self.part, &mut self.writer);
        let encoded: Result<()> = op.call_on::<R, _>(&r, || part.encode(sink, R::shorten(r)));
        match encoded.and_then(|()| part.add(writer.buffer())) {
            Ok(()) => writer.record().unwrap_or_else(|e| op.cx.fail(e)),
            Err(e) => op.cx.fail_in_on::<R>(&op.op, r, e),
        }
    }
}

/// Writes the records of a chain in blocks.
pub(super) fn write_blocks<R: Datum, S: Sink<R>>(
    cx: &TaskCx<'_>,
    op: Op,
    index: u32,
    sink: &S,
    description: &Description,
    capture: Option<&Capture>,
    chain: &dyn Chain<R>,
) -> TaskResult<Written> {
    let path = cx.output_file(&windrow_format::names::sink_file(index));
    let mut writer = PartWriter::create(&path, sink.compression(), false)?;
    let part = BlockPart::begin(description, writer.buffer());
    let mut blocks = BlockSink { op: OpInTask { op, cx }, sink, part, writer, types: PhantomData::<fn(R)> };
    captured(cx, capture, chain, &mut blocks)?;
    cx.outcome()?;
    let BlockSink { part, mut writer, .. } = blocks;
    part.end(writer.buffer());
    finish(cx, index, writer)
}
