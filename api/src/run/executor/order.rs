//! An attempt to run, from its frame to its answer.

use super::edge_inputs::EdgeInputs;
use super::placed::Tables;
use super::{Process, bad, path_of};
use crate::error::Result;
use crate::run::task_run::Completed;
use crate::task::env::TaskEnv;
use crate::task::failure::{LostOutput, TaskError};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use windrow_format::codec::Codec;
use windrow_format::names;
use windrow_model::{AttemptId, Task};
use windrow_proto::v1::{self, from_executor};

/// An attempt to run.
pub(super) struct Order {
    task: Task,
    folder: PathBuf,
    edges: EdgeInputs,
    codec: Codec,
}

impl Order {
    /// Reads a frame. What it says of outputs in place must agree with `tables`.
    ///
    /// # Errors
    /// The frame is not valid: `EXECUTOR_PROTOCOL`.
    pub(super) fn new(run: v1::RunTask, tables: &Tables) -> Result<Order> {
        let task: Task = run.task.unwrap_or_default().try_into().map_err(bad)?;
        let edges = EdgeInputs::new(&task, run.ports, tables)?;
        let codec = if run.compress { Codec::Lz4 } else { Codec::None };
        Ok(Order { task, folder: path_of(&run.folder), edges, codec })
    }

    /// The attempt.
    pub(super) fn attempt(&self) -> AttemptId {
        self.task.attempt
    }

    /// Runs the attempt on this thread, and returns its answer.
    pub(super) fn execute(self, process: &Process, cancelled: &AtomicBool) -> from_executor::Message {
        let Order { task, folder, edges, codec } = self;
        let env = TaskEnv {
            folder: &folder,
            prefix: &names::attempt_prefix(&task.attempt),
            memory: &process.memory,
            codec,
            in_memory_outputs: None,
            spool: process.spool.clone(),
            cancelled,
        };
        let attempt = Some(task.attempt.into());
        match process.stages.run(&task, env, || edges.locate(&process.tables)) {
            Ok(Completed { report, spooled, .. }) => {
                let spooled = spooled.into_iter().map(|(output, place)| v1::Spooled {
                    output,
                    offset: place.offset,
                    length: place.length,
                });
                let spooled = spooled.collect();
                from_executor::Message::Done(v1::TaskDone { attempt, report: Some(report.into()), spooled })
            }
            Err(TaskError { failure, lost }) => {
                let lost = lost.map(|lost| {
                    let LostOutput { attempt, output } = *lost;
                    v1::LostOutput { attempt: Some(attempt.into()), output }
                });
                from_executor::Message::Failed(v1::TaskFailed { attempt, failure: Some((*failure).into()), lost })
            }
        }
    }
}
