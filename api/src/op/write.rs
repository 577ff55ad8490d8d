//! `write`: records into the part files of an output folder.

use crate::context::{TaskCx, TaskResult};
use crate::datum::Datum;
use crate::edge_in::ReadRecords;
use crate::edge_out::{Layout, edge_stages, reading, write_record};
use crate::emitter::PushFn;
use crate::error::Result;
use crate::records::Records;
use crate::sink::{Appender, PartWriter, Sink};
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;
use windrow_model::counters::names;
use windrow_model::dataset::dataset_name;
use windrow_model::{Framing, Order, Output, OutputReport, Partitioner, Partitions, Port};

impl<R: Datum> Records<R> {
    /// Writes every record with a sink: `tsv`, `text`, `jsonl`, `csv`, `fixed` or your own. The folder appears as a whole when the
    /// job commits. Always `Ok`: the plan is checked when it is complete.
    #[track_caller]
    pub fn write<S: Sink<R>>(&self, sink: S) -> Result<()> {
        let at = Location::caller();
        let index = self.flow.add_sink(sink.path(), sink.format(), sink.suffix(), sink.framing());
        let sink = Arc::new(sink);
        let of_partitions = |p: Partitions| self.branches.iter().all(|b| b.partitions == Some(p));
        let in_place = self.branches.len() == 1 && self.branches[0].partitions.is_some();
        let branch = if in_place {
            self.branches[0].clone()
        } else {
            // Parts are contiguous ranges of the input, whatever the chunks: the pieces of each part are brought
            // together by one task.
            let partitions = match self.branches[0].partitions {
                Some(p) if of_partitions(p) => p,
                _ => Partitions::Auto,
            };
            let layout = |b: &crate::chain::Branch<R>| Layout {
                partitions,
                partitioner: match b.partitions {
                    None => Partitioner::InputPart,
                    Some(p) if p == partitions => Partitioner::Same,
                    Some(_) => Partitioner::Hash,
                },
                order: Order::Arrival,
            };
            let ports: Vec<Port> = edge_stages(self, "gather", at, layout, write_record::<R>).in_order();
            let chain = ReadRecords { types: PhantomData::<fn() -> R> };
            reading(&self.flow, vec![ports], partitions, "gathered", false, vec![], Arc::new(chain))
        };
        branch.need_order();
        let chain = branch.chain.clone();
        let op = format!("write {}", sink.format());
        self.flow.add_stage(&branch, &op, at, vec![], vec![Output::Sink { sink: index }], move |cx| {
            Ok(vec![write_part(cx, index, &*sink, |push| chain.run(cx, push))?])
        });
        Ok(())
    }
}

fn write_part<R: Datum, S: Sink<R>>(
    cx: &TaskCx<'_>,
    index: u32,
    sink: &S,
    run: impl FnOnce(&mut PushFn<R, &mut dyn FnMut(R::Ref<'_>)>) -> TaskResult<()>,
) -> TaskResult<OutputReport> {
    let path = cx.folder.join(windrow_format::names::sink_file(index));
    let is_text_file = matches!(sink.framing(), Framing::Delimiter(_)) && dataset_name(sink.path()).is_none();
    let mut writer = PartWriter::create(&path, sink.compression(), is_text_file)?;
    let mut push = |r: R::Ref<'_>| {
        let written = sink.write(r, &mut Appender::new(writer.buffer())).map_err(crate::context::TaskError::from);
        if let Err(e) = written.and_then(|()| writer.record().map_err(Into::into)) {
            cx.fail(e)
        }
    };
    run(&mut PushFn::new(&mut push as &mut dyn FnMut(R::Ref<'_>)))?;
    cx.outcome()?;
    let part = writer.finish(index)?;
    cx.count(names::RECORDS_WRITTEN, part.records);
    cx.count(names::BYTES_WRITTEN, part.bytes);
    Ok(OutputReport::Sink(part))
}
