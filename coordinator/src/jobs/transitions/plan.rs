//! From the submit of a job, or its restoring, to its first task.

use super::{stay, to};
use crate::jobs::phase::{Awaited, JobPhase, Running, Wait};
use crate::jobs::prepared::{EarlierCommit, Outputs, Prepared};
use crate::jobs::{Job, Jobs};
use crate::split::SplitJob;
use crate::staged_outputs::StagedOutputs;
use std::collections::BTreeMap;
use std::sync::Arc;
use windrow_model::{Dataset, JobId};
use windrow_scheduler::StageChunks;
use windrow_store::Steps;

/// What the journal has of a job of an earlier epoch.
pub(crate) struct Restoring {
    pub tries: u32,
    pub spec_bytes: usize,
    /// The journal has how its inputs were cut.
    pub is_split: bool,
    pub staging: StagedOutputs,
    pub earlier: Option<EarlierCommit>,
}

/// When the planning of a job begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SplitStart {
    /// Now.
    Now,
    /// When the submit is durable, which is on its way to the journal.
    WithSubmit,
    /// When the number of tries is durable.
    WithTry,
}

impl Jobs {
    /// A client submits a job that is not in the table. `tries`: of earlier epochs, which ended before the submit was durable.
    pub(crate) fn submit(&mut self, id: JobId, tries: u32, spec_bytes: usize) {
        self.insert(id, Job { phase: JobPhase::Waiting(Wait::Plan { is_new: true }), tries, spec_bytes });
    }

    /// A job of an earlier epoch continues.
    pub(crate) fn restore(&mut self, id: JobId, job: Restoring) {
        let Restoring { tries, spec_bytes, is_split, staging, earlier } = job;
        let prepared = Prepared { staging, ..Prepared::default() };
        let phase = match is_split {
            true => JobPhase::Running(Running { prepared, earlier, ..Running::default() }),
            false => JobPhase::Waiting(Wait::Plan { is_new: false }),
        };
        self.insert(id, Job { phase, tries, spec_bytes });
    }

    /// The job's planning waits for reports of workers or for the end of a deletion.
    pub(crate) fn wait_for_datasets(&mut self, id: JobId) {
        self.change(id, |phase, _| match phase {
            JobPhase::Waiting(Wait::Plan { .. } | Wait::Datasets) => to(JobPhase::Waiting(Wait::Datasets), ()),
            other => stay(other),
        });
    }

    /// A try of planning begins, with the datasets that the job reads and the outputs that are datasets. Returns the number of tries
    /// to record, and when the thread may start.
    pub(crate) fn begin_try(
        &mut self,
        id: JobId,
        datasets: BTreeMap<String, Dataset>,
        outputs: Outputs,
    ) -> Option<(u32, SplitStart)> {
        self.change(id, |phase, tries| {
            let start = match phase {
                JobPhase::Waiting(Wait::Plan { is_new: true }) if *tries == 0 => SplitStart::Now,
                JobPhase::Waiting(Wait::Plan { is_new: true }) => SplitStart::WithSubmit,
                JobPhase::Waiting(Wait::Plan { is_new: false } | Wait::Datasets) => SplitStart::WithTry,
                other => return stay(other),
            };
            *tries += 1;
            let awaited = if start == SplitStart::WithTry { Awaited::Try } else { Awaited::Submit };
            to(JobPhase::Waiting(Wait::Record { awaited, datasets, outputs }), (*tries, start))
        })
    }

    /// The record that the job waits for is durable, or need not be awaited: the thread starts. Returns the datasets that the job
    /// reads, and what cancels the thread.
    pub(crate) fn begin_split(
        &mut self,
        id: JobId,
        durable: Awaited,
    ) -> Option<(BTreeMap<String, Dataset>, Arc<Steps>)> {
        let listed = self.listed.clone();
        self.change(id, |phase, _| match phase {
            JobPhase::Waiting(Wait::Record { awaited, datasets, outputs }) if awaited == durable => {
                let steps = Arc::new(Steps::sharing(listed));
                to(JobPhase::Splitting { steps: steps.clone(), outputs }, (datasets, steps))
            }
            other => stay(other),
        })
    }

    /// The thread has cut the inputs and staged the outputs: the try has ended.
    pub(crate) fn check(&mut self, id: JobId, split: SplitJob) -> Option<()> {
        self.change(id, |phase, tries| match phase {
            JobPhase::Splitting { outputs, steps } => {
                *tries = 0;
                let SplitJob { input_bytes, stages, staging, probes: _ } = split;
                let prepared = Prepared { staging: staging.into(), outputs, late_receipts: 0 };
                to(JobPhase::Checking { prepared, input_bytes, stages, _steps: steps }, ())
            }
            other => stay(other),
        })
    }

    /// The workers have answered: the job runs. Returns the bytes and the chunks of its inputs.
    pub(crate) fn run(&mut self, id: JobId) -> Option<(u64, Vec<StageChunks>)> {
        self.change(id, |phase, _| match phase {
            JobPhase::Checking { prepared, input_bytes, stages, _steps } => {
                let running = Running { prepared, ..Running::default() };
                to(JobPhase::Running(running), (input_bytes, stages))
            }
            other => stay(other),
        })
    }
}
