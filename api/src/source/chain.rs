//! The start of a stage that reads files.

use super::blocks::{self, Format};
use super::format::{RecordSink, Source};
use super::records::{Expected, read_blocks};
use crate::data::emitter::Push;
use crate::data::part_form::PartForm;
use crate::plan::chain::{Chain, user_error};
use crate::task::context::TaskCx;
use crate::task::culprit::Op;
use crate::task::failure::TaskResult;
use std::sync::Arc;
use windrow_model::counters::names;

/// Runs a source over the chunk of a task.
pub(crate) struct SourceChain<S> {
    pub source: Arc<S>,
    pub op: Op,
}

impl<S: Source> Chain<S::Item> for SourceChain<S> {
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<S::Item>) -> TaskResult<()> {
        let Some(chunk) = cx.chunk() else { return Ok(()) };
        let (mut records, mut bytes) = (0, 0);
        let in_blocks = matches!(self.source.form(), PartForm::Blocks { .. })
            .then(|| Expected { part: cx.expected_part(), ..Expected::of::<S::Item>() });
        for (number, range) in (0u32..).zip(&chunk.ranges) {
            cx.at_file(range);
            // From here on a signal is attributed to this file, also between records: the file may be truncated at any
            // time.
            cx.at_record(range.offset);
            let format = Format {
                framing: self.source.framing(),
                has_header: self.source.has_header(),
                is_text: self.source.is_text(),
            };
            let skip: Vec<u64> = chunk.skip.iter().filter(|s| s.range == number).map(|s| s.offset).collect();
            // A file of blocks comes whole: its reader leaves the records out itself.
            let skip_in_text = if in_blocks.is_some() { &[][..] } else { &skip };
            let read = blocks::each_block(cx, range, format, skip_in_text, &mut |block| {
                let mut out = RecordSink::new(cx, sink, self.op, block.offset, records);
                let read = cx.in_op(&self.op, || match &in_blocks {
                    Some(expected) => read_blocks(block.bytes, block.path, expected, &skip, &mut out),
                    None => self.source.read(&block, &mut out),
                });
                if let Err(e) = read {
                    user_error(cx, &self.op, e);
                }
                records = out.records();
                cx.has_read(records);
                bytes += block.bytes.len() as u64;
                cx.check_cancelled();
                !cx.stopped()
            });
            cx.after_records();
            read?;
            if cx.stopped() {
                break;
            }
        }
        cx.count(names::RECORDS_READ, records);
        cx.count(names::BYTES_READ, bytes);
        Ok(())
    }
}
