//! Reads and writes single parts in memory, for tests of sources and sinks.

use crate::data::datum::{Datum, IntoDatum};
use crate::data::emitter::Push;
use crate::data::part_form::PartForm;
use crate::data::schema::schema_of;
use crate::error::{Error, Result};
use crate::sink::{Appender, BlockPart, Sink};
use crate::source::{BYTE_ORDER_MARK, Block, RecordSink, Source};
use crate::task::context::TaskCx;
use crate::task::culprit::Op;
use crate::task::env::TaskEnv;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use windrow_engine::Memory;
use windrow_format::boundary::next_record_start;
use windrow_format::codec::Codec;
use windrow_format::cut::cut;
use windrow_format::record_file::Description;
use windrow_model::{AttemptId, Epoch, Incarnation, JobId, StageId, Task, TaskId};

/// The records that a source reads from a file with these bytes, in blocks that are cut as files are: at the first
/// record start after every `block_bytes` bytes. A source must read the same records for any block size.
///
/// # Errors
/// The first error of the source.
///
/// ```
/// use windrow::prelude::*;
/// use windrow::testing::read;
/// let source = lines("any");
/// assert_eq!(read(&source, b"a\nb", 1).unwrap(), ["a", "b"]);
/// assert_eq!(read(&source, b"a\nb", 1).unwrap(), read(&source, b"a\nb", u64::MAX).unwrap());
/// ```
pub fn read<S: Source>(source: &S, bytes: &[u8], block_bytes: u64) -> Result<Vec<S::Item>> {
    let (records, error) = read_until_error(source, bytes, block_bytes);
    error.map_or(Ok(records), |(_, error)| Err(error))
}

/// The records before the first error, and that error with the offset of its record in the file.
pub(crate) fn read_until_error<S: Source>(
    source: &S,
    bytes: &[u8],
    block_bytes: u64,
) -> (Vec<S::Item>, Option<(u64, Error)>) {
    with_cx(bytes.len() as u64, |cx| read_in(cx, source, bytes, block_bytes))
}

/// Calls `f` with the context of a task without inputs.
pub(crate) fn with_cx<X>(job_input_bytes: u64, f: impl FnOnce(&TaskCx<'_>) -> X) -> X {
    let attempt = AttemptId {
        task: TaskId { job: JobId::from_bytes([0; 16]), stage: StageId(0), index: 0 },
        number: 0,
        epoch: Epoch(0),
        incarnation: Incarnation(0),
    };
    let task = Task { attempt, inputs: Vec::new(), outputs: Vec::new(), job_input_bytes, skip_keys: Vec::new() };
    let (path, cancelled) = (Path::new("input"), AtomicBool::new(false));
    let (folder, codec, in_memory_outputs, spool) = (path, Codec::None, None, None);
    let memory = &Memory::new(1 << 20, 1);
    let env = TaskEnv { folder, prefix: "", memory, codec, in_memory_outputs, spool, cancelled: &cancelled };
    let cx = TaskCx::new(&task, env, 0, false);
    f(&cx)
}

fn read_in<S: Source>(
    cx: &TaskCx<'_>,
    source: &S,
    bytes: &[u8],
    block_bytes: u64,
) -> (Vec<S::Item>, Option<(u64, Error)>) {
    let (op, framing, path) = (Op::here("read"), source.framing(), Path::new("input"));
    let mut records = Kept::<S::Item>(Vec::new());
    let first = if source.is_text() && bytes.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    let mut blocks = || {
        let head_bytes = next_record_start(framing, bytes, 1)? as usize;
        let head = if source.has_header() { &bytes[first.min(head_bytes)..head_bytes] } else { &[] };
        for (offset, length) in cut(framing, bytes, block_bytes, &[])? {
            let from = (offset as usize).max(first);
            let bytes = &bytes[from..(offset + length) as usize];
            if bytes.is_empty() {
                continue;
            }
            let block = Block { bytes, offset: from as u64, is_start: from == first, path, head };
            source.read(&block, &mut RecordSink::new(cx, &mut records, op, block.offset, 0))?;
            cx.outcome().map_err(|e| Error::from_failure(*e.failure))?;
        }
        Ok(())
    };
    let error = blocks().err().map(|error| (cx.at().1, error));
    (records.0, error)
}

/// The bytes of one part that a sink writes for these records, before compression. A source should [`read`] the same
/// records from them.
///
/// # Errors
/// The first error of the sink.
///
/// ```
/// use windrow::prelude::*;
/// use windrow::testing::{read, written};
/// let part = written(&text("any"), ["a", "b"]).unwrap();
/// assert_eq!(part, b"a\nb\n");
/// assert_eq!(read(&lines("any"), &part, 1).unwrap(), ["a", "b"]);
/// ```
pub fn written<R: IntoDatum, S: Sink<R::Datum>>(sink: &S, records: impl IntoIterator<Item = R>) -> Result<Vec<u8>> {
    let mut part = Vec::new();
    if let PartForm::Blocks { lz4 } = sink.form() {
        let types = schema_of::<R::Datum>();
        let description = Description { types, part: 0, parts: 1, keyed: false, sorted: false, packed: lz4 };
        let mut blocks = BlockPart::begin(&description, &mut part);
        for record in records {
            record.with(|r| blocks.encode(sink, r))?;
            blocks.add(&mut part)?;
        }
        blocks.end(&mut part);
        return Ok(part);
    }
    for record in records {
        record.with(|r| sink.write(r, &mut Appender::new(&mut part)))?;
    }
    Ok(part)
}

/// Keeps every record.
struct Kept<R>(Vec<R>);

impl<R: Datum> Push<R> for Kept<R> {
    fn push(&mut self, record: R::Ref<'_>) {
        self.0.push(R::to_owned(record));
    }
}
