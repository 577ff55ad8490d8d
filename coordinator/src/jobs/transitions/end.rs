//! The end of a job, from every phase.

use super::{stay, to};
use crate::jobs::commit::Sealing;
use crate::jobs::phase::{End, EndStep, Ending, JobPhase, LateThread, Running, Wait};
use crate::jobs::prepared::{Outputs, Prepared};
use crate::jobs::{Job, Jobs};
use crate::mailbox::Answer;
use crate::staged_outputs::{StagedOutputs, StagedSink};
use windrow_model::{Failure, JobId, JobState};

/// Data of an ended job that the driver must release.
pub(crate) struct Left {
    pub outputs: Outputs,
    /// Its result was stored when its commit began.
    pub is_stored: bool,
}

/// A job whose end is durable.
pub(crate) struct Recorded {
    /// What is staged, to remove.
    pub staging: StagedOutputs,
    /// Calls to answer.
    pub waiting: Vec<Answer<Result<(), Failure>>>,
    /// A thread that has not returned. The job stays in the table until it does.
    pub late_thread: Option<LateThread>,
}

impl Jobs {
    /// The scheduler has ended the job, with this result if none was stored before.
    pub(crate) fn end(&mut self, id: JobId, end: End) -> Option<Left> {
        self.change(id, |phase, _| {
            let (mut late_thread, mut stored) = (None, None);
            let Prepared { staging, outputs, .. } = match phase {
                JobPhase::Waiting(Wait::Record { outputs, .. }) => Prepared { outputs, ..Prepared::default() },
                JobPhase::Waiting(_) => Prepared::default(),
                JobPhase::Splitting { steps, outputs } => {
                    steps.cancel();
                    late_thread = Some(LateThread::Plan);
                    Prepared { outputs, ..Prepared::default() }
                }
                JobPhase::Checking { prepared, .. } => prepared,
                JobPhase::Running(Running { prepared, earlier, .. })
                | JobPhase::Sealing(Sealing { prepared, earlier, is_stored: false, .. }) => {
                    stored = earlier.map(|earlier| earlier.collected).filter(|collected| !collected.is_empty());
                    prepared
                }
                JobPhase::Sealing(sealing) => {
                    stored = Some(sealing.collected);
                    sealing.prepared
                }
                JobPhase::Committing(committing) => {
                    let has_thread = committing.folders().is_some_and(|folders| folders.state.has_thread());
                    late_thread = has_thread.then_some(LateThread::Commit);
                    stored = Some(committing.collected);
                    committing.prepared
                }
                other @ (JobPhase::Ending(_) | JobPhase::Ended(_)) => return stay(other),
            };
            let is_stored = stored.is_some();
            let step = EndStep::Storing(End { collected: stored.unwrap_or(end.collected), ..end });
            let ending = Ending { staging, step, late_thread, waiting: Vec::new() };
            to(JobPhase::Ending(ending), Left { outputs, is_stored })
        })
    }

    /// The result of a job that ends is stored: its end is given to the journal.
    pub(crate) fn record_end(&mut self, id: JobId) -> Option<End> {
        self.change(id, |phase, _| match phase {
            JobPhase::Ending(Ending { staging, step: EndStep::Storing(end), late_thread, waiting }) => {
                let ending = Ending { staging, step: EndStep::Recording, late_thread, waiting };
                to(JobPhase::Ending(ending), end)
            }
            other => stay(other),
        })
    }

    /// The result of a job that ends cannot be stored: the job fails. False if the job does not end.
    pub(crate) fn fail_end(&mut self, id: JobId, failure: &Failure) -> bool {
        match self.table.get_mut(&id).map(|job| &mut job.phase) {
            Some(JobPhase::Ending(Ending { step: EndStep::Storing(end), .. })) => {
                (end.status.state, end.status.error) = (JobState::Failed, Some(failure.clone()));
                true
            }
            _ => false,
        }
    }

    /// A call is answered when the end is durable. Returns it if the job does not end.
    pub(crate) fn await_end(
        &mut self,
        id: JobId,
        answer: Answer<Result<(), Failure>>,
    ) -> Option<Answer<Result<(), Failure>>> {
        match self.table.get_mut(&id).map(|job| &mut job.phase) {
            Some(JobPhase::Ending(ending)) => {
                ending.waiting.push(answer);
                None
            }
            _ => Some(answer),
        }
    }

    /// The end is durable.
    pub(crate) fn end_recorded(&mut self, id: JobId) -> Option<Recorded> {
        let job = self.table.remove(&id)?;
        match job.phase {
            JobPhase::Ending(Ending { staging, step: EndStep::Recording, late_thread, waiting }) => {
                if let Some(late_thread) = late_thread {
                    self.table.insert(id, Job { phase: JobPhase::Ended(late_thread), ..job });
                }
                Some(Recorded { staging, waiting, late_thread })
            }
            phase => {
                self.table.insert(id, Job { phase, ..job });
                None
            }
        }
    }

    /// The work of the thread of an ended job, if it has one.
    pub(crate) fn late_thread(&self, id: JobId) -> Option<LateThread> {
        match self.phase(id)? {
            JobPhase::Ending(ending) => ending.late_thread,
            JobPhase::Ended(late_thread) => Some(*late_thread),
            _ => None,
        }
    }

    /// The thread of an ended job has returned, and has left these stagings. Returns them if the end is durable: then the job is
    /// forgotten, and they are removed at once.
    pub(crate) fn returned(&mut self, id: JobId, staging: Vec<StagedSink>) -> Option<StagedOutputs> {
        match self.table.get_mut(&id).map(|job| &mut job.phase) {
            Some(JobPhase::Ending(ending)) => {
                ending.late_thread = None;
                ending.staging.sinks.extend(staging);
                None
            }
            Some(JobPhase::Ended(_)) | None => {
                self.table.remove(&id);
                Some(staging.into())
            }
            Some(_) => None,
        }
    }
}
