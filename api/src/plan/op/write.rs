//! `write`: writes records into the part files of an output folder.
//!
//! Records that are partitioned already are written where they are. Others are formatted by the tasks that make them, and a second
//! stage joins the bytes of each part (`format.rs`). So an error of a sink ends the task that knows the input record. Files of
//! records are the exception: their blocks are made where the part is written.

mod blocks;
mod format;
mod part;

use crate::data::datum::Datum;
use crate::data::part_form::PartForm;
use crate::data::schema::schema_of;
use crate::error::Result;
use crate::plan::chain::Branch;
use crate::plan::edge_in::ReadRecords;
use crate::plan::edge_out::{Layout, edge_stages, edge_stages_by, partitioning, reading, write_record};
use crate::plan::records::Records;
use crate::sink::Sink;
use crate::task::culprit::Op;
use blocks::write_blocks;
use format::format_into_edge;
use part::{join_part, write_part};
use std::marker::PhantomData;
use std::sync::Arc;
use windrow_format::record_file::Description;
use windrow_model::{Order, Output, Partitioner, Partitions, Port};

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
        let capture = self.flow.capture::<R>(sink.path());
        let sink = Arc::new(sink);
        let op = format!("write {}", sink.format());
        let outputs = vec![Output::Sink { sink: index }];
        // Parts are the partitions in which the records lie. Otherwise they are contiguous ranges of the input, however it
        // is split: one task gathers the pieces of each part.
        let mut laid_out = self.branches.iter().filter(|b| !b.is_alternative).map(|b| b.lies_in());
        let lie_in = laid_out.next().flatten().map(|(partitions, _)| partitions);
        let lie_in = lie_in.filter(|p| laid_out.all(|there| there.is_some_and(|(of, _)| of == *p)));
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
        let is_in_place = self.branches.len() == 1 && self.branches[0].partitions.is_some();
        if !is_in_place && sink.form() == PartForm::Appended {
            let (formatting, captures) = (sink.clone(), capture.is_some());
            let ports = edge_stages_by(self, "gather", at, layout, move |cx, chain, partitioner| {
                let by = |n| partitioning(cx, partitioner, n);
                format_into_edge(cx, here, chain, by, &*formatting, captures)
            });
            let ports: Vec<Port> = ports.in_order();
            let chain = Arc::new(ReadRecords { most: u64::MAX, types: PhantomData::<fn() -> Vec<u8>> });
            let branch = reading(vec![ports], partitions, "gathered", false, vec![], chain.clone());
            self.flow.add_stage::<Vec<u8>>(&branch, &op, at, vec![], outputs, move |cx| {
                Ok(vec![join_part::<R, S>(cx, index, &*sink, capture.as_ref(), &*chain)?])
            });
            return Ok(());
        }
        let branch = if is_in_place {
            self.branches[0].clone()
        } else {
            let ports: Vec<Port> = edge_stages(self, "gather", at, layout, write_record::<R>).in_order();
            let chain = ReadRecords { most: u64::MAX, types: PhantomData::<fn() -> R> };
            reading(vec![ports], partitions, "gathered", false, vec![], Arc::new(chain))
        };
        branch.need_order();
        let chain = branch.chain.clone();
        let (keyed, sorted, types) = (self.keyed.is_some() && lie_in.is_some(), self.sorted, schema_of::<R>());
        self.flow.add_stage(&branch, &op, at, vec![], outputs, move |cx| {
            let part = match sink.form() {
                PartForm::Appended => write_part(cx, here, index, &*sink, capture.as_ref(), &*chain)?,
                PartForm::Blocks { lz4 } => {
                    let (part, parts) = cx.partition();
                    let types = types.clone();
                    let description = Description { types, part, parts, keyed, sorted, packed: lz4 };
                    write_blocks(cx, here, index, &*sink, &description, capture.as_ref(), &*chain)?
                }
            };
            Ok(vec![part])
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::flow::Flow;
    use crate::run::local::{self, LocalOptions};
    use crate::run::task_run::StageTable;
    use crate::sink::Appender;
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
            let place = failure.place.expect("the input record is known");
            assert_eq!((place.offset, place.excerpt.as_str()), (2, word));
        }
    }
}
