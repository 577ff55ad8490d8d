//! The phases of a job, and the data that exists in each.
//!
//! ```text
//! Waiting ──▶ Splitting ──▶ Checking ──▶ Running ──▶ Sealing ──▶ Committing
//!    │            │             │           │           │            │
//!    └────────────┴─────────────┴───────────┴───────────┴────────────┴──▶ Ending ──▶ (Ended) ──▶ forgotten
//! ```
//! A restored job enters as `Waiting`, or as `Running` if the journal has its split. `Ended` exists only while a thread of an
//! ended job has not returned.

use super::commit::{Committing, Sealing};
use super::prepared::{EarlierCommit, Outputs, Prepared};
use crate::mailbox::Answer;
use crate::staged_outputs::StagedOutputs;
use std::collections::BTreeMap;
use std::sync::Arc;
use windrow_model::{AttemptId, Dataset, Digest, Failure, JobStatus, WorkerId};
use windrow_scheduler::{Collected, StageChunks};
use windrow_store::Steps;

/// The phase of a job. Each variant holds the data of that phase only.
pub(crate) enum JobPhase {
    /// Planning has not begun.
    Waiting(Wait),
    /// A thread cuts the inputs and stages the outputs. `steps` cancels it.
    Splitting { steps: Arc<Steps>, outputs: Outputs },
    /// The workers are asked whether they see the stagings and inputs. Then the scheduler gets the stages. Until then `_steps`
    /// keeps their memory in the total of the jobs that are planned.
    Checking { prepared: Prepared, input_bytes: u64, stages: Vec<StageChunks>, _steps: Arc<Steps> },
    /// The scheduler assigns tasks.
    Running(Running),
    /// Every task is done. The result is stored, and the beginning of the commit recorded.
    Sealing(Sealing),
    /// The journal has the beginning of the commit.
    Committing(Committing),
    /// The scheduler has ended the job. The journal does not have the end yet.
    Ending(Ending),
    /// The journal has the end, and a thread of the job has not returned.
    Ended(LateThread),
}

/// What a job waits for before its planning.
pub(crate) enum Wait {
    /// The scheduler, which asks for the plan. `is_new`: the submit is being handled, and is not queued for the journal yet.
    Plan { is_new: bool },
    /// Workers that may hold chunks of its inputs and have not reported them, or the end of a deletion of chunks.
    Datasets,
    /// The journal: planning begins when this record is durable.
    Record { awaited: Awaited, datasets: BTreeMap<String, Dataset>, outputs: Outputs },
}

/// The record that planning waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// The submit.
    Submit,
    /// The number of tries.
    Try,
}

#[derive(Default)]
pub(crate) struct Running {
    pub prepared: Prepared,
    /// Bytes of collected blobs that are not stored in a file.
    pub inline_bytes: usize,
    /// Attempts that have left their parts as chunks, which are being copied.
    pub publishing: BTreeMap<AttemptId, Publishing>,
    /// The commit began in an earlier epoch.
    pub earlier: Option<EarlierCommit>,
}

/// An attempt whose chunks do not all have their copies.
pub(crate) struct Publishing {
    pub worker: WorkerId,
    pub digests: Vec<Digest>,
}

pub(crate) struct Ending {
    /// What is staged, which is removed when the journal has the end: until then a restart continues the job.
    pub staging: StagedOutputs,
    pub step: EndStep,
    /// A thread of the job that has not returned.
    pub late_thread: Option<LateThread>,
    /// Calls that are answered when the journal has the end.
    pub waiting: Vec<Answer<Result<(), Failure>>>,
}

pub(crate) enum EndStep {
    /// The result is being stored. Nothing is in the journal, so a stop of the coordinator continues the job.
    Storing(End),
    /// The journal has been given the end.
    Recording,
}

/// An end to record.
pub(crate) struct End {
    pub status: Box<JobStatus>,
    /// Workers that may have something of the job.
    pub workers: Vec<WorkerId>,
    pub collected: Collected,
}

/// The work of a thread that has not returned when its job ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LateThread {
    /// The plan: it may still stage folders, so the note of them stays.
    Plan,
    /// The commit, which an operator has given up: outputs may still appear, so they stay claimed.
    Commit,
}

impl JobPhase {
    /// Whether the journal has not been given the end. A restart of the coordinator continues such a job.
    pub(super) fn is_active(&self) -> bool {
        match self {
            JobPhase::Ending(ending) => matches!(ending.step, EndStep::Storing(_)),
            JobPhase::Ended(_) => false,
            _ => true,
        }
    }

    /// The places of the outputs, from the end of the split to the end of the job.
    pub(super) fn prepared(&self) -> Option<&Prepared> {
        match self {
            JobPhase::Checking { prepared, .. } => Some(prepared),
            JobPhase::Running(running) => Some(&running.prepared),
            JobPhase::Sealing(sealing) => Some(&sealing.prepared),
            JobPhase::Committing(committing) => Some(&committing.prepared),
            _ => None,
        }
    }

    /// All that the job has staged now.
    pub(super) fn into_staging(self) -> StagedOutputs {
        match self {
            JobPhase::Checking { prepared, .. } => prepared.staging,
            JobPhase::Running(running) => running.prepared.staging,
            JobPhase::Sealing(sealing) => sealing.prepared.staging,
            JobPhase::Committing(committing) => committing.prepared.staging,
            JobPhase::Ending(ending) => ending.staging,
            JobPhase::Waiting(_) | JobPhase::Splitting { .. } | JobPhase::Ended(_) => StagedOutputs::default(),
        }
    }

    /// Whether the journal's count of tries includes one that is under way: one that counts as a crash if the coordinator ends
    /// before it does.
    pub(super) fn counts_try(&self) -> bool {
        match self {
            JobPhase::Sealing(Sealing { earlier: Some(EarlierCommit { held: Some(_), .. }), .. }) => false,
            JobPhase::Committing(committing) => committing.counts_try(),
            _ => true,
        }
    }
}
