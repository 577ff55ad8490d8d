//! Runs one attempt, from a task and local files to a report, in a local run and in an executor.

use crate::run::panics::panic_message;
use crate::task::context::{StageFn, TaskCx};
use crate::task::env::TaskEnv;
use crate::task::failure::{TaskError, TaskResult};
use crate::task::unwinding::Unwinding;
use crate::task::user_counters::with_user_counters;
use crate::task::written::Written;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;
use windrow_engine::LocalSegment;
use windrow_format::spool::Place;
use windrow_model::counters::names;
use windrow_model::{Code, Failure, Input, Output, Plan, Stage, Task, TaskReport, input_digest};

/// The plan and code of a job in this process.
pub(crate) struct StageTable {
    pub plan: Plan,
    pub functions: Vec<StageFn>,
    pub counters: Vec<String>,
}

/// A task that has run.
#[derive(Debug)]
pub(crate) struct Completed {
    pub report: TaskReport,
    /// The outputs that are in the spool of the process, and where.
    pub spooled: Vec<(u32, Place)>,
    /// The outputs for other tasks that have files of their own. All others are kept in memory, or have no records.
    pub in_files: Vec<u32>,
}

impl StageTable {
    /// Runs one task on this thread. `segments` finds the segments of each of its inputs; the task shows as running
    /// meanwhile.
    ///
    /// # Errors
    /// The failure of the task, with the output that it could not read, if that is the cause.
    pub(crate) fn run(
        &self,
        task: &Task,
        env: TaskEnv<'_>,
        segments: impl FnOnce() -> TaskResult<Vec<Vec<LocalSegment>>>,
    ) -> TaskResult<Completed> {
        let id = task.stage();
        let Some(function) = self.functions.get(id.0 as usize) else {
            return Err(Failure::new(Code::PlanMismatch, format!("the plan has no stage {id}")).into());
        };
        let reads = self.plan.stage(id).inputs.iter();
        let sample = reads.clone().any(|i| matches!(i, Input::Source(s) if s.sample));
        let mut cx = TaskCx::new(task, env, consumers(self.plan.stage(id)), sample);
        let started = Instant::now();
        cx.set_segments(segments()?);
        let (result, counted) = with_user_counters(|| catch_unwind(AssertUnwindSafe(|| (function.0)(&cx))));
        // If input bytes have changed, user code did not cause what followed.
        cx.changed_segment()?;
        cx.read_whole()?;
        let mut outputs = match result {
            Ok(result) => {
                // The error that a record function recorded comes before the reaction of the loops around it.
                let explained = |e: TaskError| TaskError { failure: Box::new(cx.explained(*e.failure)), ..e };
                cx.outcome().and(result).map_err(explained)?
            }
            Err(payload) => {
                let Unwinding { failure, of_record } = match payload.downcast::<Unwinding>() {
                    Ok(unwinding) => *unwinding,
                    Err(panic) => {
                        let failure = Failure::new(Code::UserPanic, panic_message(&*panic));
                        Unwinding { failure, of_record: true }
                    }
                };
                let place = cx.place().filter(|_| of_record);
                return Err(cx.explained_panic(Failure { place, ..failure }).into());
            }
        };
        cx.count(names::SPILLS_YIELDED, cx.share.yielded());
        let mut counters = cx.counters.take();
        for (name, n) in self.counters.iter().zip(counted) {
            counters.add(name, n);
        }
        let run_ms = started.elapsed().as_millis() as u64;
        let inputs = input_digest(&task.inputs);
        add_inputs(self.plan.stage(id), &mut outputs, inputs);
        let spooled = (0u32..).zip(&outputs).filter_map(|(output, written)| Some((output, written.place()?)));
        let spooled = spooled.collect();
        let in_files =
            (0u32..).zip(&outputs).filter(|(_, written)| written.has_file()).map(|(output, _)| output).collect();
        let outputs = outputs.into_iter().zip(&task.outputs).map(|(written, output)| written.report(output)).collect();
        cx.keep_spooled();
        Ok(Completed { report: TaskReport { outputs, counters, run_ms, inputs }, spooled, in_files })
    }
}

/// Most consumers of memory that a task has at a time: a log for each edge, and a table if it combines; a sort, fold or
/// look-up for each input; and the values of a key.
fn consumers(stage: &Stage) -> usize {
    let of_output = |output: &Output| match output {
        Output::Edge { combined, .. } => 1 + usize::from(*combined),
        _ => 0,
    };
    let inputs = stage.inputs.iter().filter(|input| matches!(input, Input::Edge { .. })).count();
    stage.outputs.iter().map(of_output).sum::<usize>() + inputs + usize::from(inputs > 0)
}

/// Adds the digest of the inputs to that of a combining edge, which covers only the keys: the values follow from the
/// inputs.
fn add_inputs(stage: &Stage, outputs: &mut [Written], inputs: u64) {
    let folded = (inputs >> 32) as u32 ^ inputs as u32;
    for (written, output) in outputs.iter_mut().zip(&stage.outputs) {
        if let (Written::Edge(edge), Output::Edge { combined: true, .. }) = (written, output) {
            edge.segments.iter_mut().for_each(|s| s.digest ^= folded);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::datum::Datum;
    use crate::error::Error;
    use crate::plan::flow::Flow;
    use crate::source::lines;
    use crate::task::failure::LostOutput;
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use windrow_engine::Memory;
    use windrow_format::block::Identity;
    use windrow_format::codec::Codec;
    use windrow_format::shuffle::ShuffleWriter;
    use windrow_format::spool::Spool;
    use windrow_model::{
        AttemptId, EdgeInput, EdgePort, Epoch, Incarnation, JobId, OutputReport, Port, Segment, StageId, TableVersion,
        TaskId, TaskInput, TaskOutput,
    };

    /// The reaction of a reducer after its input has changed.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Then {
        Continues,
        Fails,
        Panics,
    }

    fn attempt(stage: u32, index: u32) -> AttemptId {
        let task = TaskId { job: JobId::from_bytes([1; 16]), stage: StageId(stage), index };
        AttemptId { task, number: 0, epoch: Epoch(0), incarnation: Incarnation(0) }
    }

    fn shuffle_file(path: &Path, attempt: &AttemptId) -> Segment {
        let mut writer = ShuffleWriter::create(path, Identity::of_output(attempt, 0), Codec::None).unwrap();
        for n in (0..20_000u64).rev() {
            let mut key = Vec::new();
            u64::encode::<true>(n, &mut key);
            let value = key.clone();
            writer.push(0, &key, &value).unwrap();
        }
        writer.finish().unwrap()[0]
    }

    /// Changes the last byte of the segment in place.
    fn change(path: &Path, segment: Segment) -> std::io::Result<()> {
        let file = File::options().read(true).write(true).open(path)?;
        let mut byte = [0];
        file.read_exact_at(&mut byte, segment.length - 1)?;
        file.write_all_at(&[byte[0] ^ 1], segment.length - 1)
    }

    /// Runs a reducer of two segments, the second of which changes at the first key.
    fn reduce(then: Option<Then>) -> TaskResult<TaskReport> {
        reduce_into(then, None).map(|completed| completed.report)
    }

    /// [`reduce`] whose pairs go to another reducer, through a spool, if there is one.
    fn reduce_into(then: Option<Then>, spool: Option<Arc<Spool>>) -> TaskResult<Completed> {
        let folder = tempfile::tempdir().unwrap();
        let paths = [0, 1].map(|n| folder.path().join(format!("shuffled-{n}")));
        let maps = [0, 1].map(|n| attempt(0, n));
        let segments = [0, 1].map(|n| shuffle_file(&paths[n], &maps[n]));
        let flow = Flow::new(folder.path().to_path_buf(), false, None);
        let pairs = flow.read(lines("in")).map(|l, out| out.emit(l.len() as u64, 1u64));
        let (path, segment) = (paths[1].clone(), segments[1]);
        let reduced = pairs.reduce(move |n, values, out| {
            if n == 0 && then.is_some() {
                change(&path, segment)?;
            }
            match then {
                Some(Then::Fails) => Err(Error::msg("bad bytes")),
                Some(Then::Panics) => panic!("bad bytes"),
                _ => {
                    out.emit(n, values.count() as u64);
                    Ok(())
                }
            }
        });
        match spool {
            Some(_) => reduced.reduce(|_, _, out| out.emit(0u64, 0u64)).collect("result"),
            None => reduced.collect("result"),
        }
        let built = flow.build().unwrap();
        let program = StageTable { plan: built.plan, functions: built.functions, counters: built.counters };
        let port = Port { stage: StageId(0), output: 0 };
        let port = EdgePort { port, partitions: 1, version: TableVersion::default(), digest: 7 };
        let task = Task {
            attempt: attempt(1, 0),
            inputs: vec![TaskInput::Edge(EdgeInput { ports: vec![port], bytes: 0 })],
            outputs: vec![if spool.is_some() { TaskOutput::Edge { partitions: 1 } } else { TaskOutput::Broadcast }],
            job_input_bytes: 0,
            skip_keys: Vec::new(),
        };
        let local = [0, 1].map(|n| LocalSegment::of(paths[n].clone(), &segments[n], Identity::of_output(&maps[n], 0)));
        let env = TaskEnv {
            folder: folder.path(),
            prefix: "",
            memory: &Memory::new(64 << 20, 1),
            codec: Codec::None,
            in_memory_outputs: None,
            spool,
            cancelled: &AtomicBool::new(false),
        };
        program.run(&task, env, || Ok(vec![local.to_vec()]))
    }

    /// Digest of the edge that a task has written after it has read an edge whose digest is `read`.
    fn written_digest(combines: bool, read: u64) -> u64 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shuffled");
        let segment = shuffle_file(&path, &attempt(0, 0));
        let flow = Flow::new(folder.path().to_path_buf(), false, None);
        let pairs = flow.read(lines("in")).map(|l, out| out.emit(l.len() as u64, 1u64));
        let reduced = pairs.reduce(|n, values, out| out.emit(n % 9, values.count() as u64));
        match combines {
            true => reduced.combine(crate::combiner::Sum).collect("result"),
            false => reduced.reduce_values(|_, values| values.count() as u64).collect("result"),
        }
        let built = flow.build().unwrap();
        let program = StageTable { plan: built.plan, functions: built.functions, counters: built.counters };
        let port = Port { stage: StageId(0), output: 0 };
        let port = EdgePort { port, partitions: 1, version: TableVersion::default(), digest: read };
        let task = Task {
            attempt: attempt(1, 0),
            inputs: vec![TaskInput::Edge(EdgeInput { ports: vec![port], bytes: 0 })],
            outputs: vec![TaskOutput::Edge { partitions: 4 }],
            job_input_bytes: 0,
            skip_keys: Vec::new(),
        };
        let env = TaskEnv {
            folder: folder.path(),
            prefix: "",
            memory: &Memory::new(64 << 20, 1),
            codec: Codec::None,
            in_memory_outputs: None,
            spool: None,
            cancelled: &AtomicBool::new(false),
        };
        let local = LocalSegment::of(path.clone(), &segment, Identity::of_output(&attempt(0, 0), 0));
        let completed = program.run(&task, env, || Ok(vec![vec![local]])).unwrap();
        assert_eq!(completed.spooled, []);
        let [OutputReport::Edge(edge)] = &completed.report.outputs[..] else { panic!("{completed:?}") };
        assert!(edge.records >= 9 && edge.sizes.fit(4), "{edge:?}");
        edge.digest
    }

    #[test]
    fn digest_of_a_combining_edge_covers_what_was_read() {
        assert_eq!(written_digest(true, 7), written_digest(true, 7));
        assert_ne!(written_digest(true, 7), written_digest(true, 8));
        assert_eq!(written_digest(false, 7), written_digest(false, 8));
    }

    #[test]
    fn changed_segment_is_blamed_despite_user_code() {
        let report = reduce(None).unwrap();
        assert!(matches!(&report.outputs[..], [OutputReport::Broadcast(bytes)] if bytes.len() >= 20_000 * 2));
        for then in [Then::Continues, Then::Fails, Then::Panics] {
            let failed = reduce(Some(then)).map(drop).expect_err("the change is noticed");
            let TaskError { failure, lost } = failed;
            let changed = LostOutput { attempt: attempt(0, 1), output: 0 };
            assert_eq!((failure.code, lost.as_deref()), (Code::SegmentCorrupt, Some(&changed)), "{then:?}: {failure}");
        }
    }

    #[test]
    fn failed_attempt_leaves_nothing_in_the_spool() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Arc::new(Spool::new(folder.path().join("spool")));
        let completed = reduce_into(None, Some(spool.clone())).unwrap();
        let [(0, place)] = completed.spooled[..] else { panic!("{:?}", completed.spooled) };
        assert_eq!(spool.path().metadata().unwrap().len(), place.length);
        let failed = reduce_into(Some(Then::Continues), Some(spool.clone())).map(drop).unwrap_err();
        assert_eq!(failed.failure.code, Code::SegmentCorrupt);
        assert_eq!(spool.path().metadata().unwrap().len(), place.length);
    }
}
