//! One attempt, from a task and local files to a report: the same in a local run and in an executor.

use crate::context::{StageFn, TaskCx, TaskError, Unwinding, with_user_counters};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use windrow_engine::{LocalSegment, Memory, Residents};
use windrow_format::codec::Codec;
use windrow_model::counters::names;
use windrow_model::{Code, Failure, Input, Output, OutputReport, Plan, Stage, Task, TaskReport, input_digest};

/// A job's code in this process.
pub(crate) struct Program {
    pub plan: Plan,
    pub functions: Vec<StageFn>,
    pub counters: Vec<String>,
}

/// Where and with what an attempt runs.
pub(crate) struct Setting<'s> {
    pub folder: &'s Path,
    /// For each input of the task: its segments, if it has any.
    pub segments: Vec<Vec<LocalSegment>>,
    /// The process's.
    pub memory: &'s Arc<Memory>,
    pub codec: Codec,
    /// Where outputs for other tasks of this process may be kept.
    pub residents: Option<Arc<Residents>>,
    pub cancelled: &'s AtomicBool,
}

impl Program {
    /// Runs one task on this thread.
    pub fn run(&self, task: &Task, setting: Setting<'_>) -> Result<TaskReport, TaskError> {
        let id = task.stage();
        let Some(function) = self.functions.get(id.0 as usize) else {
            return Err(Failure::new(Code::PlanMismatch, format!("the plan has no stage {id}")).into());
        };
        let reads = self.plan.stage(id).inputs.iter();
        let sample = reads.clone().any(|i| matches!(i, Input::Source(s) if s.sample));
        let cx = TaskCx::new(task, setting, consumers(self.plan.stage(id)), sample);
        let started = Instant::now();
        let (result, counted) = with_user_counters(|| catch_unwind(AssertUnwindSafe(|| (function.0)(&cx))));
        let outputs = match result {
            Ok(result) => {
                // What a record function recorded came first, whatever the loops around it then made of it.
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
        let mut outputs = outputs;
        let run_ms = started.elapsed().as_millis() as u64;
        let inputs =
            input_digest(&task.inputs, |stage| self.plan.stages.get(stage.0 as usize).is_none_or(|s| s.deterministic));
        add_inputs(self.plan.stage(id), &mut outputs, inputs);
        Ok(TaskReport { outputs, counters, run_ms, inputs })
    }
}

/// How many consumers of memory a task may have at a time: a log for each edge, and a table if it combines; what an input is sorted,
/// folded or looked up in; and the values of a key.
fn consumers(stage: &Stage) -> usize {
    let of_output = |output: &Output| match output {
        Output::Edge { combined, .. } => 1 + usize::from(*combined),
        _ => 0,
    };
    let inputs = stage.inputs.iter().filter(|input| matches!(input, Input::Edge { .. })).count();
    stage.outputs.iter().map(of_output).sum::<usize>() + inputs + usize::from(inputs > 0)
}

/// The digest of a combining edge is that of its keys. Its values follow from what was read: so it takes that in as well.
fn add_inputs(stage: &Stage, outputs: &mut [OutputReport], inputs: u64) {
    let folded = (inputs >> 32) as u32 ^ inputs as u32;
    for (report, output) in outputs.iter_mut().zip(&stage.outputs) {
        if let (OutputReport::Edge(segments), Output::Edge { combined: true, .. }) = (report, output) {
            segments.iter_mut().for_each(|s| s.digest ^= folded);
        }
    }
}

/// What a panic said, as a part of a sentence.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|s| s.to_string());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.unwrap_or_else(|| "no message".to_string()))
}
