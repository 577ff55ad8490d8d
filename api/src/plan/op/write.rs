//! `write`: writes records into the part files of an output folder.

use crate::data::datum::Datum;
use crate::data::emitter::Push;
use crate::data::part_form::PartForm;
use crate::data::schema::schema_of;
use crate::error::Result;
use crate::plan::chain::Branch;
use crate::plan::edge_in::ReadRecords;
use crate::plan::edge_out::{Layout, edge_stages, reading, write_record};
use crate::plan::records::Records;
use crate::sink::{Appender, BlockPart, PartWriter, Sink};
use crate::task::context::{OpInTask, TaskCx};
use crate::task::culprit::Op;
use crate::task::failure::TaskResult;
use crate::task::written::Written;
use std::marker::PhantomData;
use std::sync::Arc;
use windrow_format::record_file::Description;
use windrow_model::counters::names;
use windrow_model::{Location, Order, Output, Partitioner, Partitions, Port};

impl<R: Datum> Records<R> {
    /// Writes every record with a sink: `tsv`, `text`, `jsonl`, `csv`, `fixed` or your own. The folder appears as a
    /// whole when the job commits.
    ///
    /// # Errors
    /// None: the plan is checked when it is complete.
    #[track_caller]
    pub fn write<S: Sink<R>>(&self, sink: S) -> Result<()> {
        let here = Op::here("write");
        let at = here.at;
        let index = self.flow.add_sink(sink.path(), sink.format(), sink.suffix(), sink.framing());
        let sink = Arc::new(sink);
        // Parts are the partitions in which the records lie. Otherwise they are contiguous ranges of the input, however it
        // is split: one task gathers the pieces of each part.
        let mut laid_out = self.branches.iter().filter(|b| !b.is_alternative).map(|b| b.lies_in());
        let lie_in = laid_out.next().flatten().map(|(partitions, _)| partitions);
        let lie_in = lie_in.filter(|p| laid_out.all(|there| there.is_some_and(|(of, _)| of == *p)));
        let keyed = self.keyed.is_some() && lie_in.is_some();
        let sorted = self.sorted;
        let branch = if self.branches.len() == 1 && self.branches[0].partitions.is_some() {
            self.branches[0].clone()
        } else {
            let partitions = lie_in.unwrap_or(Partitions::Auto);
            let layout = |b: &Branch<R>| Layout {
                partitions,
                partitioner: match (b.lies_in(), b.partitions) {
                    _ if b.is_alternative => Partitioner::Hash,
                    (Some((of, partitioner)), _) if of == partitions => partitioner,
                    (_, None) => Partitioner::InputPart,
                    (_, Some(_)) => Partitioner::Hash,
                },
                order: Order::Arrival,
            };
            let ports: Vec<Port> = edge_stages(self, "gather", at, layout, write_record::<R>).in_order();
            let chain = ReadRecords { most: u64::MAX, types: PhantomData::<fn() -> R> };
            reading(vec![ports], partitions, "gathered", false, vec![], Arc::new(chain))
        };
        branch.need_order();
        let chain = branch.chain.clone();
        let op = format!("write {}", sink.format());
        let types = schema_of::<R>();
        self.flow.add_stage(&branch, &op, at, vec![], vec![Output::Sink { sink: index }], move |cx| {
            let run = |push: &mut dyn Push<R>| chain.run(cx, push);
            let part = match sink.form() {
                PartForm::Appended => write_part(cx, here, index, &*sink, run)?,
                PartForm::Blocks { lz4 } => {
                    let (part, parts) = cx.partition();
                    let types = types.clone();
                    let description = Description { types, part, parts, keyed, sorted, packed: lz4 };
                    write_blocks(cx, here, index, &*sink, &description, run)?
                }
            };
            Ok(vec![part])
        });
        Ok(())
    }
}

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

fn write_part<R: Datum, S: Sink<R>>(
    cx: &TaskCx<'_>,
    op: Op,
    index: u32,
    sink: &S,
    run: impl FnOnce(&mut dyn Push<R>) -> TaskResult<()>,
) -> TaskResult<Written> {
    let path = cx.output_file(&windrow_format::names::sink_file(index));
    let is_text_file = sink.framing().is_text() && Location::of(sink.path()).dataset().is_none();
    let writer = PartWriter::create(&path, sink.compression(), is_text_file)?;
    let mut part = PartSink { op: OpInTask { op, cx }, sink, writer, types: PhantomData::<fn(R)> };
    run(&mut part)?;
    cx.outcome()?;
    finished(cx, part.writer, index)
}

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
        let encoded = op.call_on::<R, _>(&r, || part.encode(sink, R::shorten(r)));
        match encoded.and_then(|()| part.add(writer.buffer())) {
            Ok(()) => writer.record().unwrap_or_else(|e| op.cx.fail(e)),
            Err(e) => op.cx.fail_in_on::<R>(&op.op, r, e),
        }
    }
}

fn write_blocks<R: Datum, S: Sink<R>>(
    cx: &TaskCx<'_>,
    op: Op,
    index: u32,
    sink: &S,
    description: &Description,
    run: impl FnOnce(&mut dyn Push<R>) -> TaskResult<()>,
) -> TaskResult<Written> {
    let path = cx.output_file(&windrow_format::names::sink_file(index));
    let mut writer = PartWriter::create(&path, sink.compression(), false)?;
    let part = BlockPart::begin(description, writer.buffer());
    let mut blocks = BlockSink { op: OpInTask { op, cx }, sink, part, writer, types: PhantomData::<fn(R)> };
    run(&mut blocks)?;
    cx.outcome()?;
    let BlockSink { part, mut writer, .. } = blocks;
    part.end(writer.buffer());
    finished(cx, writer, index)
}

/// Closes a part and counts it.
fn finished(cx: &TaskCx<'_>, writer: PartWriter, index: u32) -> TaskResult<Written> {
    let part = writer.finish(index)?;
    cx.count(names::RECORDS_WRITTEN, part.records);
    cx.count(names::BYTES_WRITTEN, part.bytes);
    Ok(Written::Part(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::flow::Flow;
    use crate::run::local::{self, LocalOptions};
    use crate::run::task_run::StageTable;
    use crate::source::lines;
    use windrow_model::{Code, Failure, JobOptions};

    /// Writes words, except for some.
    struct Picky(String);
    impl Sink<(String, u64)> for Picky {
        fn path(&self) -> &str {
            &self.0
        }
        fn format(&self) -> &str {
            "words"
        }
        fn write(&self, (word, _): (&str, u64), out: &mut Appender<'_>) -> Result<()> {
            assert!(word != "panic", "boom");
            if word == "error" {
                return Err(crate::error::Error::msg("boom"));
            }
            out.extend_from_slice(word.as_bytes());
            Ok(())
        }
    }

    fn write(words: &str) -> (std::result::Result<(), Failure>, u32) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("in"), words).unwrap();
        let flow = Flow::new(folder.path().to_path_buf(), false, None);
        let words = flow.read(lines("in")).map(|l, out| out.emit(l, l.len()));
        let line = line!() + 1;
        words.write(Picky("out".to_string())).unwrap();
        let built = flow.build().unwrap();
        let program = StageTable { plan: built.plan, functions: built.functions, counters: built.counters };
        let options = LocalOptions {
            name: "test".to_string(),
            threads: 1,
            memory_bytes: 64 << 20,
            scratch: Some(folder.path().to_path_buf()),
            durable: false,
            job: JobOptions::default(),
        };
        let ended = local::run(program, options, &mut |_| {});
        (ended.map(drop).map_err(|e| e.into_failure()), line)
    }

    #[test]
    fn failure_of_a_sink_names_its_record_and_line() {
        assert_eq!(write("a\nb\n").0, Ok(()));
        for (word, code) in [("panic", Code::UserPanic), ("error", Code::UserError)] {
            let (failed, line) = write(&format!("a\n{word}\n"));
            let failure = failed.unwrap_err();
            assert_eq!(failure.code, code);
            let suffix = format!("boom (in `write` at {}:{line}, record (\"{word}\", 5))", file!());
            assert!(failure.message.ends_with(&suffix), "{}", failure.message);
        }
    }
}
