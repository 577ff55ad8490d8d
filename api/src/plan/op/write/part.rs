//! The part file of one task: its own records, or the formatted ones of other tasks.

use crate::data::datum::Datum;
use crate::data::emitter::{Push, PushFn};
use crate::plan::captured::{Capture, CapturedPart, split_captured};
use crate::plan::chain::Chain;
use crate::sink::{Appender, PartWriter, Sink};
use crate::task::context::{OpInTask, TaskCx};
use crate::task::culprit::Op;
use crate::task::failure::TaskResult;
use crate::task::written::Written;
use std::marker::PhantomData;
use windrow_model::Location;
use windrow_model::counters::names;

/// Appends records to a part file. The operation comes first in memory, as in `FoldSink`.
#[repr(C)]
struct PartSink<'c, 't, R: Datum, S> {
    op: OpInTask<'c, 't>,
    sink: &'c S,
    writer: PartWriter,
    types: PhantomData<fn(R)>,
}

impl<R: Datum, S: Sink<R>> Push<R> for PartSink<'_, '_, R, S> {
    #[inline]
    fn push(&mut self, r: R::Ref<'_>) {
        let (op, sink, writer) = (&self.op, self.sink, &mut self.writer);
        match op.call_on::<R, _>(&r, || sink.write(R::shorten(r), &mut Appender::new(writer.buffer()))) {
            Ok(()) => writer.record().unwrap_or_else(|e| op.cx.fail(e)),
            Err(e) => op.cx.fail_in_on::<R>(&op.op, r, e),
        }
    }
}

/// Writes the records of a chain.
pub(super) fn write_part<R: Datum, S: Sink<R>>(
    cx: &TaskCx<'_>,
    op: Op,
    index: u32,
    sink: &S,
    capture: Option<&Capture>,
    chain: &dyn Chain<R>,
) -> TaskResult<Written> {
    let writer = part_writer(cx, index, sink)?;
    let mut part = PartSink { op: OpInTask { op, cx }, sink, writer, types: PhantomData::<fn(R)> };
    captured(cx, capture, chain, &mut part)?;
    cx.outcome()?;
    finish(cx, index, part.writer)
}

/// Runs a chain into a part, and captures its records if they are asked for.
pub(super) fn captured<R: Datum>(
    cx: &TaskCx<'_>,
    capture: Option<&Capture>,
    chain: &dyn Chain<R>,
    part: &mut dyn Push<R>,
) -> TaskResult<()> {
    let Some(capture) = capture else { return chain.run(cx, part) };
    let mut captured = CapturedPart::default();
    chain.run(
        cx,
        &mut PushFn::<R, _>::new(|r: R::Ref<'_>| {
            captured.push::<R>(R::shorten(r));
            part.push(r)
        }),
    )?;
    capture.keep(cx.task.attempt.task.index, captured);
    Ok(())
}

/// Joins the bytes of records that a sink has formatted in other tasks.
pub(super) fn join_part<R: Datum, S: Sink<R>>(
    cx: &TaskCx<'_>,
    index: u32,
    sink: &S,
    capture: Option<&Capture>,
    chain: &dyn Chain<Vec<u8>>,
) -> TaskResult<Written> {
    let mut writer = part_writer(cx, index, sink)?;
    let mut append = |bytes: &[u8]| {
        writer.buffer().extend_from_slice(bytes);
        writer.record().unwrap_or_else(|e| cx.fail(e))
    };
    match capture {
        None => chain.run(cx, &mut PushFn::<Vec<u8>, _>::new(append))?,
        Some(capture) => {
            let mut captured = CapturedPart::default();
            chain.run(
                cx,
                &mut PushFn::<Vec<u8>, _>::new(|bytes: &[u8]| {
                    let (bytes, record) = split_captured(bytes);
                    captured.push_encoded(record);
                    append(bytes)
                }),
            )?;
            capture.keep(cx.task.attempt.task.index, captured);
        }
    }
    cx.outcome()?;
    finish(cx, index, writer)
}

fn part_writer<R: Datum, S: Sink<R>>(cx: &TaskCx<'_>, index: u32, sink: &S) -> TaskResult<PartWriter> {
    let path = cx.output_file(&windrow_format::names::sink_file(index));
    let is_text_file = sink.framing().is_text() && Location::of(sink.path()).dataset().is_none();
    Ok(PartWriter::create(&path, sink.compression(), is_text_file)?)
}

pub(super) fn finish(cx: &TaskCx<'_>, index: u32, writer: PartWriter) -> TaskResult<Written> {
    let part = writer.finish(index)?;
    cx.count(names::RECORDS_WRITTEN, part.records);
    cx.count(names::BYTES_WRITTEN, part.bytes);
    Ok(Written::Part(part))
}
